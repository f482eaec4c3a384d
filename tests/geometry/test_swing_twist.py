"""Swing-twist decomposition: exact inverse, minimal swing, degenerate bones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.geometry.rotations import (
    axis_rotmat,
    mean_rotmat,
    project_to_rotmat,
    random_rotmat,
    rotmat_angle,
    rotvec_to_rotmat,
)
from hmralign.geometry.swing_twist import decompose, perpendicular, root_rotation, swing_between, twist_about


def unit(n, seed, dtype=torch.float64):
    v = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (v / v.norm(dim=-1, keepdim=True)).to(dtype)


def test_uniform_rotations_are_their_swing_after_their_twist():
    # Draws are float32; project so that they are rotations to double precision.
    R = project_to_rotmat(random_rotmat((5000,), torch.Generator().manual_seed(0)).double())
    bone = unit(5000, 1)
    swing, twist = decompose(R, bone)
    torch.testing.assert_close(swing @ twist_about(bone, twist), R, atol=1e-7, rtol=0)


def test_swing_has_no_component_about_the_bone_and_twist_keeps_it():
    R, bone = random_rotmat((500,), torch.Generator().manual_seed(2)).double(), unit(500, 3)
    swing, twist = decompose(R, bone)
    axis = torch.stack(
        [swing[:, 2, 1] - swing[:, 1, 2], swing[:, 0, 2] - swing[:, 2, 0], swing[:, 1, 0] - swing[:, 0, 1]], -1
    )
    assert (axis * bone).sum(-1).abs().max() < 1e-9
    torch.testing.assert_close((twist_about(bone, twist) @ bone[..., None])[..., 0], bone)


@given(st.floats(-3.14, 3.14), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_pure_twist_is_recovered(angle, seed):
    bone = unit(1, seed)
    R = rotvec_to_rotmat(bone * angle)
    swing, twist = decompose(R, bone)
    assert rotmat_angle(swing, torch.eye(3, dtype=swing.dtype)[None]).max() < 1e-6
    assert abs(math.remainder(math.atan2(twist[0, 1], twist[0, 0]) - angle, 2 * math.pi)) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reversed_bone_turns_half_a_circle_the_same_way_each_time(dtype):
    a = unit(50, 4, dtype)
    swing = swing_between(a, -a)
    torch.testing.assert_close((swing @ a[..., None])[..., 0], -a, atol=1e-6, rtol=0)
    assert torch.linalg.det(swing).sub(1).abs().max() < 1e-5
    assert torch.equal(swing, swing_between(a, -a))
    assert (perpendicular(a) * a).sum(-1).abs().max() < 1e-6


def test_zero_twist_pair_means_no_twist():
    bone = unit(3, 5)
    torch.testing.assert_close(
        twist_about(bone, torch.zeros(3, 2, dtype=bone.dtype)), torch.eye(3, dtype=bone.dtype).expand(3, 3, 3)
    )


def test_twist_pair_need_not_have_unit_length():
    bone, pair = unit(4, 6), torch.tensor([[0.6, 0.8]], dtype=torch.float64).expand(4, 2)
    torch.testing.assert_close(twist_about(bone, 7 * pair), twist_about(bone, pair))


def test_angle_is_accurate_near_zero_in_float32():
    angle = torch.tensor([1e-5, 1e-3, 1.0, 3.14159])
    R = axis_rotmat("y", angle)
    torch.testing.assert_close(rotmat_angle(R, torch.eye(3).expand(4, 3, 3)), angle, atol=2e-6, rtol=1e-3)


def test_mean_rotation_is_the_middle_of_two_and_respects_weights():
    pair = torch.stack([axis_rotmat("z", torch.tensor(0.2)), axis_rotmat("z", torch.tensor(0.8))])
    torch.testing.assert_close(mean_rotmat(pair), axis_rotmat("z", torch.tensor(0.5)))
    torch.testing.assert_close(mean_rotmat(pair, torch.tensor([1.0, 0.0])), pair[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("away", [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.2])
def test_a_bone_that_is_almost_reversed_still_turns_by_a_rotation(away):
    draw = torch.Generator().manual_seed(7)
    a = torch.nn.functional.normalize(torch.randn(500, 3, generator=draw), dim=-1)
    b = torch.nn.functional.normalize(-a + away * torch.randn(500, 3, generator=draw), dim=-1)
    swing = swing_between(a, b)
    assert (swing @ swing.mT - torch.eye(3)).abs().max() < 1e-4
    assert (torch.linalg.det(swing) - 1).abs().max() < 1e-4
    # Within about 1e-3 rad of the reversal a + b has no digits left, and so has no direction.
    assert ((swing @ a[..., None])[..., 0] - b).norm(dim=-1).max() < min(3e-3, max(5e-5, 2e-5 / away))


def test_the_root_turns_the_rest_offsets_onto_their_targets():
    g = torch.Generator().manual_seed(4)
    rest, turn = torch.randn(20, 3, 3, generator=g, dtype=torch.float64), random_rotmat((20,), g).double()
    found = root_rotation(rest, rest @ turn.mT)
    torch.testing.assert_close(found, turn, atol=1e-6, rtol=0)
