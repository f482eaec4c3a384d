"""Which labels are kept, and why the others are not.  Source: ADHMR (Shen et al. 2025) sec. 4.5: `s_i >= tau` stays.

name in code    symbol in the paper
scores          s_i
threshold       tau, 0.6 in sec. 5.4
keep            membership of X_clean
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from hmralign.structures import InputError
from hmralign.structures.counted import counted

PAPER_THRESHOLD = 0.6
"""tau of ADHMR sec. 5.4, for scores in [0, 1]."""

OUTLIER_DEVIATIONS = 2.5
"""A usual distance of outliers: of normally distributed scores of good labels it drops one in 160."""

DEFAULT_MARGINS = {"scorer": 0.03, "scorer-lab": 0.06}
"""Margins of the shipped scorers: the best mean F1 over seven kinds of bad labels at 5, 15 and 40 % in lab/val and
wild/val (`docs/results/cleaning_rules.md`)."""

FEWEST_FOR_OUTLIERS = 20
"""Judged labels without which nothing can be said of what is usual."""

NO_EVIDENCE = "not judged: the critic has no evidence on it"
"""Reason of labels on which a critic has nothing to say."""


@dataclass(frozen=True)
class KeepRule:
    """What a label must reach: a score, a place among the others, a usual score, or nearly what a model's samples score
    on the same keypoints. Exactly one of the four."""

    threshold: float | None = None
    """Least score that is kept, in the critic's unit."""
    keep_share: float | None = None
    """Share of the judged labels that is kept, the best ones; in (0, 1]."""
    outliers: float | None = None
    """Labels are dropped whose score lies so many robust standard deviations below the most common one."""
    margin: float | None = None
    """Labels are dropped whose score lies more than this below the mean score of samples on the same keypoints."""

    def __post_init__(self) -> None:
        """Raise InputError for none or several, and for values that choose nothing."""
        if sum(value is not None for value in (self.threshold, self.keep_share, self.outliers, self.margin)) != 1:
            raise InputError("a rule is a threshold, a share, a distance of outliers or a margin; expected exactly one")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise InputError(f"threshold is {self.threshold}; expected a finite number")
        if self.keep_share is not None and not 0 < self.keep_share <= 1:
            raise InputError(f"share to keep is {self.keep_share}; expected more than 0 and at most 1")
        if self.outliers is not None and not 0 < self.outliers < math.inf:
            raise InputError(f"distance of outliers is {self.outliers}; expected a positive finite number")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise InputError(f"margin is {self.margin}; expected a finite number of at least 0")

    def threshold_of(self, levels: Float[np.ndarray, " judged"]) -> float:
        """Least level that is kept of these: scores, or for a margin their distances from the samples' mean."""
        if self.margin is not None:
            return -self.margin
        if self.threshold is not None:
            return self.threshold
        if self.keep_share is not None:
            return share_threshold(levels, self.keep_share)
        assert self.outliers is not None
        return outlier_threshold(levels, self.outliers)

    def __str__(self) -> str:
        """What stands behind a threshold that was found; nothing for one that was given."""
        if self.keep_share is not None:
            return f"the best {100 * self.keep_share:g} %"
        if self.margin is not None:
            return "against the mean of samples on the same keypoints"
        return "" if self.outliers is None else f"{self.outliers:g} deviations below the usual"


@dataclass(frozen=True)
class Selection:
    """What a rule made of scores."""

    keep: Bool[np.ndarray, " item"]
    judged: Bool[np.ndarray, " item"]
    """Labels on which the critic had evidence."""
    levels: Float[np.ndarray, " item"]
    """What was held against the threshold: scores, or for a margin their distances from the samples' mean."""
    threshold: float
    """Least level that is kept: given, or found from the share."""
    ties: int
    """Judged labels whose level is the threshold; all of them are kept."""
    reasons: tuple[str | None, ...]
    """Why each label was dropped; None for those that are kept."""


def select(
    scores: Float[np.ndarray, " item"],
    rule: KeepRule,
    *,
    judged: Bool[np.ndarray, ...] | None = None,
    keep_unjudged: bool = False,
    parts: Mapping[str, Float[np.ndarray, ...]] | None = None,
    reference: Float[np.ndarray, ...] | None = None,
) -> Selection:
    """Keep the labels whose score is at least the threshold that the rule gives or finds.

    Equal scores share one fate: with `keep_share` all labels that tie with the last one kept stay too, so that the
    order of the items never matters and a little more than the share may be kept. `judged` marks labels on which the
    critic had evidence (all by default): the others have no score, count in no share, and go unless `keep_unjudged`.
    `parts` are the scores of a mix's parts, NaN where a part had nothing to say; they are told in the reasons.
    `reference` are the mean scores of samples on each label's keypoints (`cleaning.reference`), which a margin needs.

    Raises InputError for no items, a judged score that is NaN or infinite, parts or references of another number of
    items, a share of no judged label, outliers among too few, and a margin without reference.
    """
    scores = np.asarray(scores, np.float64)
    judged = np.ones(len(scores), bool) if judged is None else judged
    levels = scores - _reference_of(rule, reference, len(scores))
    _check(levels, judged, parts or {})
    threshold = rule.threshold_of(levels[judged])
    keep = np.where(judged, np.where(judged, levels, -np.inf) >= threshold, keep_unjudged)
    reasons = [None if k else NO_EVIDENCE for k in keep]
    for item in np.flatnonzero(judged & ~keep).tolist():
        reasons[item] = _reason(float(levels[item]), threshold, rule) + _said_by(parts or {}, item)
    ties = int((levels[judged] == threshold).sum())
    return Selection(keep, judged, levels, float(threshold), ties, tuple(reasons))


def share_threshold(scores: Float[np.ndarray, " item"], keep_share: float) -> float:
    """Least score among the best `keep_share` of them (rounded to a whole number of items, at least one)."""
    if len(scores) == 0:
        raise InputError("no label could be judged, so there is no best share of them; choose another critic")
    kept = max(1, round(keep_share * len(scores)))
    return float(np.sort(scores)[len(scores) - kept])


def outlier_threshold(scores: Float[np.ndarray, " item"], deviations: float = OUTLIER_DEVIATIONS) -> float:
    """The most common score less so many standard deviations of good labels, both measured where bad labels are few.

    The mode is the half-sample mode (Bickel & Fruehwirth 2006), which as many as half of the labels cannot move far.
    Bad labels lie below it, so the deviation is that of the scores above: 1.4826 times their median distance. Where the
    best possible score is itself the most common one, nothing lies above it, and every label of less is an outlier.

    Raises InputError for fewer than 20 scores.
    """
    if len(scores) < FEWEST_FOR_OUTLIERS:
        raise InputError(
            f"{counted(len(scores), 'judged label')}: too few to tell what is usual (at least {FEWEST_FOR_OUTLIERS}); "
            "give a threshold or a share to keep"
        )
    mode = half_sample_mode(np.sort(np.asarray(scores, np.float64)))
    above = scores[scores >= mode] - mode
    return float(mode - deviations * 1.4826 * np.median(above))


def half_sample_mode(ordered: Float[np.ndarray, " item"]) -> float:
    """Where sorted values are densest: the half of them that lies closest together, again and again."""
    while len(ordered) > 2:
        half = math.ceil(len(ordered) / 2)
        width = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(width.argmin())
        ordered = ordered[start : start + half]
    return float(ordered.mean())


def _reference_of(rule: KeepRule, reference: np.ndarray | None, items: int) -> np.ndarray:
    """What scores are held against: the reference for a margin, nothing for the other rules."""
    if rule.margin is None:
        return np.zeros(items)
    if reference is None:
        raise InputError("a margin is held against scores of samples on the same keypoints, and there are none")
    if len(reference) != items:
        raise InputError(f"{counted(len(reference), 'reference score')} for {items} items")
    return np.asarray(reference, np.float64)


def _check(scores: np.ndarray, judged: np.ndarray, parts: Mapping[str, np.ndarray]) -> None:
    if len(scores) == 0:
        raise InputError("there are no scores to select by")
    if len(judged) != len(scores):
        raise InputError(f"{counted(len(judged), 'mark')} of judged labels for {counted(len(scores), 'score')}")
    broken = np.flatnonzero(judged & ~np.isfinite(scores))
    if len(broken):
        raise InputError(f"item {broken[0]} has the score {scores[broken[0]]}; expected finite scores")
    for name, values in parts.items():
        if len(values) != len(scores):
            raise InputError(f"part '{name}' has {counted(len(values), 'score')} for {counted(len(scores), 'item')}")


def _reason(score: float, threshold: float, rule: KeepRule) -> str:
    """`score 0.31 < 0.60`, with as many digits as tell the two apart."""
    for digits in range(2, 17):
        said, bound = f"{score:.{digits}f}", f"{threshold:.{digits}f}"
        if said != bound:
            break
    else:
        said, bound = repr(score), repr(threshold)
    what = "score" if rule.margin is None else "score less the samples'"
    return f"{what} {said} < {bound}" + (f" ({rule})" if str(rule) else "")


def _said_by(parts: Mapping[str, np.ndarray], item: int) -> str:
    """What each part of a mix said; nothing where the critic has no parts."""
    heard = [f"{name} {values[item]:.2f}" for name, values in parts.items() if np.isfinite(values[item])]
    silent = [name for name, values in parts.items() if not np.isfinite(values[item])]
    if not parts:
        return ""
    return "; " + ", ".join([*heard, *(f"nothing from {name}" for name in silent)])
