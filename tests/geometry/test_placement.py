"""Translation and rigid fits from rays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.geometry.placement import MIN_DEPTH, fill_box, fit_rigid, solve_translation
from hmralign.geometry.rotations import rotmat_angle, rotvec_to_rotmat


def scene(n=20, seed=0):
    g = torch.Generator().manual_seed(seed)
    points = 0.4 * torch.randn(6, n, 3, generator=g)
    t = torch.tensor([0.3, -0.2, 4.0]) + 0.3 * torch.randn(6, 3, generator=g)
    placed = points + t[:, None]
    return points, t, placed[..., :2] / placed[..., 2:]


def test_exact_rays_give_the_exact_translation():
    points, t, tangents = scene()
    torch.testing.assert_close(solve_translation(points, tangents, torch.ones(6, 20)), t, atol=1e-3, rtol=1e-3)


def test_zero_weights_do_not_count():
    points, t, tangents = scene()
    tangents[:, 3] += 5.0
    weights = torch.ones(6, 20)
    weights[:, 3] = 0
    torch.testing.assert_close(solve_translation(points, tangents, weights), t, atol=1e-3, rtol=1e-3)


def test_the_translation_is_the_least_squares_one_of_equations_times_their_weights():
    """Against NumPy, with rays that no translation fits: t_x - u t_z = u Z - X and t_y - v t_z = v Z - Y."""
    g = torch.Generator().manual_seed(1)
    points, _, tangents = scene()
    tangents = tangents + 0.05 * torch.randn(tangents.shape, generator=g)
    weights = 0.1 + torch.rand(6, 20, generator=g)
    found = solve_translation(points, tangents, weights)
    for person in range(6):
        (X, Y, Z), (u, v) = points[person].double().numpy().T, tangents[person].double().numpy().T
        w, one, zero = weights[person].double().numpy(), np.ones(20), np.zeros(20)
        rows = np.concatenate([np.stack([one, zero, -u], 1), np.stack([zero, one, -v], 1)])
        w = np.concatenate([w, w])
        expected = np.linalg.lstsq(rows * w[:, None], np.concatenate([u * Z - X, v * Z - Y]) * w, rcond=None)[0]
        assert np.allclose(found[person].numpy(), expected, atol=2e-3)


def test_without_evidence_the_body_stands_on_the_axis():
    points, _, tangents = scene()
    t = solve_translation(points, tangents, torch.zeros(6, 20))
    assert torch.isfinite(t).all() and (t[:, 2] + points[..., 2].amin(-1) >= MIN_DEPTH - 1e-6).all()


def test_body_is_never_behind_the_camera():
    points, _, tangents = scene()
    t = solve_translation(points, -50 * tangents, torch.ones(6, 20))
    assert (t[:, 2:] + points[..., 2] >= MIN_DEPTH - 1e-5).all()


def test_rigid_fit_recovers_a_small_turn():
    points, t, _ = scene()
    R = rotvec_to_rotmat(0.1 * torch.randn(6, 3, generator=torch.Generator().manual_seed(3)))
    placed = points @ R.mT + t[:, None]
    found, where = fit_rigid(points, placed[..., :2] / placed[..., 2:], torch.ones(6, 20), residual_sd=1e-3, steps=6)
    assert rotmat_angle(found, R).max() < 5e-3
    torch.testing.assert_close(where, t, atol=2e-2, rtol=1e-2)


def cloud(*batch, n=40, seed=0):
    """Bodies of about human size, flat or deep, somewhere."""
    g = torch.Generator().manual_seed(seed)
    stretch = 0.1 + torch.rand(*batch, 1, 3, generator=g)
    return stretch * (torch.rand(*batch, n, 3, generator=g) - 0.5) + 3 * torch.randn(*batch, 1, 3, generator=g)


def room(points, t, low, high):
    """Free shares of the box between the projected extent and (low, high) of each axis."""
    placed = points + t[..., None, :]
    seen = placed[..., :2] / placed[..., 2:]
    size = high - low
    return torch.stack([seen.amin(-2) - low, high - seen.amax(-2)], dim=-2) / size[..., None, :]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    centre=st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)),
    half=st.tuples(st.floats(0.005, 0.5), st.floats(0.005, 0.5)),
)
def test_a_body_fills_its_box_wide_or_narrow_and_far_off_the_axis(seed, centre, half):
    points = cloud(8, seed=seed)
    low, high = torch.tensor(centre) - torch.tensor(half), torch.tensor(centre) + torch.tensor(half)
    t = fill_box(points, low, high)
    left = room(points, t, low, high)
    assert left.min() > -1e-3, "inside"
    near = (t[:, 2] + points[..., 2].amin(-1)) < MIN_DEPTH + 1e-3
    assert (near | (left.amax(-2).amin(-1) < 1e-3)).all(), "touching both sides in one direction, unless too near"


def test_the_body_is_in_the_middle_of_the_direction_that_does_not_bind():
    points = cloud(50)
    low, high = torch.tensor([-0.4, -0.02]), torch.tensor([0.4, 0.06])
    t = fill_box(points, low, high)
    left, right = room(points, t, low, high)[..., 0].unbind(-1)
    binding = room(points, t, low, high)[..., 1].amax(-1) < 1e-3
    assert binding.float().mean() > 0.9
    assert ((left - right).abs() < 0.05)[binding].all()


def test_where_the_points_were_does_not_matter():
    points, shift = cloud(6), torch.tensor([0.7, -2.0, 5.0])
    low, high = torch.tensor([0.1, -0.3]), torch.tensor([0.3, 0.4])
    torch.testing.assert_close(fill_box(points + shift, low, high) + shift, fill_box(points, low, high))


def test_pixels_and_tangents_give_the_same_translation():
    points, K = cloud(6), torch.tensor([[900.0, 5.0, 310.0], [0.0, 950.0, 200.0], [0.0, 0.0, 1.0]])
    low, high = torch.tensor([100.0, 40.0]), torch.tensor([220.0, 400.0])
    t = torch.linalg.solve(K, fill_box(points @ K.mT, low, high).mT).mT
    placed = (points + t[:, None]) @ K.mT
    seen = placed[..., :2] / placed[..., 2:]
    touching = torch.stack([seen.amin(-2) - low, high - seen.amax(-2)])
    assert touching.min() > -0.05 and (touching.amax(0).amin(-1) < 0.05).all()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 2)])
def test_a_batch_of_any_shape_is_a_loop(shape):
    points, low = cloud(*shape), -0.1 - torch.rand(*shape, 2, generator=torch.Generator().manual_seed(1))
    high = low + 0.5
    together = fill_box(points, low, high)
    assert together.shape == (*shape, 3)
    rows = zip(points.reshape(-1, 40, 3), low.reshape(-1, 2), high.reshape(-1, 2), strict=True)
    torch.testing.assert_close(together.reshape(-1, 3), torch.stack([fill_box(*row) for row in rows]))


def test_a_box_that_asks_for_more_than_is_possible_is_not_filled():
    points = cloud(6)
    t = fill_box(points, torch.tensor([-9.0, -9.0]), torch.tensor([9.0, 9.0]))
    torch.testing.assert_close((points[..., 2] + t[:, None, 2]).amin(-1), torch.full((6,), MIN_DEPTH))
