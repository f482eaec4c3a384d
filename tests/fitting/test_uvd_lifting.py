"""Lifting: exact where everything is known, and the depth from nothing but the lengths of bones."""

import numpy as np
import torch

from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.fitting.uvd_lifting import FARTHEST, bone_lengths, lift, root_depth
from hmralign.geometry.placement import MIN_DEPTH
from support.synthetic_persons import BODY, persons, seeded

TRUTH = persons(24).annotation.body
JOINTS = posed_joints(BODY, TRUTH).double()
LENGTHS = bone_lengths(rest_joints(BODY, TRUTH.betas)).double()
TANGENTS, DEPTH = JOINTS[..., :2] / JOINTS[..., 2:], JOINTS[..., 2] - JOINTS[:, :1, 2]
ROOT = JOINTS[:, 0, 2]


def test_lifting_undoes_projection():
    torch.testing.assert_close(lift(TANGENTS, DEPTH, ROOT), JOINTS)


def test_bone_lengths_are_those_of_the_posed_body():
    posed = bone_lengths(JOINTS)
    torch.testing.assert_close(posed, LENGTHS, atol=1e-5, rtol=0)
    assert LENGTHS.shape == (24, 28)


def test_the_depth_follows_from_the_bones():
    torch.testing.assert_close(root_depth(TANGENTS, DEPTH, LENGTHS), ROOT, atol=1e-4, rtol=1e-5)


def test_the_depth_is_the_least_squares_one():
    """Noisy pixels and depths: against a fine search."""
    tangents = TANGENTS + 0.003 * torch.randn(TANGENTS.shape, generator=seeded(0), dtype=torch.float64)
    depth = DEPTH + 0.03 * torch.randn(DEPTH.shape, generator=seeded(1), dtype=torch.float64)
    found = root_depth(tangents, depth, LENGTHS)
    for person in range(len(found)):
        grid = np.linspace(0.5, 1.5, 4001) * float(found[person])
        points = np.concatenate([tangents[person], np.ones((29, 1))], 1)[None] * (
            grid[:, None, None] + depth[person].numpy()[None, :, None]
        )
        parents = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21, 15, 22, 23, 10, 11]
        length = np.linalg.norm(points[:, 1:] - points[:, parents], axis=-1)
        cost = ((length - LENGTHS[person].numpy()) ** 2).sum(-1)
        assert abs(grid[cost.argmin()] / float(found[person]) - 1) < 5e-4
    assert ((found - ROOT).abs() / ROOT).mean() < 0.05


def test_a_person_twice_as_large_is_twice_as_far():
    torch.testing.assert_close(root_depth(TANGENTS, 2 * DEPTH, 2 * LENGTHS), 2 * ROOT, atol=1e-3, rtol=1e-5)


def test_it_stays_in_front_of_the_camera_and_finite():
    point = torch.zeros(1, 29, 2, dtype=torch.float64)
    assert root_depth(point, torch.zeros(1, 29, dtype=torch.float64), LENGTHS[:1]) == FARTHEST
    huge = root_depth(1000 * TANGENTS, DEPTH, LENGTHS)
    torch.testing.assert_close((huge[:, None] + DEPTH).amin(-1), torch.full_like(huge, MIN_DEPTH))


def test_gradients_reach_joints():
    tangents = TANGENTS.clone().requires_grad_()
    root_depth(tangents, DEPTH, LENGTHS).sum().backward()
    assert torch.isfinite(tangents.grad).all() and tangents.grad.abs().max() > 0
