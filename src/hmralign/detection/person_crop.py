"""The pixels around a person, as models that look at pixels want them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from hmralign.geometry.cameras import CROP_MARGIN
from hmralign.structures import InputError, Observation

LARGEST_CROP = 1024
"""Longest side of a crop that a policy may ask for, pixels: bounds what a group of people takes in memory."""


def with_crops(observation: Observation, rgb: UInt8[np.ndarray, "height width 3"], side: int | None) -> Observation:
    """Observed persons of one photo (any batch axes) with the pixels of their crops, `side` x `side`.

    As they are for a `side` of None: nobody asked for pixels. Raises InputError for a side that is no crop's, and for
    an empty box.
    """
    if side is None:
        return observation
    if not 1 <= side <= LARGEST_CROP:
        raise InputError(f"crops of {side} pixels were asked for; expected 1 to {LARGEST_CROP}")
    batch = observation.batch_shape
    boxes = observation.box.reshape(-1, 4).tolist()
    crops = torch.stack([crop_of(rgb, box, side) for box in boxes]) if boxes else torch.zeros(0, 3, side, side)
    has_crop = torch.ones(batch, dtype=torch.bool)
    return replace(observation, crop=crops.to(torch.uint8).view(*batch, 3, side, side), has_crop=has_crop)


def crop_of(rgb: UInt8[np.ndarray, "height width 3"], box: Sequence[float], side: int) -> UInt8[Tensor, "3 side side"]:
    """The square around a box (x0, y0, x1, y1), as `geometry.cameras.crop_affine` lays it; black outside the photo.

    Filtered where it shrinks. Raises InputError for an empty box.
    """
    x0, y0, x1, y1 = box
    extent = CROP_MARGIN * max(x1 - x0, y1 - y0)
    if not (math.isfinite(extent) and extent > 0):
        raise InputError(f"no crop can be cut around the box {list(box)}; expected finite x0 < x1, y0 < y1")
    crop = np.zeros((side, side, 3), np.uint8)
    height, width = rgb.shape[:2]
    (left, right, x_from, x_to), (top, bottom, y_from, y_to) = (
        _overlap((low + high) / 2 + 0.5, extent, side, length)
        for low, high, length in ((x0, x1, width), (y0, y1, height))
    )
    if left < right and top < bottom:
        # Only what is seen is cut out: a box may be far larger than the photo.
        part = Image.fromarray(rgb).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR, (x_from, y_from, x_to, y_to), reducing_gap=3.0
        )
        crop[top:bottom, left:right] = np.asarray(part)
    return torch.from_numpy(crop).permute(2, 0, 1)


def _overlap(centre: float, extent: float, side: int, length: int) -> tuple[int, int, float, float]:
    """Whole pixels of the crop that lie in the photo along one axis, and what part of the photo they show.

    Coordinates between pixels, as image libraries cut: the photo is 0 to `length`, the crop 0 to `side`.
    """
    start, step = centre - extent / 2, extent / side
    first = max(0, math.ceil(-start / step))
    last = min(side, math.floor((length - start) / step))
    if first >= last:
        return 0, 0, 0.0, 0.0
    return first, last, max(0.0, start + first * step), min(float(length), start + last * step)
