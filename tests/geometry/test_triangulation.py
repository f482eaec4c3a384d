"""Triangulation: exact without noise, not fooled by a bad view, and honest about its residuals."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from hmralign.geometry.rotations import axis_rotmat
from hmralign.geometry.triangulation import Views, triangulate
from hmralign.structures import InputError


def around(count, distance=4.0):
    """Cameras on an arc that look at the origin, some higher than others."""
    K, T = [], []
    for i in range(count):
        turn = axis_rotmat("y", torch.tensor(0.5 + 1.1 * i)) @ axis_rotmat("x", torch.tensor(0.1 * (i % 3)))
        K.append(torch.tensor([[700.0 + 20 * i, 0, 320], [0, 710.0, 240], [0, 0, 1]]))
        pose = torch.eye(4)
        pose[:3, :3], pose[2, 3] = turn.mT, distance
        T.append(pose)
    return Views(torch.stack(K).double(), torch.stack(T).double())


def seen_by(views, points):
    homogeneous = points @ views.P[:, :, :3].mT + views.P[:, None, :, 3]
    return homogeneous[..., :2] / homogeneous[..., 2:]


@pytest.fixture
def points():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.4


def noisy(views, points, sigma, seed=2):
    draw = torch.Generator().manual_seed(seed)
    return seen_by(views, points) + sigma * torch.randn(len(views.K), len(points), 2, generator=draw).double()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_exact_pixels_give_the_points(points, count):
    views = around(count)
    pixels = seen_by(views, points)
    made = triangulate(pixels, torch.ones(count, 12), views, max_residual=1.0, min_views=2)
    torch.testing.assert_close(made.points, points, atol=1e-7, rtol=0)
    assert made.found.all() and made.agreeing.all()
    if count == 2:
        assert made.residuals.isnan().all(), "one view alone makes no point to be judged by"
    else:
        assert float(made.residuals.max()) < 1e-4


def test_one_bad_view_is_left_out_and_its_residual_told(points):
    views = around(4)
    pixels = noisy(views, points, 0.5)
    clean = triangulate(pixels, torch.ones(4, 12), views, max_residual=8.0)
    pixels[2, :6] += torch.tensor([60.0, -25.0])
    made = triangulate(pixels, torch.ones(4, 12), views, max_residual=8.0)
    assert made.found.all() and not made.agreeing[2, :6].any() and made.agreeing[[0, 1, 3]].all()
    assert float((made.points - points).norm(dim=-1).max()) < 0.015
    torch.testing.assert_close(made.residuals[2, :6], torch.full((6,), 65.0).double(), atol=4.0, rtol=0)
    torch.testing.assert_close(made.points[6:], clean.points[6:])


def test_refined_points_are_the_least_squares_of_another_solver(points):
    views = around(4)
    pixels = noisy(views, points, 2.0)
    weights = torch.rand(4, 12, generator=torch.Generator().manual_seed(3)) + 0.2
    made = triangulate(pixels, weights, views, max_residual=100.0)
    for k in range(12):

        def gap(at, k=k):
            away = seen_by(views, torch.from_numpy(at)[None])[:, 0] - pixels[:, k]
            return (away * weights[:, k, None].sqrt()).numpy().ravel()

        found = least_squares(gap, points[k].numpy() + 0.05, xtol=1e-12, ftol=1e-12).x
        np.testing.assert_allclose(made.points[k].numpy(), found, atol=1e-6)


def test_leave_view_out_residuals_are_those_of_triangulating_without_the_view(points):
    views = around(4)
    pixels = noisy(views, points, 1.5)
    made = triangulate(pixels, torch.ones(4, 12), views, max_residual=50.0)
    for view in range(4):
        weights = torch.ones(4, 12)
        weights[view] = 0
        without = triangulate(pixels, weights, views, max_residual=50.0)
        away = (seen_by(views, without.points)[view] - pixels[view]).norm(dim=-1)
        torch.testing.assert_close(made.residuals[view], away, atol=1e-4, rtol=0)


def test_too_few_agreeing_views_leave_a_point_out(points):
    views = around(3)
    pixels = seen_by(views, points)
    pixels[2, 0] += 200.0
    weights = torch.ones(3, 12)
    weights[1, 1] = 0
    made = triangulate(pixels, weights, views, max_residual=5.0, min_views=3)
    assert made.found.tolist() == [False, False, *[True] * 10]
    assert (made.points[:2] == 0).all() and not made.agreeing[:, :2].any() and made.residuals[:, :2].isnan().all()
    relaxed = triangulate(pixels, weights, views, max_residual=5.0, min_views=2)
    assert relaxed.found[1] and torch.allclose(relaxed.points[1], points[1])


def test_the_world_may_be_turned_and_moved(points):
    views = around(4)
    pixels = noisy(views, points, 1.0)
    T = torch.eye(4).double()
    T[:3, :3] = axis_rotmat("z", torch.tensor(0.7)).double() @ axis_rotmat("x", torch.tensor(-0.4)).double()
    T[:3, 3] = torch.tensor([3.0, -2.0, 10.0])
    made = triangulate(pixels, torch.ones(4, 12), views, max_residual=20.0)
    moved = triangulate(pixels, torch.ones(4, 12), Views(views.K, views.T_cam_world @ T), max_residual=20.0)
    torch.testing.assert_close(moved.points @ T[:3, :3].mT + T[:3, 3], made.points, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved.residuals, made.residuals, atol=1e-4, rtol=0)


def test_parallel_rays_and_points_behind_a_camera_make_no_point():
    views = around(2)
    same_place = Views(views.K, views.T_cam_world[:1].expand(2, 4, 4).clone())
    point = torch.zeros(1, 3).double()
    made = triangulate(seen_by(same_place, point), torch.ones(2, 1), same_place, max_residual=5.0, min_views=2)
    assert not made.found.any()
    behind = torch.tensor([[0.0, 0.0, 0.0]]).double() + 30 * views.centres.mean(0)
    made = triangulate(seen_by(views, behind), torch.ones(2, 1), views, max_residual=5.0, min_views=2)
    assert not made.found.any()


def test_wrong_input_is_named(points):
    views = around(3)
    pixels, weights = seen_by(views, points), torch.ones(3, 12)
    with pytest.raises(InputError, match="pixels are not finite"):
        triangulate(pixels * math.nan, weights, views, max_residual=5.0)
    with pytest.raises(InputError, match="negative"):
        triangulate(pixels, -weights, views, max_residual=5.0)
    with pytest.raises(InputError, match="2 views are given with 3 cameras"):
        triangulate(pixels[:2], weights[:2], views, max_residual=5.0)
    with pytest.raises(InputError, match="expected 2 or more"):
        triangulate(pixels, weights, views, max_residual=5.0, min_views=1)
