"""Distances to ground truth: MPJPE, PVE and their Procrustes-aligned forms, in metres, one number per body.

Source: Ionescu et al. 2014 (Human3.6M), sec. 4; the aligned form is "protocol 2" of Kanazawa et al. 2018 (HMR). Nothing
is aligned unless asked: the root is given by index or is None. Which joints, which root and which crop belong to the
protocol printed beside a number, not here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.procrustes import all_finite, procrustes
from hmralign.structures import InputError


def mpjpe(
    pred: Float[Tensor, "*#batch joint 3"], target: Float[Tensor, "*#batch joint 3"], root: int | None = None
) -> Float[Tensor, "*pair"]:
    """Mean distance over joints (metres), shape `(*batch,)`; with `root`, after moving that joint to the origin.

    Leading axes of size 1 broadcast, but both sides have as many axes: a target without the hypothesis axis needs
    `target[:, None]`. Raises `InputError` on another number of axes and on values that are not finite.
    """
    _require_comparable(pred, target)
    if root is not None:
        pred = pred - pred[..., root, None, :]
        target = target - target[..., root, None, :]
    return (pred - target).norm(dim=-1).mean(dim=-1)


def pa_mpjpe(
    pred: Float[Tensor, "*#batch joint 3"], target: Float[Tensor, "*#batch joint 3"]
) -> Float[Tensor, "*pair"]:
    """`mpjpe` after the best rotation, scale and translation of `pred` (never a reflection); `(*batch,)`, metres.

    Axes and errors as `mpjpe`; also `InputError` on a target whose joints coincide.
    """
    _require_comparable(pred, target)
    pred, target = torch.broadcast_tensors(pred, target)
    aligned, _ = procrustes(pred, target)
    return mpjpe(aligned, target)


def pve(
    pred: Float[Tensor, "*#batch vert 3"],
    target: Float[Tensor, "*#batch vert 3"],
    pred_root: Float[Tensor, "*#batch 3"] | None = None,
    target_root: Float[Tensor, "*#batch 3"] | None = None,
) -> Float[Tensor, "*pair"]:
    """Mean distance over vertices (metres), shape `(*batch,)`; axes and errors as `mpjpe`.

    A mesh has no root vertex: to align roots, give the root joint of both sides.
    """
    _require_comparable(pred, target)
    if (pred_root is None) != (target_root is None):
        raise InputError("pve: the root of only one side is given; expected both or neither.")
    if pred_root is not None and target_root is not None:
        pred, target = pred - pred_root[..., None, :], target - target_root[..., None, :]
    return mpjpe(pred, target)


def pa_pve(pred: Float[Tensor, "*#batch vert 3"], target: Float[Tensor, "*#batch vert 3"]) -> Float[Tensor, "*pair"]:
    """`pve` after the best similarity of the vertices themselves (not of the joints); `(*batch,)`, metres."""
    return pa_mpjpe(pred, target)


def _require_comparable(pred: Tensor, target: Tensor) -> None:
    if pred.ndim != target.ndim:
        raise InputError(
            f"Prediction {tuple(pred.shape)} and target {tuple(target.shape)} differ in their number of axes; "
            "expected the same, with size 1 where an axis is shared."
        )
    for name, points in (("prediction", pred), ("target", target)):
        if not all_finite(points):
            raise InputError(f"The {name} has values that are not finite; expected points in metres.")


def plane_and_depth_errors(
    pred: Float[Tensor, "*#batch joint 3"], target: Float[Tensor, "*#batch joint 3"], root: int = 0
) -> tuple[Float[Tensor, "*pair"], Float[Tensor, "*pair"]]:
    """Root-relative error across and along the line of sight to the target's root, means over joints, metres.

    The first is what an image shows, the second what it hides. Both sides in the `cam` frame. Axes and errors as
    `mpjpe`; also `InputError` for a target root at the camera.
    """
    _require_comparable(pred, target)
    sight = target[..., root, :]
    length = sight.norm(dim=-1, keepdim=True)
    if bool((length < 1e-6).any()):
        raise InputError("a target root lies at the camera; expected bodies in front of it.")
    away = (pred - pred[..., root, None, :]) - (target - target[..., root, None, :])
    along = (away * (sight / length)[..., None, :]).sum(-1)
    across = (away.square().sum(-1) - along.square()).clamp(min=0).sqrt()
    return across.mean(-1), along.abs().mean(-1)
