"""From errors per person, run and column to figures with intervals.

A run is one base with one fine-tuning seed. Figures of a row with several runs are averaged over them person by person
first; persons are resampled, so an interval holds no variation of bases or seeds, which stands beside it as the
standard deviation over runs. Whatever is compared is compared on the runs that both sides have.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmralign.metrics.intervals import Interval, bootstrap_mean, paired_difference
from hmralign.studies.alignment.measure import Columns, Kind

RunKey = tuple[int, int]
"""(base, fine-tuning seed)."""

COMPARED = ("single", "fused", "min_of_10")
"""Columns of paired differences between rows."""

NOT_DEFINED = "not defined"
"""Headroom where the ceiling does not clearly help."""


@dataclass(frozen=True)
class Run:
    """Everything measured of one run."""

    kinds: dict[Kind, Columns]
    many: dict[Kind, Columns]
    """Errors of fewer persons with many hypotheses; empty where it was not measured."""
    forgetting: Columns | None = None
    """Errors of persons of the base's own training domain; None where nobody looked."""


Runs = dict[RunKey, Run]


def base_of(base: Runs, key: RunKey) -> Run | None:
    """The base that a run started from; it has no seed."""
    return next((run for (number, _), run in base.items() if number == key[0]), None)


def shared(runs: Runs, base: Runs) -> list[RunKey]:
    """Runs whose base was measured."""
    return [key for key in runs if base_of(base, key) is not None]


def columns_over(runs: Sequence[Columns]) -> Columns:
    """Means over runs, person by person; columns that not all runs have are left out."""
    names = [n for n in runs[0] if all(n in r for r in runs)]
    return {name: np.mean([r[name] for r in runs], axis=0) for name in names}


def in_mm(interval: Interval) -> list[float]:
    """Mean, low and high, one decimal."""
    found = interval.scaled(1000.0)
    return [round(found.mean, 1), round(found.low, 1), round(found.high, 1)]


def mean_of(values: np.ndarray) -> list[float] | None:
    """Over persons who have a value; None where nobody has."""
    there = values[np.isfinite(values)]
    return in_mm(bootstrap_mean(there)) if len(there) else None


def difference(values: np.ndarray, reference: np.ndarray) -> list[float] | None:
    """Paired, over persons who have both values."""
    there = np.isfinite(values) & np.isfinite(reference)
    return in_mm(paired_difference(values[there], reference[there])) if there.any() else None


def row_figures(runs: Runs, base: Runs, ceiling: Runs | None) -> dict[str, Any]:
    """Figures of a row: each kind's columns, differences to the base, spread over runs, headroom; and forgetting."""
    keys = shared(runs, base)
    found: dict[str, Any] = {"runs": [list(k) for k in keys]}
    if not keys:
        return found
    mine, theirs = [runs[k] for k in keys], [_known(base, k) for k in keys]
    for kind in mine[0].kinds:
        found[kind] = _of_kind([r.kinds[kind] for r in mine], [r.kinds[kind] for r in theirs])
        found[kind]["headroom_percent"] = headroom(runs, base, ceiling, kind)
        many = [(r.many[kind], t.many[kind]) for r, t in zip(mine, theirs, strict=True) if r.many and t.many]
        if many:
            extra = _of_kind([m for m, _ in many], [t for _, t in many])
            for part in ("mm", "minus_base_mm"):
                found[kind][part] |= extra[part]
    both = [(r.forgetting, t.forgetting) for r, t in zip(mine, theirs, strict=True)]
    change = [(a["fused"], b["fused"]) for a, b in both if a is not None and b is not None]
    sides = [np.mean(side, axis=0) for side in zip(*change, strict=True)]
    found["forgetting_mm"] = difference(sides[0], sides[1]) if change else None
    return found


def _known(base: Runs, key: RunKey) -> Run:
    run = base_of(base, key)
    assert run is not None
    return run


def _of_kind(mine: list[Columns], theirs: list[Columns]) -> dict[str, Any]:
    mean, base = columns_over(mine), columns_over(theirs)
    names = [n for n in mean if n != "failed"]
    both = [n for n in names if n in base]
    return {
        "mm": {n: mean_of(mean[n]) for n in names},
        "minus_base_mm": {n: difference(mean[n], base[n]) for n in both},
        "sd_over_runs_mm": {
            n: _sd([float(np.nanmean(m[n]) - np.nanmean(t[n])) for m, t in zip(mine, theirs, strict=True)])
            for n in ("single", "fused", "min_of_10")
            if n in both
        },
        "failed": int(sum(m["failed"].sum() for m in mine)) if "failed" in mean else 0,
    }


def _sd(differences: list[float]) -> float | None:
    """Standard deviation of the runs' differences to their own base, mm; None for one run."""
    return round(1000 * statistics.stdev(differences), 2) if len(differences) > 1 else None


def headroom(runs: Runs, base: Runs, ceiling: Runs | None, kind: Kind) -> dict[str, int | str | None]:
    """Share, in percent, of what true labels would give, on the runs that both have.

    `not defined` where the gain's interval includes 0; None where the ceiling was not measured on the same runs.
    """
    best = ceiling or {}
    keys = [k for k in shared(runs, base) if k in best]
    return {c: _share_closed(runs, base, best, keys, kind, c) for c in ("fused", "min_of_10")}


def _share_closed(
    runs: Runs, base: Runs, ceiling: Runs, keys: list[RunKey], kind: Kind, column: str
) -> int | str | None:
    if not keys:
        return None
    mine, start, best = (
        np.mean([side(k).kinds[kind][column] for k in keys], axis=0)
        for side in (lambda k: runs[k], lambda k: _known(base, k), lambda k: ceiling[k])
    )
    gain = paired_difference(start, best)
    if gain.low <= 0:
        return NOT_DEFINED
    return round(100 * float((start - mine).mean()) / gain.mean)


def compared(runs: Runs, reference: Runs) -> dict[str, Any]:
    """Paired differences of two rows on the runs that both have; empty where there are none."""
    keys = [k for k in runs if k in reference]
    if not keys:
        return {}
    found: dict[str, Any] = {"runs": [list(k) for k in keys]}
    for kind in runs[keys[0]].kinds:
        mine, theirs = (columns_over([side[k].kinds[kind] for k in keys]) for side in (runs, reference))
        found[kind] = {c: difference(mine[c], theirs[c]) for c in COMPARED}
    return found
