"""A track at even steps of time, as tools for animation want it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def even_times(time: Float[np.ndarray, " frame"], fps: float) -> Float[np.ndarray, " step"]:
    """Moments 1/fps apart, from the first frame on, up to the last one."""
    return time[0] + np.arange(int(np.floor((time[-1] - time[0]) * fps + 1e-6)) + 1) / fps


def at_times(
    time: Float[np.ndarray, " frame"],
    rotmats: Float[np.ndarray, "frame joint 3 3"],
    transl: Float[np.ndarray, "frame 3"],
    moments: Float[np.ndarray, " step"],
) -> tuple[Float[np.ndarray, "step joint 3 3"], Float[np.ndarray, "step 3"]]:
    """Rotations (slerp) and places (straight lines) at moments between the first and the last frame."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(time) == 1:
        return rotmats[np.zeros(len(moments), int)], transl[np.zeros(len(moments), int)]
    inside = np.clip(moments, time[0], time[-1])
    turned = [Slerp(time, Rotation.from_matrix(joint))(inside).as_matrix() for joint in rotmats.swapaxes(0, 1)]
    moved = [np.interp(inside, time, axis) for axis in transl.T]
    return np.stack(turned, axis=1), np.stack(moved, axis=1)
