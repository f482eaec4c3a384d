"""Poses that people take are inside the limits; poses nobody takes are not."""

import numpy as np
import pytest
import torch

from hmralign.body.joint_limits import LIMITS, joint_angles, limit_violation
from hmralign.body.skeleton import JOINT_NAMES, MIRROR_JOINTS
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from support.shared_data import require_shared


def _excess(**degrees: tuple[str, float]) -> dict[str, float]:
    """Excess in degrees of the joints that have any, for single-axis turns from the T-pose."""
    pose = torch.eye(3).repeat(23, 1, 1)
    for name, (axis, angle) in degrees.items():
        pose[JOINT_NAMES.index(name) - 1] = axis_rotmat(axis, torch.tensor(float(angle)).deg2rad())
    excess = limit_violation(pose).rad2deg()
    return {JOINT_NAMES[i + 1]: float(e) for i, e in enumerate(excess) if e > 0.01}


@pytest.mark.parametrize(
    "pose",
    [
        {},
        {"left_knee": ("x", 140), "left_hip": ("x", -120)},
        {"left_shoulder": ("z", -80), "right_shoulder": ("z", 80)},
        {"left_shoulder": ("y", -100), "left_elbow": ("y", -140)},
        {"right_elbow": ("y", 140), "right_shoulder": ("z", -95)},
        {"spine1": ("x", 40), "spine2": ("x", 30), "spine3": ("x", 20)},
        {"neck": ("y", 35), "head": ("y", 45)},
        {"left_ankle": ("x", 45), "right_hand": ("z", 90)},
    ],
)
def test_possible_poses_are_inside(pose: dict):
    assert _excess(**pose) == {}


@pytest.mark.parametrize(
    ("pose", "least_degrees"),
    [
        ({"left_knee": ("x", -90)}, 70),
        ({"right_knee": ("x", -90)}, 70),
        ({"left_elbow": ("y", 60)}, 45),
        ({"right_elbow": ("y", -60)}, 45),
        ({"head": ("y", 150)}, 80),
        ({"neck": ("z", 100)}, 50),
        ({"left_shoulder": ("y", 110)}, 45),
        ({"right_hip": ("x", 90)}, 50),
        ({"left_hip": ("z", -90)}, 45),
        ({"right_hip": ("z", 90)}, 45),
        ({"spine2": ("x", -90)}, 50),
        ({"left_foot": ("x", 90)}, 30),
        ({"right_knee": ("y", 90)}, 45),
    ],
)
def test_impossible_poses_are_flagged_at_their_joint(pose: dict, least_degrees: float):
    found = _excess(**pose)
    assert list(found) == list(pose)
    assert found[next(iter(pose))] >= least_degrees


def test_excess_is_measured_from_the_limit():
    limit = LIMITS["knee"].x[1]
    assert _excess(left_knee=("x", limit + 15)) == {"left_knee": pytest.approx(15, abs=0.01)}
    assert _excess(left_knee=("x", limit - 0.5)) == {}


def test_mirrored_poses_have_mirrored_excess():
    pose = rotvec_to_rotmat(torch.randn((50, 23, 3), generator=torch.Generator().manual_seed(0)))
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    swap = [j - 1 for j in MIRROR_JOINTS[1:24]]
    torch.testing.assert_close(
        limit_violation(flip @ pose[:, swap] @ flip), limit_violation(pose)[:, swap], atol=1e-4, rtol=0
    )


def test_angles_of_small_turns_are_the_rotation_vector():
    rotvec = 1e-3 * torch.randn((4, 2, 23, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(joint_angles(rotvec_to_rotmat(rotvec)), rotvec, atol=1e-5, rtol=0)


def test_gradients_are_finite_inside_and_outside():
    rotvec = torch.zeros(2, 23, 3)
    rotvec[1] = torch.randn((23, 3), generator=torch.Generator().manual_seed(0)) * 1.5
    rotvec[0] += 0.05
    rotvec.requires_grad_()
    limit_violation(rotvec_to_rotmat(rotvec)).sum().backward()
    assert torch.isfinite(rotvec.grad).all() and rotvec.grad[1].abs().sum() > 0


@pytest.mark.assets
def test_real_poses_rarely_leave_the_limits():
    file = np.load(require_shared("poses/cmu_smpl24_poses.npz"), allow_pickle=False)
    poses = file["poses"][file["split"] == 0].astype("float32")
    excess = limit_violation(rotvec_to_rotmat(torch.tensor(poses))[:, 1:])
    assert (excess > 0.35).any(dim=1).float().mean() < 0.02
