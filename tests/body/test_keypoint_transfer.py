"""Keypoints carried to another skeleton: identity on the own one, and they follow joints, bones and shape."""

import dataclasses

import pytest
import torch

from hmralign.body import lbs
from hmralign.body.free_body import load_free_body
from hmralign.body.keypoint_transfer import transfer_keypoints
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.structures import BodyParams
from support.toy_body import random_params


def double_body():
    return load_free_body("3k5").to(torch.float64)


def carrying(model, J_template, J_shapedirs):
    moments, dirs = transfer_keypoints(model, J_template, J_shapedirs)
    return dataclasses.replace(
        model, J_template=J_template, J_shapedirs=J_shapedirs, keypoint_moments=moments, keypoint_moment_dirs=dirs
    )


def test_on_its_own_skeleton_nothing_changes():
    model = double_body()
    same = carrying(model, model.J_template, model.J_shapedirs)
    torch.testing.assert_close(same.keypoint_moments, model.keypoint_moments, atol=1e-12, rtol=0)
    assert not same.keypoint_moment_dirs[..., 3, :].any()
    # The shape directions are of the bones, no longer of the skin: they differ by millimetres per unit of shape.
    drift = (same.keypoint_moment_dirs - model.keypoint_moment_dirs).sum(1)[:, :3].norm(dim=1)
    assert drift.max() < 0.02 and drift.mean() < 0.003


@pytest.mark.parametrize("scale", [0.5, 1.2])
def test_a_scaled_and_moved_skeleton_has_scaled_and_moved_keypoints(scale):
    model, shift = double_body(), torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    other = carrying(model, scale * model.J_template + shift, scale * model.J_shapedirs)
    body = random_params((3,))
    mean = BodyParams(body.global_orient, body.body_pose, torch.zeros_like(body.betas), torch.zeros_like(body.transl))
    expected = scale * lbs.posed_keypoints(model, mean) + shift
    torch.testing.assert_close(lbs.posed_keypoints(other, mean), expected, atol=1e-7, rtol=0)


def test_shape_directions_are_the_derivative():
    model = double_body()
    other = carrying(model, 1.1 * model.J_template, model.J_shapedirs.flip(-1))
    unit, step = torch.eye(10, dtype=torch.float64), 1e-5
    for betas in unit:
        moved = [
            transfer_keypoints(model, other.J_template + s * step * other.J_shapedirs @ betas, other.J_shapedirs)[0]
            for s in (-1, 1)
        ]
        expected = (moved[1] - moved[0]) / (2 * step)
        torch.testing.assert_close(other.keypoint_moment_dirs @ betas, expected, atol=1e-8, rtol=0)


def test_a_pelvis_elsewhere_leaves_the_hips_where_they_are():
    model = double_body()
    J = model.J_template.clone()
    J[0, 1] += 0.09
    J[3, 1] += 0.05
    moved = carrying(model, J, model.J_shapedirs).keypoint_moments[..., :3].sum(1)
    for name in ("left_hip", "right_hip", "left_shoulder", "nose"):
        k = KEYPOINT_NAMES.index(name)
        torch.testing.assert_close(moved[k], model.keypoint_moments[k, :, :3].sum(0), atol=1e-9, rtol=0)
