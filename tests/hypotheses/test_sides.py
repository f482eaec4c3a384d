"""Two readings as two modes: who is followed, with how many hypotheses, and what is left alone."""

import dataclasses

import numpy as np
import pytest
import torch

from hmralign.detection.detection import Detection, OtherReading
from hmralign.detection.observe import observe
from hmralign.hypotheses.estimate import Estimate
from hmralign.hypotheses.sides import (
    EXCHANGED_SHARE,
    WRONG_WHERE_NETWORKS_DISAGREE,
    OtherSides,
    SidesConfig,
    exchanged_probability,
    followed_and_other,
    members_of_second,
    mode_of_hypotheses,
    one_mode,
    other_sides,
    probability_exchanged,
    reading_probabilities,
    seen_by_other_network,
    squared_distance_of_modes,
    two_modes,
)
from hmralign.models.side_gate import exchanged_sides
from hmralign.structures import BodyParams, Camera, Hypotheses, InputError, Observation

CAMERA = Camera(torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), 640, 480, "given")


def estimate(seed, count=20):
    draw = torch.Generator().manual_seed(seed)
    eye = torch.eye(3)
    body = BodyParams(
        eye.expand(count, 3, 3),
        eye.expand(count, 23, 3, 3),
        torch.randn(count, 10, generator=draw),
        torch.zeros(count, 3),
    )
    joints = torch.randn(count, 29, 3, generator=draw)
    return Estimate(Hypotheses(body, joints), body[0], joints.mean(0), torch.zeros(29))


def detection(detector="mediapipe", alternative=None):
    draw = np.random.default_rng(0)
    keypoints = (draw.random((27, 2)) * 200 + 100).astype(np.float32)
    return Detection(
        keypoints, np.ones(27, np.float32), np.array([100, 100, 300, 300], np.float32), 1.0, detector=detector,
        alternative=alternative,
    )  # fmt: skip


def other_reading(exchanged=("body",)):
    own = detection()
    return OtherReading(own.keypoints + 3, own.confidence, None, "mediapipe-0.10.21", exchanged)


def saying(logit):
    return lambda seen: torch.tensor(logit)


def second(probability):
    seen = observe(detection(), CAMERA)
    return OtherSides(probability, "sides exchanged", ("body",), "mediapipe", None, exchanged_sides(seen))


def test_even_evidence_leaves_the_prior_and_evidence_adds_in_log_odds():
    assert exchanged_probability(0.0, 0.02) == pytest.approx(0.02)
    odds = np.exp(2.0) * 0.02 / 0.98
    assert exchanged_probability(2.0, 0.02) == pytest.approx(odds / (1 + odds))


@pytest.mark.parametrize("name", ["array", "file", "vitpose", "box"])
def test_keypoints_of_unknown_error_are_believed(name):
    person = detection(name)
    assert probability_exchanged(person, observe(person, CAMERA), saying(9.0)) is None
    assert other_sides(person, observe(person, CAMERA), CAMERA, None, SidesConfig()) is None


def test_a_detector_is_known_with_its_version():
    person = detection("mediapipe_heavy-0.10.21")
    found = probability_exchanged(person, observe(person, CAMERA), saying(0.0))
    assert found == pytest.approx(EXCHANGED_SHARE["mediapipe_heavy"])


def test_only_likely_exchanges_have_another_reading():
    person = detection()
    seen = observe(person, CAMERA)
    config = SidesConfig(ask_above=0.3)
    assert other_sides(person, seen, CAMERA, 0.29, config) is None
    found = other_sides(person, seen, CAMERA, 0.31, config)
    assert found is not None and found.parts == ("body",) and found.reading == "sides exchanged"
    assert torch.equal(found.observation.keypoints, exchanged_sides(seen).keypoints)
    assert other_sides(person, seen, CAMERA, 0.99, dataclasses.replace(config, mode="as-read")) is None


def test_where_networks_disagree_the_other_reading_is_the_second_networks_and_never_left_out():
    person = detection("mediapipe_heavy-0.10.21", other_reading())
    seen = observe(person, CAMERA)
    likely = probability_exchanged(person, seen, saying(-5.0))
    assert likely is not None and likely < SidesConfig().ask_above
    found = other_sides(person, seen, CAMERA, likely, SidesConfig())
    assert found is not None and found.probability == SidesConfig().ask_above
    assert found.reading == "other network" and found.detector == "mediapipe"
    assert torch.equal(found.observation.keypoints, seen.keypoints + 3)
    legs = dataclasses.replace(person, alternative=other_reading(("legs",)))
    assert probability_exchanged(legs, seen, saying(-5.0)) == probability_exchanged(legs, seen, saying(5.0))


def test_readings_of_a_frame_have_the_probability_that_a_photo_has():
    config, plain = SidesConfig(), detection("mediapipe_heavy-0.10.21")
    seen = observe(plain, CAMERA)
    exchanged, other = reading_probabilities(plain, seen, saying(-1.0), config)
    assert exchanged == probability_exchanged(plain, seen, saying(-1.0)) and np.isnan(other)
    body = dataclasses.replace(plain, alternative=other_reading())
    exchanged, other = reading_probabilities(body, seen, saying(-1.0), config)
    assert exchanged == other == probability_exchanged(body, seen, saying(-1.0))
    assert reading_probabilities(body, seen, saying(-5.0), config) == (config.ask_above, config.ask_above)
    legs = dataclasses.replace(plain, alternative=other_reading(("legs",)))
    exchanged, other = reading_probabilities(legs, seen, saying(-1.0), config)
    assert exchanged == probability_exchanged(plain, seen, saying(-1.0))
    assert other == WRONG_WHERE_NETWORKS_DISAGREE["legs"]


def test_readings_of_unknown_error_and_of_a_believed_detector_say_nothing():
    seen = observe(detection(), CAMERA)
    assert np.isnan(reading_probabilities(detection("array"), seen, saying(3.0), SidesConfig())).all()
    assert np.isnan(reading_probabilities(detection(), seen, saying(3.0), SidesConfig(mode="as-read"))).all()


def test_another_networks_reading_needs_keypoints():
    person = detection(alternative=other_reading())
    seen = seen_by_other_network(person, CAMERA)
    assert seen is not None and torch.equal(seen.keypoints, observe(person, CAMERA).keypoints + 3)
    bare = dataclasses.replace(other_reading(), confidence=np.zeros(27, np.float32))
    assert seen_by_other_network(detection(alternative=bare), CAMERA) is None
    assert seen_by_other_network(detection(), CAMERA) is None


def test_the_second_mode_has_its_share_in_pairs():
    config = SidesConfig(least_share=0.2)
    assert [members_of_second(n, 0.05, config) for n in (1, 2, 3, 4, 5, 20, 100)] == [0, 1, 1, 2, 2, 4, 20]
    assert members_of_second(100, 0.3, config) == 30 and members_of_second(100, 0.8, config) == 50


def test_both_modes_are_there_and_the_answer_is_that_of_the_followed_reading_to_the_bit():
    read, other = estimate(1), estimate(2)
    joined, modes = two_modes(read, other, second(0.3), SidesConfig())
    assert [m.reading for m in modes] == ["as read", "sides exchanged"] and [m.members for m in modes] == [
        (0, 14),
        (14, 6),
    ]
    assert joined.fused is read.fused and joined.fused_joints is read.fused_joints
    assert torch.equal(joined.hypotheses.joints, torch.cat([read.hypotheses.joints[:14], other.hypotheses.joints[:6]]))
    assert mode_of_hypotheses(modes).tolist() == [0] * 14 + [1] * 6
    assert sum(m.probability or 0 for m in modes) == pytest.approx(1)
    assert bool((joined.spread[1:] > 0).all())


def test_the_answer_turns_only_beyond_the_stated_probability():
    read, other, config = estimate(1), estimate(2), SidesConfig(turn_above=0.9)
    joined, modes = two_modes(read, other, second(0.9), config)
    assert joined.fused is read.fused and modes[0].reading == "as read" and modes[1].members == (10, 10)
    joined, modes = two_modes(read, other, second(0.95), config)
    assert joined.fused is other.fused and [m.reading for m in modes] == ["sides exchanged", "as read"]
    assert [m.members for m in modes] == [(0, 16), (16, 4)]
    assert torch.equal(joined.hypotheses.joints[0], other.hypotheses.joints[0])


def test_a_group_of_one_stays_as_read():
    read, other = estimate(1, 1), estimate(2, 1)
    joined, modes = two_modes(read, other, second(0.4), SidesConfig())
    assert joined is read and len(modes) == 1 and modes[0].probability == pytest.approx(0.6)


def test_without_doubt_everything_is_what_was_given():
    seen, given = Observation.stack([observe(detection(), CAMERA)]), Estimate.stack([estimate(1)])

    def never(*_):
        raise AssertionError("nobody is estimated again")

    found, followed, modes = followed_and_other(seen, given, [0.01], [None], SidesConfig(), never)
    assert found is given and followed is seen and len(modes[0]) == 1
    assert modes[0][0].probability == pytest.approx(0.99)


def test_only_the_doubtful_person_changes():
    seen = Observation.stack([observe(detection(), CAMERA)] * 2)
    given, again = Estimate.stack([estimate(1), estimate(2)]), estimate(3)
    made = Estimate.stack([again])
    others = [None, second(0.95)]
    found, followed, modes = followed_and_other(seen, given, [0.01, 0.95], others, SidesConfig(), lambda *_: made)
    assert torch.equal(found.hypotheses.joints[0], given.hypotheses.joints[0])
    assert torch.equal(found.fused_joints[1], again.fused_joints) and [len(m) for m in modes] == [1, 2]
    assert torch.equal(followed.keypoints[0], seen.keypoints[0])
    assert torch.equal(followed.keypoints[1], exchanged_sides(seen[1]).keypoints)


def test_the_distance_of_modes_is_about_the_pelvis():
    read, other = estimate(1), estimate(2)
    moved = dataclasses.replace(other, fused_joints=read.fused_joints + 2.0)
    _, modes = two_modes(read, moved, second(0.3), SidesConfig())
    torch.testing.assert_close(squared_distance_of_modes(modes), torch.zeros(28), atol=1e-9, rtol=0)
    assert one_mode(read, None)[0].probability is None


@pytest.mark.parametrize("bad", [{"ask_above": 1.5}, {"least_share": 0.0}, {"least_share": 0.6}, {"turn_above": 0.4}])
def test_values_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="sides"):
        SidesConfig(**bad)
