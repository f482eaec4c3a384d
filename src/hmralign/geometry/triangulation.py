"""Points in space from their pixels in several calibrated views, some of which may be wrong.

Source: Hartley & Zisserman 2004, sec. 12.2 (linear method), 12.3 (reprojection error); Fischler & Bolles 1981 for the
search of agreeing views, which is exhaustive over pairs here: there are few views.

| name | meaning |
| --- | --- |
| agreeing | views that see the point within `max_residual` pixels of where the others put it |
| residual | distance in pixels between a view's own pixel and the point made *without that view* |

The residual of a view that took part in the fit says little: two views always meet nearly. Hence leave-view-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.structures import InputError, TensorRecord
from hmralign.structures.counted import counted

MIN_ANGLE = 0.035
"""Radians (2 degrees): rays that are more nearly parallel say nothing about where along them the point lies."""
_REFINEMENTS = 10


@dataclass(frozen=True)
class Views(TensorRecord):
    """Calibrated pinhole cameras of one scene; T_cam_world maps the world's metres into each `cam` frame."""

    K: Float[Tensor, "view 3 3"]
    T_cam_world: Float[Tensor, "view 4 4"]

    @property
    def P(self) -> Float[Tensor, "view 3 4"]:
        """Projection matrices."""
        return self.K @ self.T_cam_world[:, :3]

    @property
    def centres(self) -> Float[Tensor, "view 3"]:
        """Where the cameras are, in the world."""
        R, t = self.T_cam_world[:, :3, :3], self.T_cam_world[:, :3, 3]
        return -(R.mT @ t[..., None])[..., 0]


@dataclass(frozen=True)
class Triangulated(TensorRecord):
    """Points in the world's metres.

    `found` are those on which enough views agree; the others are zeros. `residuals` are leave-view-out distances in
    pixels, NaN where a point was not found, a view does not see it, or too few others are left.
    """

    points: Float[Tensor, "point 3"]
    found: Bool[Tensor, " point"]
    agreeing: Bool[Tensor, "view point"]
    residuals: Float[Tensor, "view point"]


def triangulate(
    pixels: Float[Tensor, "view point 2"],
    weights: Float[Tensor, "view point"],
    views: Views,
    *,
    max_residual: float,
    min_views: int = 3,
) -> Triangulated:
    """Robust triangulation of each point by itself.

    `weights` say how much each pixel counts; 0 for a point that a view does not see. Each pair of views that see a
    point proposes a place; the proposal on which most views agree within `max_residual` pixels, the nearest one among
    equals, is refined over those views. A point with fewer agreeing views than `min_views` is left out, and so is one
    whose rays all run within `MIN_ANGLE` of each other.

    Raises InputError for fewer than two views, numbers that are not finite, or `min_views` below 2.
    """
    _require_usable(pixels, weights, views, min_views)
    pixels, weights = pixels.double(), weights.double()
    views = Views(views.K.double(), views.T_cam_world.double())
    proposals, valid = _of_pairs(pixels, weights, views)  # (pair, point, 3)
    distance = _distances(proposals, pixels, views)  # (pair, view, point)
    agrees = (distance <= max_residual) & (weights > 0) & valid[:, None]
    counts = agrees.sum(1)
    misfit = torch.where(agrees, distance, 0.0).sum(1) / counts.clamp(min=1)
    best = (counts - misfit / (max_residual + 1.0)).argmax(0)  # misfit is below max_residual: it breaks ties alone
    each = torch.arange(pixels.shape[1])
    points, agreeing = proposals[best, each], agrees[best, :, each].T
    for _ in range(3):
        points = _refined(points, pixels, weights * agreeing, views)
        agreeing = (_distances(points[None], pixels, views)[0] <= max_residual) & (weights > 0) & agreeing
    found = (agreeing.sum(0) >= min_views) & _spread_out(points, agreeing, views)
    residuals = _left_out(points, pixels, weights, agreeing & found, weights > 0, views)
    return Triangulated(
        torch.where(found[:, None], points, 0.0), found, agreeing & found, torch.where(found, residuals, torch.nan)
    )


def _of_pairs(
    pixels: Float[Tensor, "view point 2"], weights: Float[Tensor, "view point"], views: Views
) -> tuple[Float[Tensor, "pair point 3"], Bool[Tensor, "pair point"]]:
    """The point of each pair of views, and whether both see it under an angle."""
    points, valid = [], []
    for pair in combinations(range(len(views.K)), 2):
        index = list(pair)
        seen = weights[index] > 0
        place = _linear(pixels[index], torch.ones_like(weights[index]), views.P[index])
        points.append(place)
        valid.append(seen.all(0) & _spread_out(place, seen, Views(views.K[index], views.T_cam_world[index])))
    return torch.stack(points), torch.stack(valid)


def _linear(
    pixels: Float[Tensor, "view point 2"], weights: Float[Tensor, "view point"], P: Float[Tensor, "view 3 4"]
) -> Float[Tensor, "point 3"]:
    """The linear method with each view's equations in units of its focal length."""
    rows = pixels[..., None] * P[:, None, 2:3] - P[:, None, :2]  # (view, point, 2, 4)
    rows = rows / P[:, :2, :3].norm(dim=-1)[:, None, :, None] * weights[..., None, None]
    stacked = rows.permute(1, 0, 2, 3).flatten(1, 2)  # (point, 2 views, 4)
    solution = torch.linalg.svd(stacked, full_matrices=False).Vh[:, -1]
    last = solution[:, 3:]
    return solution[:, :3] / torch.where(last.abs() < 1e-12, torch.full_like(last, 1e-12), last)


def _distances(points: Float[Tensor, "batch point 3"], pixels: Tensor, views: Views) -> Float[Tensor, "batch view p"]:
    """Pixels between points as projected and as seen; infinite behind a camera."""
    ahead = points[:, None] @ views.P[:, :, :3].mT + views.P[:, None, :, 3]  # (batch, view, point, 3)
    gap = (ahead[..., :2] / ahead[..., 2:] - pixels).norm(dim=-1)
    return torch.where(ahead[..., 2] > 1e-6, gap, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _refined(
    points: Float[Tensor, "point 3"], pixels: Tensor, weights: Float[Tensor, "view point"], views: Views
) -> Float[Tensor, "point 3"]:
    """Least weighted squares of the reprojection error by damped Gauss-Newton; steps that do not help are not taken."""
    damping = torch.full_like(points[:, 0], 1e-6)

    def misfit(at: Tensor) -> Tensor:
        gap = _distances(at[None], pixels, views)[0]
        return torch.where(weights > 0, weights * gap.square(), 0.0).sum(0)

    current = misfit(points)
    for _ in range(_REFINEMENTS):
        ahead = points @ views.P[:, :, :3].mT + views.P[:, None, :, 3]  # (view, point, 3)
        seen = ahead[..., :2] / ahead[..., 2:]
        jacobian = (views.P[:, None, :2, :3] - seen[..., None] * views.P[:, None, 2:, :3]) / ahead[..., 2:, None]
        w = weights[..., None, None]
        normal = (w * jacobian.mT @ jacobian).sum(0)
        slope = (w * jacobian.mT @ (pixels - seen)[..., None]).sum(0)
        scale = normal.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
        damped = normal + (damping * scale)[:, None, None] * torch.eye(3, dtype=points.dtype)
        moved = points + torch.linalg.solve(damped, slope)[..., 0]
        after = misfit(moved)
        better = after < current
        points = torch.where(better[:, None], moved, points)
        current = torch.where(better, after, current)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-9, 1e9)
    return points


def _spread_out(
    points: Float[Tensor, "point 3"], agreeing: Bool[Tensor, "view point"], views: Views
) -> Bool[Tensor, " point"]:
    """Whether any two agreeing views look at a point from directions at least `MIN_ANGLE` apart."""
    rays = torch.nn.functional.normalize(points - views.centres[:, None], dim=-1)  # (view, point, 3)
    cosine = torch.einsum("apc,bpc->abp", rays, rays)
    both = agreeing[:, None] & agreeing[None]
    return (both & (cosine < torch.cos(torch.tensor(MIN_ANGLE)))).flatten(0, 1).any(0)


def _left_out(
    points: Float[Tensor, "point 3"],
    pixels: Tensor,
    weights: Float[Tensor, "view point"],
    agreeing: Bool[Tensor, "view point"],
    seen: Bool[Tensor, "view point"],
    views: Views,
) -> Float[Tensor, "view point"]:
    """Distance of each view's pixel from the point made of the other agreeing views; NaN with fewer than two."""
    rows = []
    for view in range(len(views.K)):
        others = agreeing.clone()
        others[view] = False
        made = _refined(points, pixels, weights * others, views)
        usable = (others.sum(0) >= 2) & _spread_out(made, others, views) & seen[view]
        rows.append(torch.where(usable, _distances(made[None], pixels, views)[0, view], torch.nan))
    return torch.stack(rows)


def _require_usable(pixels: Tensor, weights: Tensor, views: Views, min_views: int) -> None:
    if len(views.K) < 2 or min_views < 2:
        there = counted(len(views.K), "view")
        raise InputError(f"{there} and at least {min_views} that agree; expected 2 or more of both")
    if len(pixels) != len(views.K):
        raise InputError(f"pixels of {counted(len(pixels), 'view')} are given with {counted(len(views.K), 'camera')}")
    for name, values in (("pixels", pixels), ("weights", weights), ("cameras", views.P)):
        if not bool(torch.isfinite(values).all()):
            raise InputError(f"triangulation: {name} are not finite; expected weight 0 for what a view does not see")
    if bool((weights < 0).any()):
        raise InputError("triangulation: a weight is negative; expected 0 for what a view does not see")
