"""How far a critic's scores may be trusted: scores beside errors, measured group by group and over everything.

| measure | of each group, then the mean over groups | pooled over all hypotheses |
| --- | --- | --- |
| `srcc` | Spearman's rank correlation | yes |
| `plcc` | Pearson's linear correlation | yes |
| `plcc_logistic` | the same after one logistic of four parameters for all groups (VQEG 2000, sec. 4.2) | yes |
| `kendall` | tau-b | yes, without an interval |
| `regret_mm` | error of the first choice above the least of its group, mm | |
| `pair_accuracy` | pairs in the right order; equal scores count a half, pairs with equal errors not at all | |
| `tie_rate` | pairs of hypotheses with equal scores | |
| `levels` | different scores in a group | different scores in all |
| `silent` | groups whose scores are all equal: they count as correlation 0 | |

Protocol `adhmr-pooled`, as ADHMR tests its critic (files of one prediction an instance; Shen et al. 2025, table 1): one
hypothesis of each group, drawn once, SRCC and PLCC over these. Figures of it do not compare with those per group.

Per group is what preference training uses; pooled is what a threshold relies on. Intervals draw clusters (a person, or
all persons of a photo) with replacement. The logistic is fitted on the very scores that it is measured on, once, which
flatters a little where there are few of them; it may rise only, so that a critic that is upside down gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.special import expit
from scipy.stats import kendalltau

from hmralign.metrics.intervals import Interval, cluster_counts, cluster_interval, replicate_interval
from hmralign.metrics.ranking import kendall, pearson, pooled_pearson, pooled_spearman, regret, spearman
from hmralign.structures import InputError
from hmralign.structures.counted import counted

COMPARED = ("srcc", "plcc_logistic", "kendall", "regret_mm", "pair_accuracy")
"""Measures of which differences to a reference are given."""

_ADHMR = 2025
"""Keeps the draws of `adhmr-pooled` apart from those of the bootstrap."""


@dataclass(frozen=True)
class Logistic:
    """`low + rise * expit((z - centre) / width)` of the standardised score z: metres of minus error, never falling."""

    mean: float
    std: float
    low: float
    rise: float
    centre: float
    width: float

    def __call__(self, scores: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
        """Expected minus error of scores of any shape, metres."""
        z = (scores - self.mean) / self.std
        return self.low + self.rise * expit((z - self.centre) / self.width)


@dataclass(frozen=True)
class CriticAudit:
    """What was measured of one critic."""

    groups: int
    clusters: int
    per_group: dict[str, Interval]
    pooled: dict[str, Interval]
    """`srcc`, `plcc`, `plcc_logistic`."""
    pooled_kendall: float
    pooled_levels: int
    adhmr_pooled: dict[str, Interval]
    """`srcc`, `plcc` over one hypothesis of each group."""
    difference: dict[str, Interval] | None = None
    """Difference in `COMPARED`, per group, to the reference critic on the same groups."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON; an interval is (mean, low, high)."""

        def plain(intervals: dict[str, Interval]) -> dict[str, list[float]]:
            return {n: [round(float(v), 5) for v in (i.mean, i.low, i.high)] for n, i in intervals.items()}

        pooled: dict[str, Any] = plain(self.pooled)
        pooled |= {"kendall": round(self.pooled_kendall, 5), "levels": self.pooled_levels}
        compared = None if self.difference is None else plain(self.difference)
        return {
            "groups": self.groups,
            "clusters": self.clusters,
            "per_group": plain(self.per_group),
            "pooled": pooled,
            "adhmr_pooled": plain(self.adhmr_pooled),
            "difference": compared,
        }


def audit_critic(
    scores: Float[np.ndarray, "group hyp"],
    errors: Float[np.ndarray, ...],
    clusters: Sequence[str] | None = None,
    reference: Float[np.ndarray, ...] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> CriticAudit:
    """Measure scores (higher is better) against errors (metres) of the same shape.

    `clusters` names the cluster of each group (by default each is its own); `reference` are another critic's scores.
    The same seed draws the same clusters whatever is measured. Raises InputError for shapes that differ, groups of one,
    values that are not finite, and another number of clusters than groups.
    """
    measured = group_measures(scores, errors)
    counts = cluster_counts(_numbered(clusters, len(scores)), draws, seed)
    difference = None
    if reference is not None:
        others = group_measures(reference, errors)
        difference = {n: cluster_interval(measured[n] - others[n], counts) for n in COMPARED}
    mapped = fit_logistic(scores, errors)(scores)
    return CriticAudit(
        groups=len(scores),
        clusters=len(set(clusters)) if clusters is not None else len(scores),
        per_group={name: cluster_interval(values, counts) for name, values in measured.items()},
        pooled={
            "srcc": _pooled_srcc(scores, errors, counts),
            "plcc": _pooled_plcc(scores, errors, counts),
            "plcc_logistic": _pooled_plcc(mapped, errors, counts),
        },
        pooled_kendall=_pooled_kendall(scores, errors),
        pooled_levels=len(np.unique(scores)),
        adhmr_pooled=one_per_instance(scores, errors, counts, seed),
        difference=difference,
    )


def group_measures(
    scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]
) -> dict[str, Float[np.ndarray, " group"]]:
    """Every measure of the table, a number per group. Raises InputError as `audit_critic`."""
    order = spearman(scores, errors)  # refuses what cannot be measured, before anything is fitted
    first, second = np.triu_indices(scores.shape[1], 1)
    by_score = np.sign(scores[:, first] - scores[:, second])
    by_error = np.sign(errors[:, second] - errors[:, first])
    counted = (by_error != 0).sum(1)
    right = ((1 + by_score * by_error) / 2 * (by_error != 0)).sum(1)
    levels = 1.0 + (np.diff(np.sort(scores, axis=1), axis=1) > 0).sum(1)
    return {
        "srcc": order,
        "plcc": pearson(scores, errors),
        "plcc_logistic": pearson(fit_logistic(scores, errors)(scores), errors),
        "kendall": kendall(scores, errors),
        "regret_mm": 1000 * regret(scores, errors),
        "pair_accuracy": np.divide(right, counted, out=np.full(len(scores), 0.5), where=counted > 0),
        "tie_rate": (by_score == 0).mean(1),
        "levels": levels,
        "silent": (levels == 1).astype(np.float64),
    }


def fit_logistic(scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...]) -> Logistic:
    """Least squares fit of minus errors by scores; constant where scores say nothing or are upside down."""
    x, y = scores.ravel().astype(np.float64), -errors.ravel().astype(np.float64)
    spread, scale = float(x.std()), float(y.std())
    if spread < 1e-12 or scale < 1e-12:
        return Logistic(float(x.mean()), 1.0, float(y.mean()), 0.0, 0.0, 1.0)
    z, target = (x - x.mean()) / spread, (y - y.mean()) / scale

    def residuals(p: np.ndarray) -> np.ndarray:
        return p[0] + p[1] * expit((z - p[2]) / np.exp(p[3])) - target

    lowest, highest = [-1e3, 0.0, float(z.min()) - 1, -4.0], [1e3, 2e3, float(z.max()) + 1, 5.0]
    low, rise, centre, log_width = least_squares(residuals, [-2.0, 4.0, 0.0, 0.0], bounds=(lowest, highest)).x
    return Logistic(
        float(x.mean()), spread, float(y.mean() + scale * low), float(scale * rise), float(centre),
        float(np.exp(log_width)),
    )  # fmt: skip


def _numbered(clusters: Sequence[str] | None, groups: int) -> np.ndarray:
    if clusters is None:
        return np.arange(groups)
    if len(clusters) != groups:
        raise InputError(f"{counted(len(clusters), 'cluster')} for {counted(groups, 'group')}; expected one for each")
    number = {name: k for k, name in enumerate(dict.fromkeys(clusters))}
    return np.array([number[name] for name in clusters])


# -- pooled ------------------------------------------------------------------------------------------------------------


def one_per_instance(
    scores: Float[np.ndarray, "group hyp"], errors: Float[np.ndarray, ...], counts: np.ndarray, seed: int
) -> dict[str, Interval]:
    """`srcc` and `plcc` over instances, one hypothesis of each drawn by the seed: the protocol `adhmr-pooled`.

    `counts` (draw, group) are the bootstrap's. Raises InputError as `audit_critic`.
    """
    rows = np.arange(len(scores))
    taken = np.random.default_rng([seed, _ADHMR]).integers(scores.shape[1], size=len(scores))
    one, error = scores[rows, taken][:, None], errors[rows, taken][:, None]
    everyone = np.ones(len(rows))
    mean = {"srcc": _weighted_srcc, "plcc": _weighted_plcc}
    return {
        name: replicate_interval(
            measure(one, error, everyone), np.array([measure(one, error, w) for w in _weights(one, counts)])
        )
        for name, measure in mean.items()
    }


def _weighted_srcc(scores: np.ndarray, errors: np.ndarray, weight: np.ndarray) -> float:
    (sx, x), (sy, y) = (np.unique(v.ravel(), return_inverse=True) for v in (scores, -errors))
    return _weighted_correlation(_mean_ranks(x, weight, len(sx)), _mean_ranks(y, weight, len(sy)), weight)


def _weighted_plcc(scores: np.ndarray, errors: np.ndarray, weight: np.ndarray) -> float:
    return _weighted_correlation(scores.ravel(), -errors.ravel(), weight)


def _pooled_srcc(scores: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> Interval:
    replicates = [_weighted_srcc(scores, errors, weight) for weight in _weights(scores, counts)]
    return replicate_interval(pooled_spearman(scores, errors), np.array(replicates))


def _mean_ranks(slot: np.ndarray, weight: np.ndarray, levels: int) -> np.ndarray:
    """Rank of each value where each counts `weight` times; equal values share their mean rank."""
    of_level = np.bincount(slot, weight, minlength=levels)
    return (np.cumsum(of_level) - of_level / 2)[slot]


def _pooled_plcc(scores: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> Interval:
    replicates = [_weighted_plcc(scores, errors, weight) for weight in _weights(scores, counts)]
    return replicate_interval(pooled_pearson(scores, errors), np.array(replicates))


def _weights(scores: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    for row in counts:
        yield np.repeat(row, scores.shape[1]).astype(np.float64)


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    norm = np.sqrt((weight * x * x).sum() * (weight * y * y).sum())
    silent = min(np.abs(x[weight > 0]).max(), np.abs(y[weight > 0]).max()) < 1e-12
    return 0.0 if silent or norm == 0 else float((weight * x * y).sum() / norm)


def _pooled_kendall(scores: np.ndarray, errors: np.ndarray) -> float:
    if np.ptp(scores) == 0 or np.ptp(errors) == 0:
        return 0.0
    found: Any = kendalltau(scores.ravel(), -errors.ravel())  # SciPy's stubs do not know its result
    return float(found.statistic)
