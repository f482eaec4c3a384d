"""The critic of limb tilts likes hypotheses whose limbs point as the pixels are read, and counts seen limbs alone."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.critics.critic import judge
from hmralign.critics.limb_tilt import LimbTiltCritic, make_limb_tilt
from hmralign.critics.setting import CriticSetting
from hmralign.data.synthetic.label_noise import LabelNoise, noisy_bodies
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.models.pixel.part_patches import LIMBS
from hmralign.rendering.scenes.crops import rendered_crops
from hmralign.rendering.scenes.synthwild_images import SCENES
from hmralign.structures import BodyParams, Example, Hypotheses, InputError
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


def test_the_shipped_reader_tells_limbs_from_their_mirror_images_in_depth():
    """Rendered persons with careful keypoints: the truth agrees better than the truth with a limb flipped in depth."""
    source = world_generator("lab", "heldout")
    example, seen = source.sample_seen(96, torch.Generator().manual_seed(11))
    crop = rendered_crops(source.model, example, seen, 160, SCENES["lab"], torch.Generator().manual_seed(12))
    shown = replace(example.observation, crop=crop, has_crop=torch.ones(96, dtype=torch.bool))
    assert example.annotation is not None
    truth = example.annotation.body
    flipped = noisy_bodies(source.model, truth, LabelNoise("depth_flip"), torch.Generator().manual_seed(13))
    bodies = BodyParams.stack([truth, flipped], 1)
    critic = make_limb_tilt(CriticSetting(source.model, noise_of("mediapipe")))
    scores = judge(critic, Hypotheses(bodies, posed_joints(source.model, bodies)), Example(shown))
    assert (scores[:, 0] > scores[:, 1]).float().mean() > 0.7
