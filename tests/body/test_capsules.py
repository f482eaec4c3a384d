"""Capsule geometry against brute force, and overlaps that are or are not there."""

import pytest
import torch

from hmralign.body import capsules, lbs
from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.structures import InputError
from support.rest_mesh import rest_vertices
from support.shared_data import require_shared
from support.toy_body import toy_body


def _joints(rotations: dict[str, torch.Tensor], betas: torch.Tensor) -> torch.Tensor:
    model = load_free_body()
    rotmats = torch.eye(3).repeat(24, 1, 1)
    for name, rotation in rotations.items():
        rotmats[JOINT_NAMES.index(name)] = rotation
    return lbs.forward_kinematics(lbs.rest_joints(model, betas), rotmats, model.parents)[1]


def _penetration(betas: torch.Tensor | None = None, **rotations: torch.Tensor) -> float:
    betas = torch.zeros(10) if betas is None else betas
    return float(capsules.self_penetration(load_free_body(), _joints(rotations, betas), betas))


def _turn(axis: str, degrees: float) -> torch.Tensor:
    return axis_rotmat(axis, torch.tensor(degrees).deg2rad())


def test_segment_distance_equals_dense_search():
    generator = torch.Generator().manual_seed(0)
    p0, p1, q0, q1 = torch.randn((4, 200, 3), generator=generator, dtype=torch.float64)
    p1[:20], q1[10:40] = p0[:20], q0[10:40]  # points
    q1[40:60] = q0[40:60] + 0.7 * (p1 - p0)[40:60]  # parallel
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    p = p0[:, None] + t[:, None] * (p1 - p0)[:, None]
    q = q0[:, None] + t[:, None] * (q1 - q0)[:, None]
    expected = torch.cdist(p, q).amin((1, 2))
    found = capsules.segment_distance(p0, p1, q0, q1)
    assert (found <= expected + 1e-6).all()
    assert (expected - found).max() < 0.02  # the grid's own error


def test_segment_distance_is_symmetric_and_differentiable():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn((4, 20, 3), generator=generator, dtype=torch.float64)
    p0, p1, q0, q1 = points
    torch.testing.assert_close(capsules.segment_distance(p0, p1, q0, q1), capsules.segment_distance(q1, q0, p0, p1))
    inputs = [x.clone().requires_grad_() for x in points]
    assert torch.autograd.gradcheck(capsules.segment_distance, inputs)


@pytest.mark.parametrize("seed", range(3))
def test_t_pose_is_free_of_overlap_for_ordinary_shapes(seed: int):
    betas = torch.randn(10, generator=torch.Generator().manual_seed(seed))
    assert _penetration() == 0.0
    assert _penetration(betas) == 0.0


def test_arms_at_the_sides_barely_touch():
    down = {"left_shoulder": _turn("z", -75), "right_shoulder": _turn("z", 75)}
    assert _penetration(**down) < 0.02


def test_hand_in_the_belly_is_found():
    # The left arm lowered, then bent so that the forearm goes through the trunk.
    inside = {"left_shoulder": _turn("z", -70), "left_elbow": _turn("z", -80)}
    assert _penetration(**inside) > 0.08


def test_crossed_shanks_are_found():
    assert _penetration(left_hip=_turn("z", -20), right_hip=_turn("z", 20)) > 0.03


def test_all_overlaps_count_each_beyond_its_contact():
    """A loop over the pairs that are judged; some of these poses have several."""
    model, several = load_free_body(), 0
    first, second = capsules.judged_pairs(model)
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        turns = dict(zip(JOINT_NAMES[1:24], rotvec_to_rotmat(torch.randn(23, 3, generator=g)), strict=True))
        joints = _joints(turns, torch.zeros(10))
        start, end = capsules.capsule_segments(joints)
        radii = capsules.capsule_radii(model, torch.zeros(10))
        overlaps = []
        for i, j in zip(first, second, strict=True):
            gap = float(capsules.segment_distance(start[i], end[i], start[j], end[j]))
            overlaps.append(max(0.0, float(radii[i] + radii[j]) - 0.01 - gap))
        several += sum(overlap > 0.005 for overlap in overlaps) > 1
        assert float(capsules.self_penetration(model, joints, torch.zeros(10))) == pytest.approx(
            sum(overlaps), abs=1e-5
        )
    assert several >= 3


def test_mirrored_pose_has_the_same_overlap():
    left = _penetration(left_shoulder=_turn("z", -70), left_elbow=_turn("z", -80))
    right = _penetration(right_shoulder=_turn("z", 70), right_elbow=_turn("z", 80))
    assert left == pytest.approx(right, abs=1e-5)


def test_batch_and_frame_do_not_matter():
    model, betas = load_free_body(), torch.zeros(2, 1, 10)
    poses = torch.stack([_joints({"left_elbow": _turn("y", a)}, torch.zeros(10)) for a in (-60.0, -120.0, -170.0)])
    together = capsules.self_penetration(model, poses[None], betas)
    assert together.shape == (2, 3)
    moved = poses @ rotvec_to_rotmat(torch.tensor([0.3, 2.0, -1.0])).mT + torch.tensor([0.2, 1.0, 5.0])
    torch.testing.assert_close(capsules.self_penetration(model, moved, betas[0]), together[0], atol=1e-5, rtol=0)


def test_heavier_bodies_have_wider_capsules():
    model = load_free_body()
    rest = rest_vertices(model, torch.eye(10))
    widths = rest[..., 2].amax(-1) - rest[..., 2].amin(-1)
    beta = int(widths[1:].argmax()) + 1  # the shape direction that deepens the trunk most
    radii = capsules.capsule_radii(model, torch.nn.functional.one_hot(torch.tensor(beta), 10).float())
    assert radii.sum() > capsules.capsule_radii(model, torch.zeros(10)).sum()


def test_radii_are_those_of_human_limbs():
    radii = dict(zip((c.name for c in capsules.CAPSULES), load_free_body().capsule_radii.tolist(), strict=True))
    assert 0.025 < radii["left_forearm"] < radii["left_upper_arm"] < radii["left_thigh"] < 0.1
    assert all(radii[f"left_{x}"] == radii[f"right_{x}"] for x in ("hand", "shank", "foot", "flank"))


def test_a_body_without_capsules_says_so():
    with pytest.raises(InputError, match="no capsule radii"):
        capsules.capsule_radii(toy_body(), torch.zeros(10, dtype=torch.float64))


@pytest.mark.assets
def test_real_poses_overlap_little():
    import numpy as np

    file = np.load(require_shared("poses/cmu_smpl24_poses.npz"), allow_pickle=False)
    rotmats = rotvec_to_rotmat(torch.tensor(file["poses"][file["split"] == 0][::10].astype("float32")))
    model = load_free_body()
    rest = lbs.rest_joints(model, torch.zeros(10))
    _, joints = lbs.forward_kinematics(rest.expand(len(rotmats), 29, 3), rotmats, model.parents)
    overlap = capsules.self_penetration(model, joints, torch.zeros(10))
    assert overlap.median() < 0.001 and overlap.quantile(0.95) < 0.05
