"""Whether two readings of one person disagree on what is left and what is right.

A person read from behind instead of from the front has the keypoints of a body whose left and right are exchanged, so
both mistakes show up in the same way.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS

Part = Literal["body", "legs", "arms"]

MIN_GAP = 0.04
"""Mean distance of the two readings, as a share of the body's height, below which sides are not told apart: somebody
seen from the side has left and right in one place."""
MAX_RATIO = 0.5
"""The readings must come this much closer when the sides of one of them are exchanged."""

_MIRROR = np.array(MIRROR_KEYPOINTS)
_JOINTS: dict[Part, np.ndarray] = {
    part: np.array([i for i, name in enumerate(KEYPOINT_NAMES) if name.endswith(ends)])
    for part, ends in {
        "body": ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
        "legs": ("knee", "ankle"),
        "arms": ("elbow", "wrist"),
    }.items()
}  # pyright: ignore[reportAssignmentType]


def exchanged_parts(
    keypoints: Float32[np.ndarray, "kp 2"],
    confidence: Float32[np.ndarray, " kp"],
    other: Float32[np.ndarray, "kp 2"],
    other_confidence: Float32[np.ndarray, " kp"],
) -> tuple[Part, ...]:
    """What has its sides exchanged in the other reading: the whole body, else legs, arms, both, or nothing.

    A part is exchanged where the mean distance of its joints, observed in both readings on both sides, is above
    `MIN_GAP` of the body's height and falls to `MAX_RATIO` of it, or below, with the other's sides exchanged. At least
    half of the part's joints must be observed. The same rule finds exchanged sides on renders, where truth is known
    (`benchmarks/noise/noise_analysis.py`).
    """
    observed = (confidence > 0) & (other_confidence > 0)
    observed &= observed[_MIRROR]
    if observed.sum() < 2:
        return ()
    height = float(np.ptp(np.concatenate([keypoints[observed], other[observed]]), axis=0).max())

    def exchanged(part: Part) -> bool:
        joints = _JOINTS[part][observed[_JOINTS[part]]]
        if 2 * len(joints) < len(_JOINTS[part]):
            return False
        straight = np.linalg.norm(keypoints[joints] - other[joints], axis=-1).mean()
        crossed = np.linalg.norm(keypoints[joints] - other[_MIRROR[joints]], axis=-1).mean()
        return bool(straight > MIN_GAP * height and crossed <= MAX_RATIO * straight)

    if exchanged("body"):
        return ("body",)
    limbs: tuple[Part, ...] = ("legs", "arms")
    return tuple(part for part in limbs if exchanged(part))
