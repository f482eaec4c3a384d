"""Boxes (x0, y0, x1, y1) in pixels: overlap, and the square regions in which to look for the person of a box."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from hmralign.structures import InputError


def box_iou(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes, 0 to 1.

    >>> box_iou(np.array([0.0, 0.0, 2.0, 2.0]), np.array([1.0, 0.0, 3.0, 2.0]))
    0.3333333333333333
    """
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0.0)))
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / total if total > 0 else 0.0


def centre_offset(a: Float[np.ndarray, " 4"], b: Float[np.ndarray, " 4"]) -> float:
    """Distance of the centres as a share of the longer side of `b`."""
    gap = (a[:2] + a[2:] - b[:2] - b[2:]) / 2
    return float(np.linalg.norm(gap) / max(float((b[2:] - b[:2]).max()), 1e-6))


def checked_box(box: Float[np.ndarray, " 4"], image_size: tuple[int, int]) -> Float64[np.ndarray, " 4"]:
    """The box cut to the image (height, width); raises `InputError` when it is no box of this image."""
    height, width = image_size
    array = np.asarray(box, np.float64)
    if array.shape != (4,) or not np.isfinite(array).all() or (array[2:] - array[:2] < 2).any():
        raise InputError(f"box {array.tolist()}: expected finite (x0, y0, x1, y1) with x0 + 2 <= x1 and y0 + 2 <= y1")
    cut = np.concatenate([np.maximum(array[:2], -0.5), np.minimum(array[2:], [width - 0.5, height - 0.5])])
    if (cut[2:] - cut[:2] < 2).any():
        raise InputError(f"box {array.tolist()} lies outside the image of {width} x {height} pixels")
    return cut


def regions_for_box(
    box: Float64[np.ndarray, " 4"], image_size: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Upright square regions (centre x, centre y, side, angle) in which a box's person may stand.

    A box that ends at the image's lower edge may hold only the upper part of a person, whose hips, the centre that the
    landmark network expects, then lie lower.
    """
    height, _ = image_size
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    side = float((box[2:] - box[:2]).max())
    regions = [(x, y, side * margin, 0.0) for margin in (1.05, 1.25, 1.5)]
    if box[3] > height - 0.03 * height:
        regions += [(x, y + shift * side, side * grow, 0.0) for shift, grow in ((0.25, 1.8), (0.5, 2.4))]
    return regions
