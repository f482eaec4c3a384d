"""The shares of the segments are the MPJPE, whole; the tables cover the body once."""

import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS, PARENTS
from hmralign.evaluation.mistakes.segments import (
    MIRROR_SEGMENTS,
    NUMBER,
    SEGMENTS,
    error_by_segment,
    hidden_segments,
)
from hmralign.metrics.joint_errors import mpjpe
from hmralign.training.hypothesis_sets import WIDE_NOISE, perturbed_truth
from support.synthetic_persons import BODY, persons, seeded

TRUTH = persons(8).annotation
JOINTS = posed_joints(BODY, perturbed_truth(TRUTH, 3, WIDE_NOISE, seeded(0)))


def test_every_bone_belongs_to_one_segment_and_carriers_come_first():
    bones = sorted(b for s in SEGMENTS for b in s.bones)
    assert bones == list(range(1, NUM_JOINTS))
    for number, segment in enumerate(SEGMENTS[1:], start=1):
        assert segment.carrier is not None and segment.carrier < number
    assert SEGMENTS[NUMBER["left shin"]].carrier == NUMBER["left thigh"]
    for number, segment in enumerate(SEGMENTS):
        other = SEGMENTS[MIRROR_SEGMENTS[number]]
        assert {MIRROR_JOINTS[b] for b in segment.bones} == set(other.bones)


def test_shares_add_up_to_the_error_wherever_the_body_stands():
    shares = error_by_segment(JOINTS, TRUTH.joints[:, None])
    expected = mpjpe(JOINTS[..., :NUM_JOINTS, :], TRUTH.joints[:, None, :NUM_JOINTS], root=0)
    torch.testing.assert_close(shares.sum(-1).float(), expected, atol=1e-5, rtol=1e-4)
    moved = error_by_segment(JOINTS + torch.tensor([1.0, -2.0, 3.0]), TRUTH.joints[:, None])
    torch.testing.assert_close(moved, shares, atol=1e-5, rtol=1e-3)


def test_shares_are_those_of_a_loop_over_joints_and_bones():
    got = error_by_segment(JOINTS[0, 0], TRUTH.joints[0])
    wrong = [(JOINTS[0, 0, j] - JOINTS[0, 0, 0]) - (TRUTH.joints[0, j] - TRUTH.joints[0, 0]) for j in range(24)]
    expected = torch.zeros(len(SEGMENTS))
    for joint in range(1, NUM_JOINTS):
        along, at = wrong[joint] / wrong[joint].norm(), joint
        while at > 0:
            owner = next(n for n, s in enumerate(SEGMENTS) if at in s.bones)
            expected[owner] += torch.dot(along, wrong[at] - wrong[PARENTS[at]]) / NUM_JOINTS
            at = PARENTS[at]
    torch.testing.assert_close(got.float(), expected, atol=1e-6, rtol=1e-4)


def test_the_truth_has_no_share_and_one_wrong_bone_has_all_of_them():
    assert (error_by_segment(TRUTH.joints, TRUTH.joints) == 0).all()
    bent = TRUTH.joints.clone()
    bent[:, 22] += torch.tensor([0.0, 0.1, 0.0])  # the left hand alone
    shares = error_by_segment(bent, TRUTH.joints)
    torch.testing.assert_close(shares[:, NUMBER["left hand"]], torch.full((8,), 0.1 / 24).double(), atol=1e-6, rtol=0)
    assert shares.count_nonzero() == 8


def test_a_segment_is_hidden_when_one_of_its_ends_is():
    hidden = torch.zeros(24, dtype=torch.bool)
    hidden[7] = True  # the left ankle
    found = {SEGMENTS[int(s)].name for s in hidden_segments(hidden).nonzero()[:, 0]}
    assert found == {"left shin", "left foot"}
