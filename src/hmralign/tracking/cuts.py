"""Cuts of a clip: where one frame shows another scene than the frame before it.

Two measures must agree, as each alone is fooled: colour histograms (Zhang et al. 1993, "Automatic partitioning of
full-motion video", sec. 3) by panning past other colours, differences of pixels by fast motion. Histograms are compared
with the frame before and with the usual change of the last second, so that a flickering or hand-held clip has a bar of
its own. Fades have no single frame at which they happen, and are not found.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class CutConfig:
    """When a change of pictures is a cut."""

    histogram: float = 0.30
    """Least share of the pixels that change their bin of colour, 0 to 1."""
    pixels: float = 0.10
    """Least mean change of a pixel of the small pictures, 0 to 1."""
    times_usual: float = 3.0
    """Least ratio to the median change of the frames before."""
    memory: int = 30
    """Frames that say what is usual."""


class CutDetector:
    """Is shown frames one by one, and says of each whether it begins another scene."""

    def __init__(self, config: CutConfig | None = None):
        self._config = config or CutConfig()
        self._histogram: np.ndarray | None = None
        self._small: np.ndarray | None = None
        self._size: tuple[int, int] | None = None
        self._usual: deque[float] = deque(maxlen=self._config.memory)

    def is_cut(self, rgb: UInt8[np.ndarray, "height width 3"]) -> bool:
        """Whether this frame shows another scene than the last one; False for the first. A change of size is a cut."""
        histogram, small, size = colour_histogram(rgb), _small(rgb), rgb.shape[:2]
        before, small_before, size_before = self._histogram, self._small, self._size
        self._histogram, self._small, self._size = histogram, small, size
        if before is None or small_before is None:
            return False
        moved = float(np.abs(histogram - before).sum() / 2)
        changed = float(np.abs(small - small_before).mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        config = self._config
        found = size != size_before or (
            moved > config.histogram and changed > config.pixels and moved > config.times_usual * usual
        )
        if found:
            self._usual.clear()
        else:
            self._usual.append(moved)
        return found


def colour_histogram(rgb: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, " bins"]:
    """Shares of the pixels in 8 x 8 x 8 bins of colour, of at most some 40,000 pixels on a grid; sums to 1."""
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / 40_000) ** 0.5))
    bins = (rgb[::step, ::step] >> 5).astype(np.int64)
    index = (bins[..., 0] << 6) | (bins[..., 1] << 3) | bins[..., 2]
    return np.bincount(index.ravel(), minlength=512) / index.size


def _small(rgb: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "16 16 3"]:
    """Means of a 16 x 16 grid of the picture, 0 to 1."""
    step = max(1, int((rgb.shape[0] * rgb.shape[1] / 40_000) ** 0.5))
    coarse = rgb[::step, ::step] / 255
    rows = np.linspace(0, coarse.shape[0], 17).astype(int)[:-1]
    columns = np.linspace(0, coarse.shape[1], 17).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(coarse, rows, axis=0), columns, axis=1)
    counts = np.diff([*rows, coarse.shape[0]])[:, None] * np.diff([*columns, coarse.shape[1]])[None]
    return sums / counts[..., None]
