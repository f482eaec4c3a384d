"""People whose sides are doubtful, through `recover_people`: both readings are in the group, and it is said."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from hmralign import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.data.images import load_image
from hmralign.detection.detection import Detection, OtherReading
from hmralign.detection.find_people import people_from_array
from hmralign.detection.observe import camera_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.sides import SidesConfig
from hmralign.metrics.uncertainty import Recalibration
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.systems.recover.doubtful_sides import doubt_in_words, modes_record, tell_of_doubtful_sides
from hmralign.systems.recover.expected_error import error_of_modes
from hmralign.systems.recover.people import RecoverConfig, recover_people
from support.recover_example import WIDTH, example_photo, tiny_checkpoint, tiny_model

CONFIG = RecoverConfig(sampler=SamplerConfig(num_hypotheses=12))
UNREFINED = dataclasses.replace(CONFIG, refinement=RefinementConfig(method="none"))
AS_READ = dataclasses.replace(CONFIG, sides=SidesConfig(mode="as-read"))
MIRROR = list(MIRROR_KEYPOINTS)


@pytest.fixture(scope="module")
def policy():
    return LitePolicy(tiny_model().eval(), load_free_body("3k5"))


def person(*, doubtful: bool, exchanged: bool = False) -> Detection:
    found = dataclasses.replace(people_from_array(example_photo()[1])[0], detector="mediapipe_heavy-0.10.21")
    swapped = OtherReading(found.keypoints[MIRROR], found.confidence[MIRROR], None, "mediapipe-0.10.21", ("body",))
    if exchanged:
        return dataclasses.replace(found, keypoints=swapped.keypoints, confidence=swapped.confidence)
    return dataclasses.replace(found, alternative=swapped) if doubtful else found


def recover(policy, found, config=CONFIG):
    photo = load_image(example_photo()[0])
    return recover_people(policy, photo, camera_of(photo), found, config).persons


def test_with_one_mode_nothing_changes_by_a_bit(policy):
    (both,), (as_read,) = (recover(policy, [person(doubtful=False)], c) for c in (CONFIG, AS_READ))
    assert len(both.modes) == 1 and doubt_in_words(both) is None
    assert both.modes[0].probability is not None and both.modes[0].probability > 0.9
    assert as_read.modes[0].probability is None
    for name in ("scores", "ranking", "fused_joints", "spread"):
        assert torch.equal(getattr(both, name), getattr(as_read, name))
    assert torch.equal(both.hypotheses.joints, as_read.hypotheses.joints)


def test_both_modes_are_there_when_two_networks_disagree(policy):
    (both,), (as_read,) = (recover(policy, [person(doubtful=True)], c) for c in (CONFIG, AS_READ))
    first, second = both.modes
    assert (first.reading, second.reading) == ("as read", "other network")
    assert second.members == (10, 2) and second.exchanged == ("body",)
    assert torch.equal(both.fused_joints, as_read.fused_joints)
    assert torch.equal(both.hypotheses.joints[:10], as_read.hypotheses.joints[:10])
    assert not torch.equal(both.hypotheses.joints[10:], as_read.hypotheses.joints[10:])
    assert both.selected < 10


def test_the_second_mode_is_the_first_hypotheses_of_the_other_reading(policy):
    (both,) = recover(policy, [person(doubtful=True)], UNREFINED)
    config = dataclasses.replace(UNREFINED, sides=SidesConfig(mode="as-read"))
    (exchanged,) = recover(policy, [person(doubtful=False, exchanged=True)], config)
    # Where they stand, and by that how they are turned a little, depends on the noise of the network.
    second, other, first = (
        group[:2] - group[:2, :1]
        for group in (both.hypotheses.joints[10:], exchanged.hypotheses.joints, both.hypotheses.joints)
    )
    torch.testing.assert_close(second, other, atol=0.01, rtol=0)
    assert float((first - other).abs().max()) > 0.03


def test_the_answer_follows_the_other_reading_beyond_the_stated_probability(policy):
    sure = dataclasses.replace(CONFIG, sides=SidesConfig(turn_above=0.5, ask_above=0.6))
    (turned,) = recover(policy, [person(doubtful=True)], sure)
    assert [m.reading for m in turned.modes] == ["other network", "as read"]
    np.testing.assert_array_equal(turned.observation.keypoints, person(doubtful=True).keypoints[MIRROR])
    words = doubt_in_words(turned)
    assert words is not None and "fused follows the second network's reading (probability 60 %)" in words


def test_a_person_does_not_depend_on_the_doubts_about_others(policy):
    alone = recover(policy, [person(doubtful=True)])[0]
    together = recover(policy, [person(doubtful=False), person(doubtful=True)])
    assert [len(p.modes) for p in together] == [1, 2]
    torch.testing.assert_close(together[1].hypotheses.joints, alone.hypotheses.joints, atol=1e-4, rtol=0)


def test_a_mirrored_photo_gives_the_mirrored_group(policy):
    found = person(doubtful=True)
    other = found.alternative
    assert other is not None

    def turn(points):
        return (points * np.array([-1, 1], np.float32) + np.array([WIDTH - 1, 0], np.float32))[MIRROR]

    seen = dataclasses.replace(other, keypoints=turn(other.keypoints), confidence=other.confidence[MIRROR])
    x0, y0, x1, y1 = found.box
    mirrored = dataclasses.replace(
        found,
        keypoints=turn(found.keypoints),
        confidence=found.confidence[MIRROR],
        box=np.array([WIDTH - 1 - x1, y0, WIDTH - 1 - x0, y1], np.float32),
        alternative=seen,
    )
    (plain,), (turned,) = recover(policy, [found], UNREFINED), recover(policy, [mirrored], UNREFINED)
    assert [m.members for m in plain.modes] == [m.members for m in turned.modes]
    assert plain.modes[1].probability == pytest.approx(turned.modes[1].probability, abs=1e-3)
    back = turned.hypotheses.joints[:, list(MIRROR_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    swapped = back.reshape(6, 2, 29, 3).flip(1).reshape(12, 29, 3)  # of a pair, the plain one is the mirrored one
    torch.testing.assert_close(swapped, plain.hypotheses.joints, atol=2e-3, rtol=0)


def test_threads_and_repetition_change_nothing(policy):
    threads = torch.get_num_threads()
    (first,) = recover(policy, [person(doubtful=True)])
    try:
        torch.set_num_threads(2)
        (second,) = recover(policy, [person(doubtful=True)])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(second.hypotheses.joints, first.hypotheses.joints, atol=1e-5, rtol=0)
    assert modes_record(second) == modes_record(first)


def test_expected_error_counts_the_other_mode_by_its_probability(policy):
    (doubtful,) = recover(policy, [person(doubtful=True)])
    plain = Recalibration(torch.ones(23), torch.zeros(23))
    one = error_of_modes(doubtful.modes[:1], plain)
    both = error_of_modes(doubtful.modes, plain)
    first, second = doubtful.modes
    # An oracle: the truth is a hypothesis of either reading, the answer stays where it is.
    p = second.probability
    assert p is not None
    answer = first.fused_joints[1:24] - first.fused_joints[:1]

    def about_its_answer(mode):
        joints = mode.joints[:, 1:24] - mode.joints[:, :1]
        centred = joints - joints.mean(0) + (mode.fused_joints[1:24] - mode.fused_joints[:1])
        return (centred - answer).square().sum(-1).sum(0) / (len(joints) - 1)

    away = (second.fused_joints[1:24] - second.fused_joints[:1] - answer).square().sum(-1)
    unbiased = about_its_answer(second) - away / (len(second.joints) - 1)  # n / (n - 1) of the shift, once too often
    expected = ((1 - p) * about_its_answer(first) + p * unbiased).sqrt()
    torch.testing.assert_close(both, expected, atol=2e-3, rtol=0)
    assert bool((both > one * 0.9).all()) and float(both.mean()) > float(one.mean())


def test_the_warning_says_which_reading_and_how_likely(policy, caplog):
    with caplog.at_level(logging.WARNING, "hmralign.recover"):
        tell_of_doubtful_sides("a.jpg", recover(policy, [person(doubtful=False), person(doubtful=True)]))
    (line,) = caplog.messages
    assert "a.jpg: person 1" in line and "2 of 12 hypotheses follow the second network's reading (9 %)" in line


def test_who_is_believed_though_two_networks_disagree_is_warned_of_as_well(policy, caplog):
    with caplog.at_level(logging.WARNING, "hmralign.recover"):
        tell_of_doubtful_sides("a.jpg", recover(policy, [person(doubtful=False), person(doubtful=True)], AS_READ))
    (line,) = caplog.messages
    assert "a.jpg: person 1: two networks read left and right, or front and back," in line


def test_a_photo_warns_once_of_each_person(tmp_path, caplog):
    class Doubtful:
        name = "mediapipe_heavy"

        def __call__(self, image):
            return [person(doubtful=True)]

        def detect_in_box(self, image, box):
            raise AssertionError

    for sides in ("both", "as-read"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hmralign"):
            weights = tiny_checkpoint(tmp_path / f"{sides}.safetensors")
            Recoverer.load(weights, detector=Doubtful(), num_hypotheses=4, sides=sides)(example_photo()[0])
        assert len([line for line in caplog.messages if "left and right" in line]) == 1


def test_the_record_adds_up(policy):
    (doubtful,) = recover(policy, [person(doubtful=True)])
    first, second = modes_record(doubtful)
    assert first["probability"] + second["probability"] == pytest.approx(1)
    assert first["hypotheses"] + second["hypotheses"] == 12 and second["first_hypothesis"] == first["hypotheses"]
    assert posed_joints(load_free_body("3k5"), doubtful.fused).shape == (29, 3)
