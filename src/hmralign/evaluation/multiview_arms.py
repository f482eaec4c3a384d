"""Fine-tunings of one multi-view model compared: persons are paired, seeds averaged, intervals are over persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from hmralign.metrics.intervals import Interval, bootstrap_mean, paired_difference
from hmralign.structures import InputError

Figures = Mapping[str, Float[np.ndarray, " person"]]
"""Figures of one run by name, over the same persons for all runs."""


def over_seeds(runs: Sequence[Figures]) -> dict[str, Float[np.ndarray, " person"]]:
    """Means over seeds, person by person. Raises InputError for no run."""
    if not runs:
        raise InputError("there is no run to average; expected at least one seed")
    return {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}


def arm_row(
    runs: Sequence[Figures], control: Sequence[Figures], chosen: Bool[np.ndarray, " person"], name: str = "mpjpe"
) -> dict[str, Interval]:
    """One figure of an arm over chosen persons: its `value`, and its `change` against a control as a share of it.

    The interval of the change is that of paired differences over the control's mean; it holds no variation of seeds.
    """
    ours, theirs = (np.asarray(over_seeds(r)[name], np.float64)[chosen] for r in (runs, control))
    return {
        "value": bootstrap_mean(ours),
        "change": paired_difference(ours, theirs).scaled(1 / abs(float(theirs.mean()))),
        "difference": paired_difference(ours, theirs),
    }


def spread_over_seeds(runs: Sequence[Figures], chosen: Bool[np.ndarray, " person"], name: str = "mpjpe") -> float:
    """Standard deviation over seeds of the mean over persons; NaN for a single seed."""
    means = [float(np.asarray(run[name])[chosen].mean()) for run in runs]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
