"""What share of good labels a threshold drops, read off persons whose labels are true.

The quantiles are those of SynthWild's validation persons, recorded by `benchmarks/recovery/cleaning_rules.py` for the
weights of the shipped scorers; nothing is said of other critics and other weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from hmralign.storage.json_file import parse_json


def good_labels_dropped(weights_sha256: str, threshold: float, *, by_margin: bool) -> dict[str, float]:
    """Share of the true labels of each recorded split that lie below the threshold; empty for unknown weights.

    `threshold` is a score, or, `by_margin`, a distance from the samples' mean. Exact to a half percent.
    """
    recorded = _recorded().get(weights_sha256, {})
    return {
        split: _share_below(kinds["levels" if by_margin else "scores"], threshold) for split, kinds in recorded.items()
    }


def _share_below(quantiles: list[float], threshold: float) -> float:
    """Place of a threshold among evenly spaced quantiles, 0 to 1."""
    return float(np.interp(threshold, quantiles, np.linspace(0, 1, len(quantiles)), left=0.0, right=1.0))


@cache
def _recorded() -> Mapping[str, dict[str, dict[str, list[float]]]]:
    path = files("hmralign.cleaning") / "assets" / "true_labels.json"
    return parse_json(path.read_bytes())["weights"]
