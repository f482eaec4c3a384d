"""How well scores order hypotheses, group by group: what preference training uses, and what a pick costs.

| measure | per group | source |
| --- | --- | --- |
| `spearman` (SRCC) | correlation of mean ranks | Spearman 1904 |
| `pearson` (PLCC) | linear correlation | |
| `kendall` | tau-b, which corrects for ties | Kendall 1945 |
| `regret` | error of the first choice above the best of the group | |

A group in which the scores or the errors say nothing (all equal) has correlation 0: dropping it would flatter a critic
that is silent where it is hard. Errors are "lower is better", scores "higher is better"; 1 is a perfect order.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from hmralign.structures import InputError


def spearman(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> Float[np.ndarray, " group"]:
    """Rank correlation of scores with minus errors in each group."""
    _check(scores, errors)
    return _correlation(rankdata(scores, axis=1), rankdata(-errors, axis=1))


def pearson(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> Float[np.ndarray, " group"]:
    """Linear correlation of scores with minus errors in each group."""
    _check(scores, errors)
    return _correlation(scores, -errors)


def kendall(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> Float[np.ndarray, " group"]:
    """Tau-b: (concordant - discordant) / sqrt(pairs untied in scores x pairs untied in errors)."""
    _check(scores, errors)
    first, second = np.triu_indices(scores.shape[1], 1)
    s = np.sign(scores[:, first] - scores[:, second])
    e = np.sign(errors[:, second] - errors[:, first])
    untied = np.sqrt(np.abs(s).sum(1) * np.abs(e).sum(1))
    return np.divide((s * e).sum(1), untied, out=np.zeros(len(scores)), where=untied > 0)


def regret(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> Float[np.ndarray, " group"]:
    """Error of the best-scored hypothesis above the least error of its group; of equal first choices the mean."""
    _check(scores, errors)
    first = scores == scores.max(1, keepdims=True)
    return (errors * first).sum(1) / first.sum(1) - errors.min(1)


def pooled_spearman(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> float:
    """Rank correlation over all hypotheses of all groups: what a threshold on scores relies on."""
    _check(scores, errors)
    return float(_correlation(rankdata(scores.ravel())[None], rankdata(-errors.ravel())[None])[0])


def pooled_pearson(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> float:
    """Linear correlation over all hypotheses of all groups."""
    _check(scores, errors)
    return float(_correlation(scores.ravel()[None], -errors.ravel()[None])[0])


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    # Equal values minus their mean are rounding, not an order.
    silent = (np.abs(a).max(1) < 1e-12) | (np.abs(b).max(1) < 1e-12)
    return np.where(silent, 0.0, (a * b).sum(1) / np.where(norm > 0, norm, 1.0))


def _check(scores: np.ndarray, errors: np.ndarray) -> None:
    """Raise InputError for shapes that differ, groups of one, or values that are not finite."""
    if scores.shape != errors.shape or scores.ndim != 2 or scores.shape[1] < 2:
        raise InputError(f"scores {scores.shape} and errors {errors.shape}; expected the same groups of at least 2")
    for name, values in (("score", scores), ("error", errors)):
        broken = np.argwhere(~np.isfinite(values))
        if len(broken):
            raise InputError(f"group {broken[0][0]}, hypothesis {broken[0][1]} has a {name} that is not finite")
