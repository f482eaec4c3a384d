"""How sure a mean over persons is: percentile bootstrap (Efron & Tibshirani 1993, ch. 13), paired where it can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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
    # Counts of a multinomial draw: the same as drawing persons, without an array of persons x draws of indices.
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    replicates = counts @ values / len(values)
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    values: Float[np.ndarray, ...], reference: Float[np.ndarray, ...], *, draws: int = 1000, seed: int = 0
) -> Interval:
    """Mean of `values - reference` over the same persons. Raises InputError where their numbers differ."""
    if np.shape(values) != np.shape(reference):
        sizes = f"{np.shape(values)} and {np.shape(reference)}"
        raise InputError(f"a paired difference needs the same persons on both sides, got {sizes}")
    return bootstrap_mean(np.asarray(values, np.float64) - np.asarray(reference, np.float64), draws=draws, seed=seed)
