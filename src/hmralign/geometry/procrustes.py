"""Similarity alignment of point sets.  Source: Umeyama 1991, eq. 34-42 (closed form, weights as in Horn 1987).

The rotation always has determinant +1: a mirrored body cannot be aligned away.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import project_to_rotmat
from hmralign.structures import InputError

_DEGENERATE_SPREAD = 1e-11
"""Weighted mean square distance to the centroid below which a set is one point, relative to its squared coordinates."""


def procrustes(
    source: Float[Tensor, "*batch n 3"],
    target: Float[Tensor, "*batch n 3"],
    weights: Float[Tensor, "*batch n"] | None = None,
    with_scale: bool = True,
) -> tuple[
    Float[Tensor, "*batch n 3"],
    tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]],
]:
    """`aligned, (R, s, t)` minimising sum_i w_i |s R source_i + t - target_i|^2; `aligned` = s R source + t.

    `weights` (>= 0, any sum) default to 1. Without scale, s = 1. A source whose points coincide is moved onto the
    target's centroid with R = I, s = 1 (every similarity does equally badly). A target whose points coincide would be
    matched perfectly by s = 0, so with scale it raises `InputError`, as do values that are not finite and weights that
    are negative or all zero.
    """
    weights = torch.ones_like(source[..., 0]) if weights is None else weights
    _require_usable(source, target, weights)
    share = (weights / weights.sum(dim=-1, keepdim=True))[..., None]
    source_mean = (share * source).sum(dim=-2, keepdim=True)
    target_mean = (share * target).sum(dim=-2, keepdim=True)
    x, y = source - source_mean, target - target_mean

    variance = (share * x.square()).sum(dim=(-2, -1))
    one_point = _is_one_point(variance, source_mean)
    if with_scale and bool(_is_one_point((share * y.square()).sum(dim=(-2, -1)), target_mean).any()):
        raise InputError("procrustes: the points of a target coincide; expected a set with an extent to scale to.")

    covariance = (share * y).mT @ x
    eye = torch.eye(3, dtype=x.dtype, device=x.device)
    R = torch.where(one_point[..., None, None], eye, project_to_rotmat(_unit_norm(covariance)))
    s = torch.ones_like(source_mean[..., 0, 0])
    if with_scale:
        fitted = (R * covariance).sum(dim=(-2, -1)) / variance.masked_fill(one_point, 1.0)
        s = torch.where(one_point, s, fitted)
    turned = s[..., None, None] * (x @ R.mT)
    t = (target_mean - s[..., None, None] * (source_mean @ R.mT))[..., 0, :]
    # Adding the centroid to centred points loses fewer digits than s R source + t does far from the origin.
    return turned + target_mean, (R, s, t)


def _unit_norm(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Scale to norm 1 so that absolute thresholds inside the rotation fit do not depend on the unit of length."""
    norm = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / norm.masked_fill(norm == 0, 1.0)


def _is_one_point(spread: Float[Tensor, "*batch"], mean: Float[Tensor, "*batch 1 3"]) -> Tensor:
    """Whether what is left of the points after centring is rounding: their mean square about the mean, and the mean."""
    return spread <= _DEGENERATE_SPREAD * (spread + mean.square().sum(dim=(-2, -1)))


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite. One sum tells it, unless it overflows."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def _require_usable(source: Tensor, target: Tensor, weights: Tensor) -> None:
    for name, values in (("source", source), ("target", target), ("weights", weights)):
        if not all_finite(values):
            raise InputError(f"procrustes: {name} has values that are not finite; expected finite numbers.")
    if bool((weights < 0).any()) or bool((weights.sum(dim=-1) <= 0).any()):
        raise InputError("procrustes: weights are negative or all zero; expected weights >= 0 with a positive sum.")
