"""From calls to scores of a group: every call has its own level, so calls are tied together by what they share.

| name in code | model of a score: s = item + level + slope * place + noise |
| --- | --- |
| item | quality of a hypothesis, what we want |
| level | of a call; calls of one judge differ by several points, so raw means across windows compare levels |
| place | where in its call a hypothesis was shown, from -1/2 (first) to +1/2 (last) |
| slope | position bias, points between first and last place |

Least squares with item and call effects (the analysis of incomplete block designs, Yates 1936). Levels sum to zero, so
a judge without levels and noise gets its own scores back. Standard errors are of an item against the mean of its
group. Answers to pairs are merged by Bradley and Terry 1952, with a normal prior that keeps strengths finite.

Whether the judge sees a difference at all is decided by an F test of items beside calls and places (Fisher 1925; for
pairs, beside a bias towards the first place): of groups in which it sees none, a share of `alpha` passes. The test is
exact for normal noise, and about right for whole numbers, ties and heavy tails (Pitman 1938).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import expit
from scipy.stats import f as f_distribution

from hmralign.critics.vlm.answers import Preference
from hmralign.critics.vlm.plan import components
from hmralign.structures import Critique, InputError, Verdict
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE

_ROUNDING = 1 / 12
"""Variance of a score from being a whole number, points squared: no judge is less noisy."""
_TINY = 1e-9


@dataclass(frozen=True)
class MergeOptions:
    """How calls become scores."""

    position: Literal["fit", "ignore"] | float = "fit"
    """Position bias: fitted within the group where calls tell it apart from quality, left in, or this slope known from
    elsewhere (`habits.position_bias` over many groups)."""
    disconnected: Literal["refuse", "centre"] = "refuse"
    """Windows that share no hypothesis: an error, or each set of them gets the same mean, as if drawn at random."""
    alpha: float = 0.05
    """A group is informative only where a judge who sees no difference in it would give scores that differ as much in
    no more than this share of all cases, above 0 to 1. 1 lets all noise pass."""
    min_reliability: float = 0.5
    """... and where at least this share of the variance of its merged scores is not noise, 0 to 1: of large groups
    that are judged often it asks for more than `alpha` does."""
    prior_std: float = 2.0
    """Standard deviation of the prior of strengths in pairwise answers (logits)."""

    def __post_init__(self) -> None:
        """Raise InputError for a share that is none."""
        if not 0 <= self.min_reliability <= 1 or not self.prior_std > 0:
            raise InputError(
                f"least reliability {self.min_reliability}, prior {self.prior_std}; expected 0 to 1, and above 0"
            )
        if not 0 < self.alpha <= 1:
            raise InputError(f"alpha is {self.alpha}; expected a share above 0, at most 1")


@dataclass(frozen=True)
class Merged:
    """Scores of a group and how far to trust them.

    `scores` are points on the judge's scale; fitted ones can leave 0..100 by a little, and are not cut, which would
    make ties. `noise` is the standard deviation of one judgement, points. `reliability` is the estimated share of the
    variance of `scores` that is not noise, 0 to 1. `p_value` is the chance of scores that differ as much from a judge
    who sees no difference. Where each hypothesis was judged once nothing is known of the noise: `standard_error`,
    `noise`, `reliability` and `p_value` are NaN, and scores that differ are taken as they are. `position_slope` is NaN
    where it could not be fitted.
    """

    scores: Float[np.ndarray, " hyp"]
    standard_error: Float[np.ndarray, " hyp"]
    informative: bool
    noise: float
    reliability: float
    p_value: float
    levels: Float[np.ndarray, " call"]
    position_slope: float
    position_slope_error: float

    def verdict(self, critiques: Sequence[Critique] = ()) -> Verdict:
        """As what flows on; `critiques` are kept beside it."""
        scores, error = (torch.from_numpy(a).float() for a in (self.scores, self.standard_error))
        return Verdict(scores, error, self.informative, tuple(critiques))


@dataclass(frozen=True)
class Judgements:
    """Scores as rows: which hypothesis, in which call, at which place (-1/2 to 1/2, 0 in a call of one)."""

    item: Int[np.ndarray, " row"]
    call: Int[np.ndarray, " row"]
    place: Float[np.ndarray, " row"]
    score: Float[np.ndarray, " row"]


def judgements(critiques: Sequence[Critique], group_size: int) -> Judgements:
    """Rows of all calls of a group.

    Raises InputError naming a hypothesis that the group has not or that no call judged, and for a call without any.
    """
    rows: list[tuple[int, int, float, float]] = []
    for number, critique in enumerate(critiques):
        last = len(critique.findings) - 1
        if last < 0:
            raise InputError(f"call {number} judged nothing; expected at least one hypothesis")
        rows += [
            (f.hypothesis, number, k / last - 0.5 if last else 0.0, f.score) for k, f in enumerate(critique.findings)
        ]
    item = np.array([row[0] for row in rows], np.int64)
    wrong = item[(item < 0) | (item >= group_size)]
    if len(wrong):
        raise InputError(f"a call judged hypothesis {wrong[0]}; the group has 0 to {group_size - 1}")
    missing = np.setdiff1d(np.arange(group_size), item)
    if len(missing):
        raise InputError(f"no call judged hypothesis {missing[0]}; expected a judgement of each of {group_size}")
    call, place, score = (np.array([row[k] for row in rows]) for k in (1, 2, 3))
    return Judgements(item, call.astype(np.int64), place.astype(np.float64), score.astype(np.float64))


def merge(critiques: Sequence[Critique], group_size: int, options: MergeOptions | None = None) -> Merged:
    """Scores of a group by least squares with item, call and position effects.

    The order of calls and the numbering of hypotheses change nothing but rounding. Raises InputError as `judgements`,
    for a group of one, and for calls that do not hang together unless the options say what to do then.
    """
    options = options or MergeOptions()
    if group_size < 2:
        raise InputError(f"a group of {counted(group_size, 'hypothesis')} cannot be compared; expected at least 2")
    rows = judgements(critiques, group_size)
    sets = components([[f.hypothesis for f in c.findings] for c in critiques], group_size)
    if len(sets) > 1 and options.disconnected == "refuse":
        raise InputError(
            f"hypotheses {sets[0][0]} and {sets[1][0]} are in calls that share no hypothesis, so their scores do not "
            "compare; expected another partition, or the option to give such sets one mean"
        )
    fit = _fit(rows, group_size, len(critiques), options.position)
    items, levels = _on_one_scale(fit.items, fit.levels, rows, sets)
    return Merged(
        items, _errors(fit, sets), _informative(items, fit.reliability, fit.p_value, options),
        float(np.sqrt(fit.variance)), fit.reliability, fit.p_value, levels, fit.slope, fit.slope_error,
    )  # fmt: skip


@dataclass(frozen=True)
class _Fit:
    """Least squares before the scale is fixed; `item_covariance` is for noise of variance 1."""

    items: np.ndarray
    levels: np.ndarray
    item_covariance: np.ndarray
    variance: float
    reliability: float
    p_value: float
    slope: float
    slope_error: float


def _fit(rows: Judgements, group_size: int, calls: int, position: Literal["fit", "ignore"] | float) -> _Fit:
    effects = np.zeros((len(rows.score), group_size + calls))
    effects[np.arange(len(rows.score)), rows.item] = 1
    effects[np.arange(len(rows.score)), group_size + rows.call] = 1
    U, sizes, Vt = np.linalg.svd(effects, full_matrices=False)
    rank = int((sizes > sizes[0] * 1e-10).sum())
    U, inverse = U[:, :rank], (Vt[:rank].T / sizes[:rank])  # parameters = inverse @ (U.T @ score)

    # The place beside items and calls (Frisch and Waugh 1933): what of it they do not explain carries the slope.
    rest = rows.place - U @ (U.T @ rows.place)
    power = float(rest @ rest)
    fitted = position == "fit" and power > _TINY * len(rest)
    slope = float(rest @ rows.score) / power if fitted else float("nan")
    known = slope if fitted else (0.0 if isinstance(position, str) else float(position))
    left = rows.score - known * rows.place
    parameters = inverse @ (U.T @ left)
    residual = left - U @ (U.T @ left)

    freedom = len(left) - rank - int(fitted)
    variance = max(float(residual @ residual) / freedom, _ROUNDING) if freedom else float("nan")
    covariance = inverse[:group_size] @ inverse[:group_size].T
    if fitted:
        moved = inverse[:group_size] @ (U.T @ rows.place)
        covariance = covariance + np.outer(moved, moved) / power
    reliability = _reliability(rows, calls, left, rank, float(residual @ residual), variance)
    p_value = _p_value(_without_items(rows, calls, left, fitted), float(residual @ residual), rank - calls, freedom)
    slope_error = float(np.sqrt(variance / power)) if fitted else float("nan")
    if not isinstance(position, str):
        slope = known
    return _Fit(
        parameters[:group_size], parameters[group_size:], covariance, variance, reliability, p_value, slope, slope_error
    )


def _reliability(rows: Judgements, calls: int, left: np.ndarray, rank: int, residual: float, variance: float) -> float:
    """1 - 1/F, F the mean square of items (given the calls) over that of the noise: the share that is not noise."""
    sums, counts = np.bincount(rows.call, left, calls), np.bincount(rows.call, minlength=calls)
    within = left - (sums / counts)[rows.call]
    between_items, freedom = float(within @ within) - residual, rank - calls
    if np.isnan(variance) or freedom < 1:
        return float("nan")
    F = between_items / freedom / variance
    return max(0.0, 1 - 1 / F) if F > 0 else 0.0


def _without_items(rows: Judgements, calls: int, left: np.ndarray, fitted: bool) -> float:
    """Sum of squares that calls, and places where these are fitted, leave of the scores if all items are equal."""
    counts = np.bincount(rows.call, minlength=calls)
    score, place = (v - (np.bincount(rows.call, v, calls) / counts)[rows.call] for v in (left, rows.place))
    power = float(place @ place)
    if fitted and power > _TINY:
        score = score - float(place @ score) / power * place
    return float(score @ score)


def _p_value(without: float, residual: float, items: int, freedom: int, least: float = _ROUNDING) -> float:
    """Chance of an F as large if all items are equal, from sums of squares without and with `items` of them.

    NaN where nothing is left to know the noise by; `least` is the smallest variance that noise is taken to have.
    """
    if items < 1 or freedom < 1:
        return float("nan")
    F = (without - residual) / items / max(residual / freedom, least)
    return float(f_distribution.sf(max(F, 0.0), items, freedom))


def _on_one_scale(
    items: np.ndarray, levels: np.ndarray, rows: Judgements, sets: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Levels that sum to zero; where sets do not hang together, each has the mean of all scores."""
    items, levels = items.copy(), levels.copy()
    for members in sets:
        calls = np.unique(rows.call[np.isin(rows.item, members)])
        mean = items[list(members)].mean()
        shift = levels[calls].mean() if len(sets) == 1 else rows.score.mean() - mean
        items[list(members)] += shift
        levels[calls] -= shift
    # Equal scores come out equal, not apart by rounding: ties are ties.
    return np.round(items, 9), levels


def _errors(fit: _Fit, sets: Sequence[Sequence[int]]) -> np.ndarray:
    """Standard error of each item against the mean of its set."""
    contrast = np.eye(len(fit.items))
    for members in sets:
        contrast[np.ix_(members, members)] -= 1 / len(members)
    spread = np.einsum("ij,jk,ik->i", contrast, fit.item_covariance, contrast)
    return np.sqrt(np.maximum(spread, 0) * fit.variance)


def _informative(items: np.ndarray, reliability: float, p_value: float, options: MergeOptions) -> bool:
    """Whether items differ, and by more than noise where noise is known."""
    if np.ptp(items) <= _TINY * HIGHEST_SCORE:
        return False
    beyond_chance = np.isnan(p_value) or p_value <= options.alpha
    return bool(beyond_chance and (np.isnan(reliability) or reliability >= options.min_reliability))


# -- for comparison ---------------------------------------------------------------------------------------------------


def mean_scores(critiques: Sequence[Critique], group_size: int) -> Float[np.ndarray, " hyp"]:
    """Mean of raw scores: right for one call or whole permutations, wrong across windows."""
    rows = judgements(critiques, group_size)
    return np.bincount(rows.item, rows.score, group_size) / np.bincount(rows.item, minlength=group_size)


def mean_z_scores(critiques: Sequence[Critique], group_size: int) -> Float[np.ndarray, " hyp"]:
    """Mean of scores standardised within their call; a call of equal scores gives zeros."""
    rows = judgements(critiques, group_size)
    counts = np.bincount(rows.call)
    within = rows.score - (np.bincount(rows.call, rows.score) / counts)[rows.call]
    std = np.sqrt(np.bincount(rows.call, within**2) / counts)[rows.call]
    z = np.divide(within, std, out=np.zeros_like(within), where=std > 0)
    return np.bincount(rows.item, z, group_size) / np.bincount(rows.item, minlength=group_size)


# -- pairs ------------------------------------------------------------------------------------------------------------


def induced_preferences(critiques: Sequence[Critique]) -> tuple[Preference, ...]:
    """Every pair within a call as an answer to a pair; equal scores are ties."""
    return tuple(
        Preference(a.hypothesis, b.hypothesis, 0.5 + 0.5 * float(np.sign(a.score - b.score)))
        for critique in critiques
        for k, a in enumerate(critique.findings)
        for b in critique.findings[k + 1 :]
    )


def merge_preferences(
    preferences: Sequence[Preference], group_size: int, options: MergeOptions | None = None
) -> Merged:
    """Scores of a group from answers to pairs: 100 times the chance to win against another of the group.

    A tie counts as half a win. With position "fit" a bias towards the first place is a parameter of its own where
    pairs tell it; `position_slope` is then that bias in logits, negative where the first is favoured, and `levels` is
    empty. Answers are taken for independent. Where items and bias explain any answers, as with one neighbour on either
    side, `p_value` is NaN and the reliability, from the prior, decides alone. Raises InputError for a hypothesis in no
    pair, and for pairs that do not hang together unless the options give such sets one mean (the prior does).
    """
    options = options or MergeOptions()
    first, second, wins = _pair_arrays(preferences, group_size)
    sets = components(list(zip(first.tolist(), second.tolist(), strict=True)), group_size)
    if len(sets) > 1 and options.disconnected == "refuse":
        raise InputError(f"hypotheses {sets[0][0]} and {sets[1][0]} are joined by no chain of pairs; expected one")
    X = np.zeros((len(wins), group_size + 1))
    X[np.arange(len(wins)), first] += 1
    X[np.arange(len(wins)), second] -= 1
    X[:, -1] = float(options.position == "fit")
    known = 0.0 if isinstance(options.position, str) else -float(options.position)
    strengths, covariance = _bradley_terry(X, wins, known, options.prior_std)
    scores, slopes = _win_chances(strengths[:-1])
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, covariance[:-1, :-1], slopes), 0))
    signal, noise = float(scores.var()), float((error**2).mean())
    reliability = signal / (signal + noise) if signal + noise > 0 else 0.0
    fitted = options.position == "fit"
    bias = -float(strengths[-1]) if fitted else (float("nan") if options.position == "ignore" else -known)
    bias_error = float(np.sqrt(covariance[-1, -1])) if fitted else float("nan")
    p_value = _pairs_p_value(X[:, :-1], wins - expit(known), fitted)
    informative = _informative(scores, reliability, p_value, options)
    return Merged(scores, error, informative, float("nan"), reliability, p_value, np.zeros(0), bias, bias_error)


def _pairs_p_value(X: np.ndarray, left: np.ndarray, fitted: bool) -> float:
    """F test of the items on answers minus the chance that equal items have; beside a bias where it is fitted."""
    left, X = (left - left.mean(), X - X.mean(0)) if fitted else (left, X)
    U, sizes, _ = np.linalg.svd(X, full_matrices=False)
    rank = int((sizes > sizes[0] * 1e-10).sum())
    along = U[:, :rank].T @ left
    without = float(left @ left)
    freedom = len(left) - rank - int(fitted)
    return _p_value(without, max(without - float(along @ along), 0.0), rank, freedom, _TINY)


def _pair_arrays(preferences: Sequence[Preference], group_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first = np.array([p.first for p in preferences], np.int64)
    second = np.array([p.second for p in preferences], np.int64)
    both = np.concatenate([first, second])
    wrong = both[(both < 0) | (both >= group_size)]
    if len(wrong):
        raise InputError(f"a pair has hypothesis {wrong[0]}; the group has 0 to {group_size - 1}")
    missing = np.setdiff1d(np.arange(group_size), both)
    if len(missing):
        raise InputError(f"no pair has hypothesis {missing[0]}; expected each of {group_size} in at least one")
    return first, second, np.array([p.first_wins for p in preferences])


def _bradley_terry(X: np.ndarray, wins: np.ndarray, known: float, prior_std: float) -> tuple[np.ndarray, np.ndarray]:
    """Most probable strengths and their covariance, by Newton's method on a convex function."""
    strengths, precision = np.zeros(X.shape[1]), 1 / prior_std**2
    for _ in range(100):
        chance = expit(X @ strengths + known)
        gradient = X.T @ (chance - wins) + precision * strengths
        hessian = X.T @ (X * (chance * (1 - chance))[:, None]) + precision * np.eye(X.shape[1])
        step = np.linalg.solve(hessian, gradient)
        # Damped: far from the answer the curvature is small and a full step would leap.
        strengths = strengths - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    chance = expit(X @ strengths + known)
    hessian = X.T @ (X * (chance * (1 - chance))[:, None]) + precision * np.eye(X.shape[1])
    return strengths, np.linalg.inv(hessian)


def _win_chances(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """100 times the mean chance to win against the others, and its derivatives."""
    chance = expit(strengths[:, None] - strengths[None, :])
    others = len(strengths) - 1
    scores = HIGHEST_SCORE * (chance.sum(1) - 0.5) / others
    slopes = -HIGHEST_SCORE * chance * (1 - chance) / others
    np.fill_diagonal(slopes, 0.0)
    np.fill_diagonal(slopes, -slopes.sum(1))
    return scores, slopes
