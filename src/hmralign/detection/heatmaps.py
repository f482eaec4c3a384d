"""Keypoint heatmaps of a top-down network: which part of the photo they cover, and where their peaks are.

Sources: the region of a box as in ViTPose (Xu et al. 2022) and mmpose; unbiased mapping between grids (Huang et al.
2020, UDP, sec. 3.2): first and last cell of crop and heatmap lie on the edges of the region; sub-cell peaks by one
Newton step on the logarithm of the blurred heatmap (Zhang et al. 2020, DARK, sec. 3.2).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from scipy.ndimage import gaussian_filter

REGION_MARGIN = 1.25
"""ViTPose is trained on boxes enlarged by this."""
BLUR_SIGMA = 0.8
"""Cells. As in `transformers`; the 2.0 of mmpose moves peaks near the edge by more than a cell."""
LARGEST_STEP = 1.0
"""Cells; a longer Newton step says that there is no clean peak, and the highest cell itself is the answer."""


def region_of_box(box: Float[np.ndarray, " 4"], aspect: float) -> Float64[np.ndarray, " 4"]:
    """Centre x, y, width and height, pixels, of what the network sees for a box (x0, y0, x1, y1).

    The box is widened or heightened to `aspect` (width over height), then enlarged by `REGION_MARGIN`.

    >>> region_of_box(np.array([0.0, 0.0, 30.0, 80.0]), aspect=0.75)
    array([ 15.,  40.,  75., 100.])
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    width, height = max(x1 - x0, aspect * (y1 - y0)), max(y1 - y0, (x1 - x0) / aspect)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, REGION_MARGIN * width, REGION_MARGIN * height])


def cells_to_pixels(
    cells: Float[np.ndarray, "*points 2"], region: Float64[np.ndarray, " 4"], grid: tuple[int, int]
) -> Float64[np.ndarray, "*points 2"]:
    """Pixels of the photo for places (column, row) in a grid of (rows, columns) laid over a region."""
    shares = cells / (np.array(grid[::-1]) - 1.0)
    return region[:2] + (shares - 0.5) * region[2:]


def decode_heatmaps(
    heatmaps: Float[np.ndarray, "person kp row column"],
) -> tuple[Float64[np.ndarray, "person kp 2"], Float64[np.ndarray, "person kp"]]:
    """Places (column, row) of the highest peaks, in fractions of a cell, and the heights of the peaks.

    A peak on the outermost cells, or without a clean maximum, is placed on its cell.
    """
    people, count, rows, columns = heatmaps.shape
    flat = heatmaps.reshape(people, count, -1)
    row, column = np.divmod(flat.argmax(-1), columns)
    blurred = gaussian_filter(heatmaps.astype(np.float64), (0, 0, BLUR_SIGMA, BLUR_SIGMA), mode="constant")
    logs = np.log(np.clip(blurred, 1e-6, None))
    near = _three_by_three(logs, row, column)
    gx, gy = (near[..., 1, 2] - near[..., 1, 0]) / 2, (near[..., 2, 1] - near[..., 0, 1]) / 2
    xx = near[..., 1, 2] - 2 * near[..., 1, 1] + near[..., 1, 0]
    yy = near[..., 2, 1] - 2 * near[..., 1, 1] + near[..., 0, 1]
    xy = (near[..., 2, 2] - near[..., 2, 0] - near[..., 0, 2] + near[..., 0, 0]) / 4
    determinant = xx * yy - xy**2
    safe = np.where(determinant > 1e-12, determinant, 1.0)
    step = np.stack([xy * gy - yy * gx, xy * gx - xx * gy], axis=-1) / safe[..., None]
    inner = (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)
    clean = inner & (determinant > 1e-12) & (xx < 0) & (np.abs(step).max(-1) <= LARGEST_STEP)
    places = np.stack([column, row], axis=-1) + np.where(clean[..., None], step, 0.0)
    return places, flat.max(-1).astype(np.float64)


def _three_by_three(
    values: Float64[np.ndarray, "person kp row column"], row: np.ndarray, column: np.ndarray
) -> Float64[np.ndarray, "person kp 3 3"]:
    """Values around a cell of each map; cells beyond the edge repeat it."""
    around = np.arange(-1, 2)
    rows = np.clip(row[..., None] + around, 0, values.shape[2] - 1)
    columns = np.clip(column[..., None] + around, 0, values.shape[3] - 1)
    person, kp = np.ogrid[: values.shape[0], : values.shape[1]]
    return values[person[..., None, None], kp[..., None, None], rows[..., :, None], columns[..., None, :]]
