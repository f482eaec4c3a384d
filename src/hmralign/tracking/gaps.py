"""Frames in which a person was not seen: filled between their neighbours, along the shortest turn, and marked.

Only gaps that a track bridges come here (`association.AssociationConfig.max_gap`); a longer one has ended it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from hmralign.structures import InputError

FILLED_VARIANCE = 9.0
"""What is filled in has the larger variance of its two neighbours, times up to this in the middle of the gap."""


@dataclass(frozen=True)
class Filled:
    """All frames of a track: rotations, places, their variances, and which of the frames were filled in."""

    rotmats: Float[np.ndarray, "frame joint 3 3"]
    variance: Float[np.ndarray, "frame joint"]
    interpolated: Bool[np.ndarray, " frame"]


def fill_rotations(
    times: Float[np.ndarray, " frame"],
    seen: Int[np.ndarray, " seen"],
    rotmats: Float[np.ndarray, "seen joint 3 3"],
    variance: Float[np.ndarray, "seen joint"],
) -> Filled:
    """Rotations of every frame, those not in `seen` by spherical interpolation in time (slerp).

    `seen` are the indices into `times` of the frames with measurements. Raises InputError where the first or the last
    frame is not among them.
    """
    from scipy.spatial.transform import Rotation

    before, share = _between(times, seen)
    start = Rotation.from_matrix(rotmats[before].reshape(-1, 3, 3))
    end = Rotation.from_matrix(rotmats[np.minimum(before + 1, len(seen) - 1)].reshape(-1, 3, 3))
    turn = (start.inv() * end).as_rotvec()
    part = np.repeat(share, rotmats.shape[1])[:, None]
    found = (start * Rotation.from_rotvec(part * turn)).as_matrix().reshape(len(times), -1, 3, 3)
    found[seen] = rotmats
    return Filled(found, fill_variance(times, seen, variance), _missing(times, seen))


def fill_places(
    times: Float[np.ndarray, " frame"], seen: Int[np.ndarray, " seen"], places: Float[np.ndarray, "seen dims"]
) -> Float[np.ndarray, "frame dims"]:
    """Places of every frame, those not in `seen` on straight lines in time. Errors as `fill_rotations`."""
    before, share = _between(times, seen)
    part = share[:, None]
    return (1 - part) * places[before] + part * places[np.minimum(before + 1, len(seen) - 1)]


def fill_variance(
    times: Float[np.ndarray, " frame"], seen: Int[np.ndarray, " seen"], variance: Float[np.ndarray, "seen dims"]
) -> Float[np.ndarray, "frame dims"]:
    """Variances of every frame: of a gap, those of its neighbours and more towards its middle."""
    before, share = _between(times, seen)
    after = np.minimum(before + 1, len(seen) - 1)
    doubt = 1 + (FILLED_VARIANCE - 1) * 4 * share * (1 - share)
    larger = np.maximum(variance[before], variance[after])
    found = larger * doubt[:, None]
    found[seen] = variance
    return found


def _missing(times: np.ndarray, seen: np.ndarray) -> np.ndarray:
    missing = np.ones(len(times), bool)
    missing[seen] = False
    return missing


def _between(times: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every frame the measurement at or before it, and the share of the way to the next one."""
    if len(seen) == 0 or seen[0] != 0 or seen[-1] != len(times) - 1:
        raise InputError("a gap has no end: expected the first and the last frame of a track to be seen")
    before = np.searchsorted(seen, np.arange(len(times)), side="right") - 1
    after = np.minimum(before + 1, len(seen) - 1)
    length = times[seen[after]] - times[seen[before]]
    share = np.where(length > 0, (times - times[seen[before]]) / np.where(length > 0, length, 1.0), 0.0)
    return before, share
