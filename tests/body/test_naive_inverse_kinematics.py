"""HybrIK's naive form: a round trip, and where it differs from ours."""

import numpy as np
import pytest
import torch

from hmralign.body.inverse_kinematics import joints_twists_to_pose, twists
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.naive_inverse_kinematics import PUBLIC_SCALE, naive_joints_twists_to_pose
from hmralign.body.skeleton import PARENTS
from support.synthetic_persons import BODY, persons, seeded

TRUTH = persons(16).annotation.body
REST = rest_joints(BODY, TRUTH.betas)
JOINTS = posed_joints(BODY, TRUTH)
TWISTS = twists(TRUTH.body_pose, REST)
DOUBLE = JOINTS.double(), TWISTS.double(), REST.double()


def degrees(a, b):
    chord = (a - b).flatten(-2).norm(dim=-1) / 8**0.5  # the constants leave rotations not quite orthogonal
    return torch.rad2deg(2 * torch.arcsin(chord.clamp(max=1)))


def test_a_body_comes_back():
    found = naive_joints_twists_to_pose(*DOUBLE)
    assert degrees(found, TRUTH.rotmats.double()).max() < 0.1
    _, joints = forward_kinematics(REST.double(), found, BODY.parents)
    torch.testing.assert_close(joints - joints[:, :1], DOUBLE[0] - DOUBLE[0][:, :1], atol=2e-4, rtol=0)


def test_lengths_of_bones_and_twists_do_not_matter():
    joints = DOUBLE[0].clone()
    for joint in range(1, 29):  # twice as far from its parent
        joints[:, joint] = joints[:, PARENTS[joint]] + 2 * (DOUBLE[0][:, joint] - DOUBLE[0][:, PARENTS[joint]])
    found = naive_joints_twists_to_pose(joints, 3 * DOUBLE[1], DOUBLE[2])
    assert degrees(found, naive_joints_twists_to_pose(*DOUBLE)).max() < 0.01


def test_it_turns_with_the_joints():
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=seeded(0), dtype=torch.float64))
    turn = turn * torch.linalg.det(turn)
    plain, turned = naive_joints_twists_to_pose(*DOUBLE), naive_joints_twists_to_pose(DOUBLE[0] @ turn.mT, *DOUBLE[1:])
    assert degrees(turned[:, 0], turn @ plain[:, 0]).max() < 0.01
    assert degrees(turned[:, 1:], plain[:, 1:]).max() < 0.01


def test_small_constants_matter_in_metres():
    """Published evaluations hand over twice the millimetres; nothing but directions is read, yet it matters."""
    moved = (naive_joints_twists_to_pose(*DOUBLE) - naive_joints_twists_to_pose(*DOUBLE, scale=1.0)).abs().max()
    assert 1e-5 < moved < 0.05 and PUBLIC_SCALE == 2000


def test_a_bone_turned_around_is_not_turned():
    rest = DOUBLE[2][:1].clone()
    joints = rest.clone()
    joints[:, 7] = 2 * joints[:, 4] - joints[:, 7]  # the left shank points up
    none = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 23, 2)
    eye = torch.eye(3, dtype=torch.float64)
    # In so small a unit the constant hides that the bone is not turned around to the last digit.
    naive = naive_joints_twists_to_pose(joints, none, rest, scale=1e-4)[0, 4]
    torch.testing.assert_close(naive, eye, atol=1e-3, rtol=0)
    assert degrees(joints_twists_to_pose(joints, none, rest)[0, 4], eye) == pytest.approx(180, abs=1e-3)


def test_the_pelvis_of_noisy_joints_is_worse_than_least_squares():
    """What the table of the module says: 10 mm of noise on each joint."""
    noisy = DOUBLE[0] + 0.01 * torch.randn(DOUBLE[0].shape, generator=seeded(1), dtype=torch.float64)
    truth = TRUTH.rotmats.double()[:, 0]
    naive = degrees(naive_joints_twists_to_pose(noisy, *DOUBLE[1:])[:, 0], truth).mean()
    ours = degrees(joints_twists_to_pose(noisy, *DOUBLE[1:])[:, 0], truth).mean()
    assert naive > 1.5 * ours, (float(naive), float(ours))


def test_the_pelvis_is_what_its_description_says():
    """By another way: an orthogonal frame of the spine and of what the hips' middle adds across it."""
    joints, rest = (t[0].numpy() - t[0, 0].numpy() for t in (DOUBLE[0], DOUBLE[2]))

    def frame(points):
        spine = points[3] / np.linalg.norm(points[3])
        hips = (points[1] + points[2]) / 2
        across = hips - hips @ spine * spine
        across /= np.linalg.norm(across)
        return np.stack([spine, across, np.cross(spine, across)], axis=1)

    found = naive_joints_twists_to_pose(*DOUBLE)[0, 0].numpy()
    np.testing.assert_allclose(found, frame(joints) @ frame(rest).T, atol=1e-3)
