"""Pose -> joints + twists -> pose, on large random rotations and on real poses."""

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import BONE_CHILD, joints_twists_to_pose, twists
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.skeleton import JOINT_NAMES, PARENTS
from hmralign.data.pose_file import load_pose_file
from hmralign.geometry.rotations import random_rotmat, rotmat_angle, rotvec_to_rotmat
from support.shared_data import require_shared

MODEL = load_free_body("3k5")


def round_trip(rotmats, betas):
    rest = rest_joints(MODEL.to(rotmats.dtype), betas)
    _, joints = forward_kinematics(rest, rotmats, MODEL.parents)
    return joints_twists_to_pose(joints, twists(rotmats[..., 1:, :, :], rest), rest), joints, rest


def test_every_bone_ends_at_a_child():
    assert all(PARENTS[child] == joint for joint, child in enumerate(BONE_CHILD, start=1))


def test_a_twist_turns_about_the_bone_to_the_named_joint():
    """Which then stays where it is; of the upper spine that is the neck, so a twist carries the collars round."""
    wanted = {"spine3": "neck", "left_shoulder": "left_elbow", "right_knee": "right_ankle", "head": "head_top"}
    rest = rest_joints(load_free_body("3k5"), torch.zeros(10))
    for joint, child in wanted.items():
        number, end = JOINT_NAMES.index(joint), JOINT_NAMES.index(child)
        twist = torch.tensor([1.0, 0.0]).repeat(23, 1)
        twist[number - 1] = torch.tensor([0.0, 1.0])  # a right angle
        rotmats = joints_twists_to_pose(rest, twist, rest)
        _, joints = forward_kinematics(rest, rotmats, PARENTS)
        torch.testing.assert_close(joints[end], rest[end], atol=1e-5, rtol=0)
        bone = torch.nn.functional.normalize(rest[end] - rest[number], dim=0)
        torch.testing.assert_close(rotmats[number], rotvec_to_rotmat(bone * torch.pi / 2), atol=1e-5, rtol=0)


def test_round_trip_on_uniform_random_rotations_in_double():
    g = torch.Generator().manual_seed(0)
    rotmats = random_rotmat((2000, 24), g).double()
    rotmats = torch.linalg.qr(rotmats)[0]  # float32 draws are rotations only to 1e-7
    rotmats = rotmats * torch.linalg.det(rotmats)[..., None, None]
    recovered, *_ = round_trip(rotmats, torch.randn(2000, 10, generator=g).double())
    assert rotmat_angle(recovered, rotmats).max() < 1e-5


def test_round_trip_on_moderate_rotations_in_float():
    g = torch.Generator().manual_seed(1)
    rotmats = rotvec_to_rotmat(0.8 * torch.randn(500, 24, 3, generator=g))
    recovered, *_ = round_trip(rotmats, torch.randn(500, 10, generator=g))
    angle = rotmat_angle(recovered, rotmats)
    assert angle.max() < 5e-3 and angle.mean() < 1e-5


def test_round_trip_on_all_real_poses():
    path = require_shared("poses/cmu_smpl24_poses.npz")
    for split in ("train", "val", "test"):
        rotmats = rotvec_to_rotmat(load_pose_file(path, split).rotvecs.double())
        recovered, *_ = round_trip(rotmats, torch.zeros(len(rotmats), 10, dtype=torch.float64))
        assert rotmat_angle(recovered, rotmats).max() < 1e-6


def test_only_directions_count():
    g = torch.Generator().manual_seed(2)
    rotmats = rotvec_to_rotmat(0.5 * torch.randn(20, 24, 3, generator=g))
    _, joints, rest = round_trip(rotmats, torch.zeros(20, 10))
    twist = twists(rotmats[:, 1:], rest)
    once = joints_twists_to_pose(joints, twist, rest)
    scaled = joints_twists_to_pose(3.0 * joints + 1.0, twist, rest)
    assert rotmat_angle(once, scaled).max() < 1e-4


def test_a_bone_without_length_keeps_its_rest_direction():
    rest = rest_joints(MODEL, torch.zeros(1, 10))
    joints = rest.clone()
    elbow, wrist = 18, 20
    joints[:, wrist] = joints[:, elbow]
    twist = torch.tensor([1.0, 0.0]).expand(1, 23, 2)
    recovered = joints_twists_to_pose(joints, twist, rest)
    assert torch.isfinite(recovered).all()
    assert rotmat_angle(recovered[:, elbow], torch.eye(3).expand(1, 3, 3)).max() < 1e-5


def test_folded_bone_is_finite_and_points_where_it_should():
    rest = rest_joints(MODEL, torch.zeros(1, 10))
    joints = rest.clone()
    knee, ankle = 4, 7
    joints[:, ankle] = 2 * joints[:, knee] - joints[:, ankle]
    recovered = joints_twists_to_pose(joints, torch.tensor([1.0, 0.0]).expand(1, 23, 2), rest)
    _, posed = forward_kinematics(rest, recovered, MODEL.parents)
    bone = posed[:, ankle] - posed[:, knee]
    want = joints[:, ankle] - joints[:, knee]
    assert torch.nn.functional.cosine_similarity(bone, want).item() > 0.9999
