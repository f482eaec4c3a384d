"""The two readings of a person's keypoints: as the detector names them, and with left and right exchanged.

A detector that takes front for back exchanges every left with its right. The body that fits the exchanged names is then
the one that stood there, so a frame offers both, and its neighbours decide (`linking`).
"""

from __future__ import annotations

from hmralign.models.side_gate import exchanged_sides

__all__ = ["READINGS", "exchanged_sides"]

READINGS = ("as detected", "sides exchanged")
