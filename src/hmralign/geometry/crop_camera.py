"""Weak-perspective cameras of a crop, and where that crop lies in its image.

Sources: HMR (Kanazawa et al. 2018, sec. 3.2) for the camera of a crop, CLIFF (Li et al. 2022, sec. 3) for the full
image: where a box lies decides how a body is turned to the camera, so a regressor must be told.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BOX_CODE_SCALE = 2.8
BOX_SIDE_OFFSET, BOX_SIDE_SPREAD = 0.24, 0.06
"""Mean and deviation of the side of a box over the focal length, on CLIFF's training data."""


def crop_translation(
    camera: Float[Tensor, "*batch 3"],
    center: Float[Tensor, "*#batch 2"],
    side: Float[Tensor, "*#batch"],
    focal: Float[Tensor, "*#batch"],
    principal: Float[Tensor, "*#batch 2"],
) -> Float[Tensor, "*batch 3"]:
    """Translation (metres, `cam`) that a weak-perspective camera (s, tx, ty) of a square crop stands for.

    In a square crop of b pixels about c the camera (s, t) draws X at `c + b/2 s (X + t)`, the full image of focal
    length f and principal point m draws it at `m + f (X + T) / T_z` where the body is thin against its distance. Equal
    for all X: `T_z = 2 f / (b s)` and `T = t + 2 (c - m) / (b s)`. s is positive.
    """
    unit = side * camera[..., 0]  # pixels of one unit of half the crop
    away = 2 * (center - principal) / unit[..., None]
    depth = (2 * focal / unit)[..., None]
    return torch.cat([camera[..., 1:] + away, depth], dim=-1)


def box_code(
    center: Float[Tensor, "*batch 2"],
    side: Float[Tensor, "*batch"],
    focal: Float[Tensor, "*batch"],
    principal: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch 3"]:
    """Where a square crop lies: `((cx - mx) / f * 2.8, (cy - my) / f * 2.8, (b - 0.24 f) / (0.06 f))`.

    CLIFF has the middle of the image for m; the principal point is that where a photo was not cropped.
    """
    offset = BOX_CODE_SCALE * (center - principal) / focal[..., None]
    size = (side / focal - BOX_SIDE_OFFSET) / BOX_SIDE_SPREAD
    return torch.cat([offset, size[..., None]], dim=-1)
