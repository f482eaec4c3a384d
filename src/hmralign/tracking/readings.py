"""The readings of a person's keypoints: as the detector has them, with left and right exchanged, and another network's.

A detector that takes front for back exchanges every left with its right. The body that fits the exchanged names is then
the one that stood there, so a frame offers both; where a second network reads sides the other way round
(`Detection.alternative`) it offers that as well. What each frame says of them and its neighbours decide (`linking`).
"""

from __future__ import annotations

from hmralign.models.side_gate import exchanged_sides

__all__ = ["READINGS", "exchanged_sides"]

READINGS = ("as read", "sides exchanged", "other network")
"""Names as in `hypotheses.sides.Reading`. Every sighting has the first two; the last one few have."""
