"""Translation and rigid fits from rays."""

import torch

from hmralign.geometry.placement import MIN_DEPTH, fit_rigid, solve_translation
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
