"""Habits of a judge that have nothing to do with quality: places it favours, order it reverses, numbers it likes.

All are found without truth, from calls that judged the same hypotheses.

| measure | |
| --- | --- |
| position bias | points between first and last place, items and calls taken out, pooled over groups |
| flip rate | share of reversed orders among pairs that two calls both put in an order |
| tie rate | share of equal scores among pairs of one call |
| levels | different scores used; share of multiples of 5; entropy of the scores in bits |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hmralign.critics.vlm.merge import judgements
from hmralign.structures import Critique, InputError


@dataclass(frozen=True)
class PositionBias:
    """Points between the first and the last place of a call; positive where later places are favoured.

    NaN where calls cannot tell place from quality. The standard error takes groups as independent; NaN for fewer than
    two.
    """

    slope: float
    standard_error: float


@dataclass(frozen=True)
class JudgeHabits:
    """Habits over several groups; shares are between 0 and 1, NaN where there was nothing to count."""

    groups: int
    calls: int
    position: PositionBias
    flip_rate: float
    tie_rate: float
    levels_used: int
    share_of_fives: float
    """Scores that are multiples of 5; a fifth of them are where numbers are not favoured."""
    entropy_bits: float


def judge_habits(groups: Sequence[Sequence[Critique]], group_size: int) -> JudgeHabits:
    """Habits of a judge; each group is its calls. Raises InputError where there is none, and as `merge.judgements`."""
    scores = np.array([f.score for calls in groups for call in calls for f in call.findings])
    if not len(scores):
        raise InputError("there are no judgements to look for habits in; expected at least one call")
    counts = np.unique(scores, return_counts=True)[1]
    shares = counts / counts.sum()
    return JudgeHabits(
        groups=len(groups),
        calls=sum(len(calls) for calls in groups),
        position=position_bias(groups, group_size),
        flip_rate=_flip_rate(groups, group_size),
        tie_rate=_tie_rate(groups),
        levels_used=len(counts),
        share_of_fives=float((scores % 5 == 0).mean()),
        entropy_bits=float(-(shares * np.log2(shares)).sum()),
    )


def position_bias(groups: Sequence[Sequence[Critique]], group_size: int) -> PositionBias:
    """Slope of scores over places with items and calls of each group taken out (least squares over all groups)."""
    products, powers = np.zeros(len(groups)), np.zeros(len(groups))
    for number, calls in enumerate(groups):
        rows = judgements(calls, group_size)
        effects = np.zeros((len(rows.score), group_size + len(calls)))
        effects[np.arange(len(rows.score)), rows.item] = 1
        effects[np.arange(len(rows.score)), group_size + rows.call] = 1
        rest = rows.place - effects @ np.linalg.lstsq(effects, rows.place, rcond=None)[0]
        products[number], powers[number] = rest @ rows.score, rest @ rest
    if powers.sum() < 1e-9 * max(1, len(groups)):
        return PositionBias(float("nan"), float("nan"))
    slope = products.sum() / powers.sum()
    if len(groups) < 2:
        return PositionBias(float(slope), float("nan"))
    # Sandwich over groups: noise differs between them.
    left = products - slope * powers
    return PositionBias(float(slope), float(np.sqrt((left**2).sum() * len(groups) / (len(groups) - 1)) / powers.sum()))


def _flip_rate(groups: Sequence[Sequence[Critique]], group_size: int) -> float:
    flipped = ordered = 0
    for calls in groups:
        orders = [_order(call, group_size) for call in calls]
        for a, b in combinations(orders, 2):
            ordered += int(np.count_nonzero(a * b))
            flipped += int((a * b < 0).sum())
    return flipped / ordered if ordered else float("nan")


def _order(call: Critique, group_size: int) -> np.ndarray:
    """Sign of the difference of every pair in a call; 0 for ties and pairs that are not in it."""
    scores = np.full(group_size, np.nan)
    scores[[f.hypothesis for f in call.findings]] = [f.score for f in call.findings]
    first, second = np.triu_indices(group_size, 1)
    return np.nan_to_num(np.sign(scores[first] - scores[second]))


def _tie_rate(groups: Sequence[Sequence[Critique]]) -> float:
    tied = pairs = 0
    for calls in groups:
        for call in calls:
            scores = np.array([f.score for f in call.findings])
            pairs += len(scores) * (len(scores) - 1) // 2
            tied += int((np.triu(scores[:, None] == scores[None, :], 1)).sum())
    return tied / pairs if pairs else float("nan")
