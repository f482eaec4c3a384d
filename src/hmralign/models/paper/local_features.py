"""Where joints are seen in the picture, and the image features there.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2; soft-argmax: Sun et al. 2018.
Coordinates are -1 to 1 over the crop, x first.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_TWISTS, PARENTS

SHARPNESS = 15.0
"""Factor on the heatmaps before their softmax."""

_PIXELS_OF_A_CELL = 4

_BONE_PARENTS = list(PARENTS[1 : NUM_TWISTS + 1])


def soft_argmax(
    heatmaps: Float[Tensor, "person joint rows columns"], *, corner: bool
) -> Float[Tensor, "person joint 2"]:
    """Mean cell under the softmax of each heatmap, taken in double precision.

    `corner`: cell i of n is 2 i / n - 1 (`Quirks.corner_heatmap`); else 2 i / (n - 1) - 1, where features are read.
    """
    rows, columns = heatmaps.shape[-2:]
    share = (SHARPNESS * heatmaps.double()).flatten(-2).softmax(-1).view(heatmaps.shape)
    return torch.stack(
        [_mean_cell(share.sum(-2), columns, corner), _mean_cell(share.sum(-1), rows, corner)], dim=-1
    ).to(heatmaps.dtype)


def _mean_cell(share: Float[Tensor, "*batch cells"], cells: int, corner: bool) -> Float[Tensor, "*batch"]:
    index = torch.arange(cells, dtype=share.dtype, device=share.device)
    return 2 * (share @ index) / (cells if corner else cells - 1) - 1


def heatmap_points(uv: Float[Tensor, "*batch 2"], size: int, *, corner: bool) -> Float[Tensor, "*batch 2"]:
    """Where `soft_argmax` should find pixels of a picture of that size, whose heatmap has a cell for each four.

    `corner`: 2 u / size - 1, as the public code has it; else where the cell that is centred there has its coordinate.
    """
    if corner:
        return 2 * uv / size - 1
    cell = (uv + 0.5) / _PIXELS_OF_A_CELL - 0.5
    return 2 * cell / (size // _PIXELS_OF_A_CELL - 1) - 1


def token_points(joints: Float[Tensor, "*batch 29 2"], *, swapped: bool) -> Float[Tensor, "*batch 52 2"]:
    """Where each token looks: a joint where it is, a twist at the middle of its bone.

    `swapped`: the middles have x and y exchanged (`Quirks.swapped_midpoints`).
    """
    middle = (joints[..., 1 : NUM_TWISTS + 1, :] + joints[..., _BONE_PARENTS, :]) / 2
    return torch.cat([joints, middle.flip(-1) if swapped else middle], dim=-2)


def sample_map(
    features: Float[Tensor, "person channels rows columns"], points: Float[Tensor, "person *any 2"]
) -> Float[Tensor, "person *any channels"]:
    """Features at points, bilinear; the centres of the outermost cells are at -1 and 1, outside is zero."""
    grid = points.flatten(1, -2)[:, None]  # (B, 1, P, 2)
    found = nn.functional.grid_sample(features, grid.to(features.dtype), align_corners=True)  # (B, C, 1, P)
    return found[:, :, 0].mT.reshape(*points.shape[:-1], features.shape[1])
