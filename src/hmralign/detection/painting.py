"""Painting found people out of a photo, so that the networks see who stands behind or beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from hmralign.detection.person_candidates import Finding, skeleton_distance

REACH = 0.11
"""How far from the skeleton a segmentation is believed when painting, as a share of body size."""


def person_pixels(finding: Finding, image_size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Pixels of the image (height, width) on a person: the segmentation near the skeleton, a little widened."""
    height, width = image_size
    cx, cy, side, angle = finding.region
    count = finding.alpha.shape[0]
    person = np.where(skeleton_distance(finding) < REACH, finding.alpha, 0).astype(np.float32)
    reach = side * 0.75
    x0, x1 = int(max(0, cx - reach)), int(min(width, cx + reach + 1))
    y0, y1 = int(max(0, cy - reach)), int(min(height, cy + reach + 1))
    pixels = np.zeros((height, width), bool)
    if x0 >= x1 or y0 >= y1:
        return pixels
    x, y = np.meshgrid(np.arange(x0, x1) - cx, np.arange(y0, y1) - cy)
    column = (np.cos(angle) * x + np.sin(angle) * y) / side * count + count / 2 - 0.5
    row = (-np.sin(angle) * x + np.cos(angle) * y) / side * count + count / 2 - 0.5
    alpha = map_coordinates(person, [row, column], order=1, mode="constant", cval=0.0)
    pixels[y0:y1, x0:x1] = alpha > 80
    return pixels


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
    """Blur of the visible pixels, each weighted by its nearness; coarse, hence computed on a quarter of the image."""
    step = 4
    visible = (~hidden)[::step, ::step].astype(np.float64)
    colours = image[::step, ::step].astype(np.float64)
    total = np.zeros_like(colours)
    weight = np.zeros_like(visible)
    # Wide kernels reach into the middle of large holes; narrow ones dominate wherever they reach.
    for sigma, trust in ((4.0, 1.0), (16.0, 1e-3), (64.0, 1e-6)):
        weight += trust * gaussian_filter(visible, sigma)
        total += trust * _blur(colours * visible[..., None], sigma)
    fill = total / np.maximum(weight, 1e-12)[..., None]
    height, width = hidden.shape
    large = zoom(fill, (height / fill.shape[0], width / fill.shape[1], 1), order=1, grid_mode=True, mode="nearest")
    return np.clip(np.round(large), 0, 255).astype(np.uint8)


def _blur(colours: Float[np.ndarray, "rows columns 3"], sigma: float) -> Float[np.ndarray, "rows columns 3"]:
    return gaussian_filter(colours, (sigma, sigma, 0.0))
