"""Painting found people out of a photo, so that the networks see who stands behind or beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from hmralign.detection.person_candidates import Finding, skeleton_distance

REACH = 0.11
"""How far from the skeleton a segmentation is believed when painting, as a share of body size."""


def person_pixels(finding: Finding, image_size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Pixels of the image (height, width) on a person: the segmentation near the skeleton, a little widened."""
    height, width = image_size
    cx, cy, side, angle = finding.region
    count = finding.alpha.shape[0]
    near = skeleton_distance(finding, finding.alpha > 0) < REACH
    person = np.where(near, finding.alpha, 0).astype(np.float32)
    pixels = np.zeros((height, width), bool)
    if not near.any():
        return pixels
    (left, top), (right, bottom) = _bounds_in_image(finding, near)
    x0, x1, y0, y1 = max(0, left), min(width, right), max(0, top), min(height, bottom)
    if x0 >= x1 or y0 >= y1:
        return pixels
    x, y = np.meshgrid(np.arange(x0, x1) - cx, np.arange(y0, y1) - cy)
    column = (np.cos(angle) * x + np.sin(angle) * y) / side * count + count / 2 - 0.5
    row = (-np.sin(angle) * x + np.cos(angle) * y) / side * count + count / 2 - 0.5
    alpha = map_coordinates(person, [row, column], order=1, mode="constant", cval=0.0)
    pixels[y0:y1, x0:x1] = alpha > 80
    return pixels


def _bounds_in_image(finding: Finding, cells: Bool[np.ndarray, "side side"]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First pixel (x, y) of the image that cells of the segmentation reach, and the first beyond them.

    Between pixels the segmentation is interpolated, so that a cell reaches to the middle of its neighbours.
    """
    cx, cy, side, angle = finding.region
    rows, columns = np.nonzero(cells)
    ends = np.array([[columns.min() - 1, columns.max() + 1], [rows.min() - 1, rows.max() + 1]])
    u, v = (axis.ravel() for axis in np.meshgrid(*((ends + 0.5) / len(cells) - 0.5)))
    x = cx + side * (np.cos(angle) * u - np.sin(angle) * v)
    y = cy + side * (np.sin(angle) * u + np.cos(angle) * v)
    first, last = np.floor([x.min(), y.min()]).astype(int), np.ceil([x.max(), y.max()]).astype(int) + 1
    return (int(first[0]), int(first[1])), (int(last[0]), int(last[1]))


def paint_out(
    image: UInt8[np.ndarray, "height width 3"], people: Sequence[Finding]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with people replaced by a smooth fill of their surroundings."""
    size = image.shape[:2]
    hidden = np.zeros(size, bool)
    for finding in people:
        hidden |= person_pixels(finding, size)
    if not hidden.any():
        return image
    painted = image.copy()
    painted[hidden] = _surroundings(image, hidden)[hidden]
    return painted


def _surroundings(
    image: UInt8[np.ndarray, "height width 3"], hidden: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Blur of the visible pixels, each weighted by its nearness; coarse, hence computed on a small copy."""
    height, width = hidden.shape
    small = (max(1, width // 8), max(1, height // 8))
    shown = np.where(hidden[..., None], 0, image).astype(np.uint8)
    colours = np.asarray(Image.fromarray(shown).resize(small, Image.Resampling.BOX), np.float64)
    visible = np.asarray(
        Image.fromarray((~hidden).astype(np.uint8) * np.uint8(255)).resize(small, Image.Resampling.BOX)
    )
    visible = visible.astype(np.float64) / 255
    total, weight = np.zeros_like(colours), np.zeros_like(visible)
    # Wide kernels reach into the middle of large holes; narrow ones dominate wherever they reach.
    for sigma, trust in ((2.0, 1.0), (8.0, 1e-3), (32.0, 1e-6)):
        weight += trust * gaussian_filter(visible, sigma)
        total += trust * gaussian_filter(colours, (sigma, sigma, 0.0))
    fill = np.clip(np.round(total / np.maximum(weight, 1e-12)[..., None]), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(fill).resize((width, height), Image.Resampling.BILINEAR))
