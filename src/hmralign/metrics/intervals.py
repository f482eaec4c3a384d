"""How sure a mean over persons is: percentile bootstrap (Efron & Tibshirani 1993, ch. 13), paired where it can be.

Where several groups show one person, persons are drawn and bring all their groups (the cluster bootstrap; Davison &
Hinkley 1997, sec. 3.8): `cluster_counts` draws once, so that all figures of a table are of the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hmralign.structures import InputError


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which 95 % of its bootstrap replicates lie."""

    mean: float
    low: float
    high: float

    def scaled(self, factor: float) -> Interval:
        """In another unit."""
        return Interval(self.mean * factor, self.low * factor, self.high * factor)


def bootstrap_mean(
    values: Float[np.ndarray, ...], *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean over persons, who are drawn with replacement. Raises InputError for no values or values that are not finite.

    The same seed draws the same persons whatever is measured, so intervals of one table belong together.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"an interval needs one value per person, got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"person {int(np.argmin(np.isfinite(values)))} has a value that is not finite")
    replicates = _drawn(len(values), draws, seed) @ values / len(values)
    return replicate_interval(float(values.mean()), replicates, level)


def paired_difference(
    values: Float[np.ndarray, ...], reference: Float[np.ndarray, ...], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """Mean of `values - reference` over the same persons. Raises InputError where their numbers differ."""
    if np.shape(values) != np.shape(reference):
        sizes = f"{np.shape(values)} and {np.shape(reference)}"
        raise InputError(f"a paired difference needs the same persons on both sides, got {sizes}")
    return bootstrap_mean(np.asarray(values, np.float64) - np.asarray(reference, np.float64), draws=draws, seed=seed)


def cluster_counts(clusters: Int[np.ndarray, " group"], draws: int, seed: int) -> Int[np.ndarray, "draw group"]:
    """How often each group counts in each draw: clusters, numbered from 0, are drawn with replacement."""
    return _drawn(int(clusters.max()) + 1, draws, seed)[:, clusters]


def cluster_interval(values: Float[np.ndarray, " group"], counts: Int[np.ndarray, "draw group"]) -> Interval:
    """Mean over groups; `counts` are those of `cluster_counts`."""
    return replicate_interval(float(values.mean()), counts @ values / counts.sum(1))


def cluster_rate(
    values: Float[np.ndarray, " item"], group: Int[np.ndarray, " item"], counts: Int[np.ndarray, "draw group"]
) -> Interval:
    """Mean over items, of which a group has any number; `counts` are those of `cluster_counts`.

    Draws in which no item is left are not counted. Raises InputError for no items.
    """
    if len(values) == 0:
        raise InputError("a rate needs at least one item")
    total = np.bincount(group, values, minlength=counts.shape[1])
    number = np.bincount(group, minlength=counts.shape[1])
    drawn = counts @ number
    return replicate_interval(float(values.mean()), (counts @ total)[drawn > 0] / drawn[drawn > 0])


def replicate_interval(mean: float, replicates: Float[np.ndarray, " draw"], level: float = 0.95) -> Interval:
    """A mean with the quantiles of its replicates as bounds."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def _drawn(number: int, draws: int, seed: int) -> Int[np.ndarray, "draw number"]:
    """How often each of so many is drawn: as drawing their indices, without an array of them."""
    return np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws)
