"""A person's segmentation, independent of the image's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from hmralign.structures import MASK_SIZE, InputError


@dataclass(frozen=True)
class PersonMask:
    """Share of person per cell of a regular grid laid over part of an image; nothing of the person lies outside it.

    `alpha` is 0-255. `region` is (x0, y0, x1, y1), the outer edges of the grid in pixels of the full image, where
    pixel (0, 0) is the centre of the top-left pixel, so a whole image spans (-0.5, -0.5, width - 0.5, height - 0.5).
    """

    alpha: UInt8[np.ndarray, "rows columns"]
    region: tuple[float, float, float, float]

    @staticmethod
    def from_image(mask: Bool[np.ndarray, "height width"] | UInt8[np.ndarray, "height width"]) -> PersonMask:
        """Wrap a mask of the full image: True or 255 is person."""
        alpha = mask.astype(np.uint8) * np.uint8(255) if mask.dtype == bool else mask
        height, width = mask.shape
        return PersonMask(alpha, (-0.5, -0.5, width - 0.5, height - 0.5))

    def to_image(self, height: int, width: int) -> UInt8[np.ndarray, "height width"]:
        """Alpha per pixel of the full image, each pixel the mean over its area."""
        return np.round(area_shares(self, np.arange(width + 1) - 0.5, np.arange(height + 1) - 0.5) * 255).astype(
            np.uint8
        )


def mask_in_box(
    mask: PersonMask, box: Float[np.ndarray, " 4"], size: int = MASK_SIZE
) -> Float32[np.ndarray, "size size"]:
    """Share of person per cell of the square crop around a box (x0, y0, x1, y1), zeros outside the image.

    The crop has side `1.25 * max(width, height)` and the box's centre, as `structures.Observation.mask` wants it.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    side = 1.25 * max(x1 - x0, y1 - y0)
    if not (np.isfinite(side) and side > 0):
        raise InputError(f"a mask cannot be cut to the box {box.tolist()}: expected finite x0 < x1, y0 < y1")
    steps = np.linspace(-side / 2, side / 2, size + 1)
    return area_shares(mask, (x0 + x1) / 2 + steps, (y0 + y1) / 2 + steps).astype(np.float32)


def area_shares(
    mask: PersonMask, x_edges: Float64[np.ndarray, " columns_1"], y_edges: Float64[np.ndarray, " rows_1"]
) -> Float64[np.ndarray, "rows columns"]:
    """Exact mean of the mask (0-1) over each cell between given edges.

    The mask is constant within its own cells, so its integral is bilinear between their corners.
    """
    rows, columns = mask.alpha.shape
    x0, y0, x1, y1 = mask.region
    integral = np.zeros((rows + 1, columns + 1))
    integral[1:, 1:] = mask.alpha.cumsum(0, dtype=np.float64).cumsum(1) / 255
    across = _interpolation(np.clip((x_edges - x0) / (x1 - x0) * columns, 0, columns), columns)
    down = _interpolation(np.clip((y_edges - y0) / (y1 - y0) * rows, 0, rows), rows)
    corners = down @ integral @ across.T
    person = np.diff(np.diff(corners, axis=0), axis=1) * ((x1 - x0) / columns) * ((y1 - y0) / rows)
    area = np.diff(y_edges)[:, None] * np.diff(x_edges)[None, :]
    return np.clip(person / area, 0.0, 1.0)


def _interpolation(at: Float64[np.ndarray, " edges"], count: int) -> Float64[np.ndarray, "edges nodes"]:
    """Matrix that interpolates linearly at fractional node positions `at` in [0, count]."""
    lower = np.minimum(at.astype(int), count - 1)
    matrix = np.zeros((len(at), count + 1))
    rows = np.arange(len(at))
    matrix[rows, lower] = 1 - (at - lower)
    matrix[rows, lower + 1] += at - lower
    return matrix
