"""Colours as screens mean them, and a scale for magnitudes.

The scale has five stops of viridis (van der Walt and Smith 2015), readable when colour blind.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]) / 255.0


def magnitude_colors(values: Float[np.ndarray, "*shape"], high: float, low: float = 0.0) -> np.ndarray:
    """RGB in [0, 1], shape `(*shape, 3)`: `low` and below are dark violet, `high` and above are yellow."""
    place = np.clip((np.asarray(values, np.float64) - low) / max(high - low, 1e-12), 0, 1) * (len(_STOPS) - 1)
    channels = [np.interp(place, np.arange(len(_STOPS)), _STOPS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def srgb_to_linear(colors: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Colours as screens take them to amounts of light, both in [0, 1] (IEC 61966-2-1)."""
    c = np.clip(colors, 0, 1)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
