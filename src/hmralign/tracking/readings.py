"""The two readings of a person's keypoints: as the detector names them, and with left and right exchanged.

A detector that takes front for back exchanges every left with its right. The body that fits the exchanged names is then
the one that stood there, so a frame offers both, and its neighbours decide (`linking`).
"""

from __future__ import annotations

from dataclasses import replace

from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.structures import Observation

READINGS = ("as detected", "sides exchanged")


def exchanged_sides(observation: Observation) -> Observation:
    """The same persons with left and right of every keypoint exchanged; places, box and mask stay."""
    order = list(MIRROR_KEYPOINTS)
    return replace(
        observation,
        keypoints=observation.keypoints[..., order, :],
        confidence=observation.confidence[..., order],
    )
