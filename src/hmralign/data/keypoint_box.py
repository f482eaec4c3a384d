"""The tight box of the confident keypoints: the one place that says what a person's box is for a model."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MIN_CONFIDENCE = 0.3
"""Keypoints below this do not shape the box."""


def keypoint_box(
    keypoints: Float[Tensor, "*batch 27 2"], confidence: Float[Tensor, "*batch 27"]
) -> Float[Tensor, "*batch 4"]:
    """(x0, y0, x1, y1) of the keypoints above `MIN_CONFIDENCE`, pixels.

    Where fewer than two are, every keypoint with any confidence counts; without those the box is empty (zeros). Sides
    are at least 1 pixel.
    """
    strong = confidence > MIN_CONFIDENCE
    used = torch.where(strong.sum(-1, keepdim=True) >= 2, strong, confidence > 0)
    low = torch.where(used[..., None], keypoints, torch.inf).amin(-2)
    high = torch.where(used[..., None], keypoints, -torch.inf).amax(-2)
    any_used = used.any(-1, keepdim=True)
    low, high = torch.where(any_used, low, 0.0), torch.where(any_used, high, 0.0)
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=0.5)
    return torch.cat([middle - half, middle + half], dim=-1)
