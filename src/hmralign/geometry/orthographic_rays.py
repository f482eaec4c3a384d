"""Points in space from where orthographic cameras around them see them, by weighted least squares.

Camera v sees a point x at y_v = P R_v x, with P dropping the third coordinate. The point that fits all views best is
the solution of

    (sum_v w_v R_v^T P^T P R_v) x = sum_v w_v R_v^T P^T y_v

which is linear, and has one solution as soon as two views with weight look from directions that are not parallel.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError

_SMALLEST_WEIGHT = 1e-4
"""Share of the largest weight that every view keeps, so that no point hangs on one direction alone."""


def points_from_views(
    seen: Float[Tensor, "*batch view point 2"],
    rotations: Float[Tensor, "view 3 3"],
    weights: Float[Tensor, "*batch view point"] | None = None,
) -> Float[Tensor, "*batch point 3"]:
    """Points in metres, from their first two coordinates (metres) in the axes of each view; differentiable.

    `rotations` turn the points' axes into each view's; `weights` (>= 0) say how far a view is believed, all alike by
    default. Raises InputError for views that all look along one line.
    """
    _require_two_directions(rotations)
    weights = torch.ones_like(seen[..., 0]) if weights is None else weights
    weights = weights.clamp(min=_SMALLEST_WEIGHT * weights.detach().amax(-2, keepdim=True).clamp(min=1e-12))
    rows = rotations[:, :2].to(seen)  # (V, 2, 3)
    normal = torch.einsum("...vp,vri,vrj->...pij", weights, rows, rows)
    right = torch.einsum("...vp,vri,...vpr->...pi", weights, rows, seen)
    return torch.linalg.solve(normal, right[..., None])[..., 0]


def _require_two_directions(rotations: Float[Tensor, "view 3 3"]) -> None:
    ahead = rotations[:, 2]
    if len(ahead) < 2 or float(torch.linalg.cross(ahead[:1].expand_as(ahead), ahead).norm(dim=-1).max()) < 1e-3:
        raise InputError("all views look along one line; expected a second direction, else depth is unknown")
