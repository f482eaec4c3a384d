"""The critic of limb tilts likes hypotheses whose limbs point as the pixels are read, and counts seen limbs alone."""

from dataclasses import replace

import pytest
import torch

from hmralign.critics.critic import judge
from hmralign.critics.limb_tilt import LimbTiltCritic
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.models.pixel.part_patches import LIMBS
from hmralign.structures import Example, Hypotheses, InputError
from support.pixel_persons import pictured, tiny_pixel_model
from support.synthetic_persons import BODY, mirrored, persons, seeded
from support.toy_policy import tiny_policy

CRITIC = LimbTiltCritic(BODY, tiny_pixel_model())


def _example(seed: int = 0) -> Example:
    return Example(pictured(persons(5).observation, seed))


def _hypotheses(example: Example, count: int = 6) -> Hypotheses:
    policy = tiny_policy()
    return policy.to_body(policy.sample(policy.context(example.observation), count, seeded(0)), example.observation)


def test_scores_are_the_distance_from_what_is_read_over_seen_limbs():
    example = _example()
    hypotheses, read = _hypotheses(example), CRITIC.read(example.observation)
    scores, tilts = judge(CRITIC, hypotheses, example), limb_tilts(hypotheses.joints)
    for person in range(5):
        confidence = example.observation.confidence[person]
        seen = [limb for limb, (a, b) in enumerate(LIMBS) if confidence[a] > 0 and confidence[b] > 0]
        for hyp in range(6):
            apart = [float(tilts[person, hyp, limb] - read[person, limb]) ** 2 for limb in seen]
            expected = -sum(apart) / len(apart) if apart else 0.0
            assert float(scores[person, hyp]) == pytest.approx(expected, abs=1e-5)


def test_persons_without_a_crop_or_a_limb_are_not_judged():
    example = _example()
    no_crop = replace(example.observation, has_crop=torch.tensor([True, False, True, True, True]))
    confidence = example.observation.confidence.clone()
    confidence[2] = 0
    blind = Example(replace(no_crop, confidence=confidence))
    assert CRITIC.can_judge(blind).tolist() == [True, False, False, True, True]
    scores = judge(CRITIC, _hypotheses(example), blind)
    assert (scores[[1, 2]] == scores[[1, 2], :1]).all() and scores[0].std() > 0
    with pytest.raises(InputError, match="come without crops"):
        judge(CRITIC, _hypotheses(example), Example(persons(5).observation))


def test_what_is_read_is_mirrored_with_the_photo():
    seen = _example().observation
    assert seen.crop is not None
    other = replace(mirrored(replace(seen, crop=None, has_crop=None)), crop=seen.crop.flip(-1), has_crop=seen.has_crop)
    assert torch.allclose(CRITIC.read(other), CRITIC.read(seen)[:, [1, 0, 3, 2, 5, 4, 7, 6]], atol=2e-2)
