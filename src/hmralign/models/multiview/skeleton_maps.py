"""Skeleton maps: pictures of a body's bones, one channel per bone, drawn from where its joints fall in a view.

The 24 joints have 23 bones, from each joint but the pelvis to its parent, hence 23 channels. A bone is a soft line:
exp(-d^2 / (2 width^2)) with d the distance of a pixel's centre from the segment between its two joints, in pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS, PARENTS

BONES = tuple((PARENTS[joint], joint) for joint in range(1, NUM_JOINTS))
"""(parent, joint) of each channel."""
NUM_BONES = len(BONES)
MIRROR_BONES = tuple(MIRROR_JOINTS[joint] - 1 for joint in range(1, NUM_JOINTS))
"""Channel of the bone on the other side."""


def skeleton_maps(
    pixels: Float[Tensor, "*batch 24 2"], size: int, width: float = 0.8
) -> Float[Tensor, "*batch 23 size size"]:
    """Maps in 0..1 of `size` x `size` pixels, from joints in pixels; pixel (0, 0) is the centre of the top-left one.

    `width` is the standard deviation across a line, pixels. Differentiable; joints may lie outside the picture.
    """
    parent, child = zip(*BONES, strict=True)
    start, end = pixels[..., list(parent), :], pixels[..., list(child), :]  # (*B, 23, 2)
    axis = torch.arange(size, dtype=pixels.dtype, device=pixels.device)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (size, size, 2), x first
    along = (end - start)[..., None, None, :]  # (*B, 23, 1, 1, 2)
    from_start = grid - start[..., None, None, :]  # (*B, 23, size, size, 2)
    share = (from_start * along).sum(-1) / along.square().sum(-1).clamp(min=1e-8)
    nearest = from_start - share.clamp(0, 1)[..., None] * along
    return torch.exp(-nearest.square().sum(-1) / (2 * width**2))
