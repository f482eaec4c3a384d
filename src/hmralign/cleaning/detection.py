"""How well bad labels are found where it is known which are bad.

"Found" is dropped: precision is the share of dropped labels that are bad, recall the share of bad labels that are
dropped. Average precision needs no threshold: it is the area under precision over recall as the threshold rises,
without interpolation, and its value for scores that say nothing is the share of bad labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from hmralign.structures import InputError
from hmralign.structures.counted import counted


@dataclass(frozen=True)
class Detection:
    """What was dropped against what is bad."""

    items: int
    bad: int
    dropped: int
    caught: int
    """Bad labels that were dropped."""

    @property
    def precision(self) -> float:
        """The share of dropped labels that are bad; 0 where nothing was dropped, which is no success."""
        return self.caught / self.dropped if self.dropped else 0.0

    @property
    def recall(self) -> float:
        """The share of bad labels that were dropped."""
        return self.caught / self.bad

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.caught / (self.dropped + self.bad)


def detection(dropped: Bool[np.ndarray, " item"], bad: Bool[np.ndarray, ...]) -> Detection:
    """Counts of dropped and of bad labels. Raises InputError for other numbers of items, and where none is bad."""
    _check(len(dropped), bad)
    return Detection(len(bad), int(bad.sum()), int(dropped.sum()), int((dropped & bad).sum()))


def average_precision(scores: Float[np.ndarray, " item"], bad: Bool[np.ndarray, ...]) -> float:
    """Sum over thresholds of (rise of recall) x precision, bad labels being those of low scores.

    Labels of equal score fall together, so their order does not matter. Raises InputError as `detection`, and for a
    score that is not finite.
    """
    _check(len(scores), bad)
    if not np.isfinite(scores).all():
        item = int(np.argmin(np.isfinite(scores)))
        raise InputError(f"item {item} has the score {scores[item]}; expected finite scores")
    order = np.argsort(scores, kind="stable")
    ranked, hit = scores[order], bad[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    caught = np.cumsum(hit)[last_of_tie]
    dropped = np.flatnonzero(last_of_tie) + 1
    risen = np.diff(caught, prepend=0) / bad.sum()
    return float((risen * caught / dropped).sum())


def _check(items: int, bad: np.ndarray) -> None:
    if bad.shape != (items,):
        raise InputError(f"{counted(items, 'label')}, but marks of bad ones of shape {bad.shape}")
    if not bad.any():
        raise InputError("no label is known to be bad, so nothing can be found; expected at least one")
