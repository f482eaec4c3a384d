"""Where a body stands: translation from 2D keypoints or from a box in closed form, and a rigid fit into a camera."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.geometry.swing_twist import skew

MIN_DEPTH = 0.3
"""Metres; a body is never placed nearer than this to the camera."""


def solve_translation(
    points: Float[Tensor, "*#batch n 3"], tangents: Float[Tensor, "*#batch n 2"], weights: Float[Tensor, "*#batch n"]
) -> Float[Tensor, "*batch 3"]:
    """Translation t that puts `points + t` on their viewing rays, weighted least squares in closed form.

    `tangents` are x / z and y / z of the rays. Each keypoint gives two linear equations,
    `t_x - u t_z = u Z - X` and `t_y - v t_z = v Z - Y`. Needs two keypoints of positive weight; with fewer the
    translation is on the optical axis at 4 m. Depth is at least `MIN_DEPTH` beyond the nearest point.
    """
    u, v = tangents.unbind(-1)
    X, Y, Z = points.unbind(-1)
    w = weights.square()
    sw, su, sv, suu = w.sum(-1), (w * u).sum(-1), (w * v).sum(-1), (w * (u * u + v * v)).sum(-1)
    bx, by = u * Z - X, v * Z - Y
    rx, ry, rz = (w * bx).sum(-1), (w * by).sum(-1), -(w * (u * bx + v * by)).sum(-1)
    # Eliminate t_x and t_y; what remains is the weighted spread of the rays.
    safe = sw.clamp(min=1e-12)
    spread = suu - (su.square() + sv.square()) / safe
    tz = (rz + (su * rx + sv * ry) / safe) / spread.clamp(min=1e-9)
    enough = (weights > 0).sum(-1) >= 2
    tz = torch.where(enough & (spread > 1e-9), tz, torch.full_like(tz, 4.0))
    tz = torch.maximum(tz, MIN_DEPTH - Z.amin(-1))
    tx, ty = (rx + su * tz) / safe, (ry + sv * tz) / safe
    return torch.stack([tx, ty, tz], dim=-1)


def fill_box(
    points: Float[Tensor, "*#batch n 3"], low: Float[Tensor, "*#batch 2"], high: Float[Tensor, "*#batch 2"]
) -> Float[Tensor, "*batch 3"]:
    """Translation t with which the projections (x / z, y / z) of `points + t` just fit between `low` and `high`.

    They touch both sides of the box in the direction that binds; in the other they lie inside, with equal room in
    metres on both sides. Exact, also far off the axis: that a point projects inside is linear in t,
    `t_x - high_x t_z <= high_x Z - X` and `t_x - low_x t_z >= low_x Z - X`, and the nearest feasible depth of each
    direction is where its two tightest lines meet. The box must have sides of positive length. No point comes nearer
    than `MIN_DEPTH`; a box that asks for it is not filled. Points and box may also be in pixels, `K @ points`.

    >>> stick = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    >>> fill_box(stick, torch.tensor([-0.5, -0.25]), torch.tensor([0.5, 0.25]))
    tensor([0., 0., 4.])
    """
    plane, depth = points[..., :2], points[..., 2:]
    least = (low[..., None, :] * depth - plane).amax(-2)
    most = (high[..., None, :] * depth - plane).amin(-2)
    tz = ((least - most) / (high - low)).amax(-1, keepdim=True)
    tz = torch.maximum(tz, MIN_DEPTH - depth.amin(-2))
    return torch.cat([(least + most + (low + high) * tz) / 2, tz], dim=-1)


def fit_rigid(
    points: Float[Tensor, "*#batch n 3"],
    tangents: Float[Tensor, "*#batch n 2"],
    weights: Float[Tensor, "*#batch n"],
    *,
    orientation_sd: float = 0.15,
    residual_sd: float = 0.01,
    steps: int = 3,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Small rotation R and translation t so that `R points + t` falls on the rays: damped Gauss-Newton.

    `orientation_sd` (radians) keeps R near the identity, `residual_sd` is the noise of a tangent.
    """
    t = solve_translation(points, tangents, weights)
    R = torch.eye(3, dtype=points.dtype, device=points.device).expand(*t.shape[:-1], 3, 3)
    w = (weights / residual_sd)[..., None, None]
    prior = torch.diag(torch.tensor([orientation_sd**-2] * 3 + [1e-4] * 3, dtype=points.dtype, device=points.device))
    for _ in range(steps):
        turned = points @ R.mT
        placed = turned + t[..., None, :]
        z = placed[..., 2:].clamp(min=MIN_DEPTH / 2)
        residual = tangents - placed[..., :2] / z
        d_point = torch.cat([-skew(turned), torch.eye(3).to(points).expand(*turned.shape, 3)], dim=-1)
        J = w * (d_point[..., :2, :] - (placed[..., :2] / z)[..., None] * d_point[..., 2:, :]) / z[..., None]
        J = J.flatten(-3, -2)
        normal = J.mT @ J + prior
        rhs = (J.mT @ (w[..., 0] * residual).flatten(-2)[..., None])[..., 0]
        delta = torch.linalg.solve(normal, rhs)
        R = rotvec_to_rotmat(delta[..., :3]) @ R
        t = t + delta[..., 3:]
        t = torch.cat([t[..., :2], torch.maximum(t[..., 2:], (MIN_DEPTH - turned[..., 2].amin(-1))[..., None])], -1)
    return R, t
