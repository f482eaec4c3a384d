"""How far a body at rest is from falling over: its centre of mass against what it stands, sits or lies on.

The body is that of `body.capsules`. It touches the ground with the capsule ends that are lowest along gravity, and
those within a hand's breadth of them; the ground is what is below them and need not be level. Segment masses are shares
of the whole (de Leva 1996, table 4, mean of women and men; the trunk's split over its capsules is ours).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.capsules import CAPSULES, capsule_radii, capsule_segments
from hmralign.body.model import BodyModel
from hmralign.geometry.swing_twist import swing_between

MASS = {"pelvis": 0.12, "chest": 0.16, "neck": 0.01, "head": 0.06, "upper_arm": 0.026, "forearm": 0.015, "hand": 0.006,
        "thigh": 0.145, "shank": 0.046, "foot": 0.013, "shoulder": 0.02, "flank": 0.054}  # fmt: skip
"""Share of the body's mass by segment, of one side where there are two."""

TOUCHING = 0.06
"""Metres above the lowest point up to which a capsule end carries."""

_DIRECTIONS = 24


def imbalance(
    model: BodyModel,
    joints: Float[Tensor, "*batch 29 3"],
    betas: Float[Tensor, "*batch betas"],
    up: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch"]:
    """Metres by which the centre of mass lies outside of the convex hull of what carries, seen along gravity; 0 inside.

    `up` is unit, in the frame of `joints`. Raises InputError for a body without capsules.
    """
    ends = torch.stack(capsule_segments(joints), -2)  # (*batch, capsules, 2, 3)
    y_axis = torch.tensor([0.0, 1.0, 0.0]).to(up).expand_as(up)
    level = ends @ swing_between(up, y_axis).mT[..., None, :, :]  # y is the height
    mass = _masses().to(level)
    centre = (level.mean(-2) * mass[:, None]).sum(-2)[..., [0, 2]]  # (*batch, 2)
    radius = capsule_radii(model, betas)[..., None].expand(level.shape[:-1]).flatten(-2)
    points = level.flatten(-3, -2)  # (*batch, ends, 3)
    height = points[..., 1] - radius
    carries = height <= height.amin(-1, keepdim=True) + TOUCHING
    angle = torch.arange(_DIRECTIONS).to(level) * (2 * math.pi / _DIRECTIONS)
    directions = torch.stack([angle.cos(), angle.sin()], -1)  # (direction, 2)
    reach = points[..., [0, 2]] @ directions.mT + radius[..., None]  # (*batch, ends, direction)
    reach = reach.masked_fill(~carries[..., None], -math.inf).amax(-2)
    return (centre @ directions.mT - reach).amax(-1).clamp(min=0)


def _masses() -> Float[Tensor, " capsules"]:
    share = torch.tensor([MASS[c.name.removeprefix("left_").removeprefix("right_")] for c in CAPSULES])
    return share / share.sum()
