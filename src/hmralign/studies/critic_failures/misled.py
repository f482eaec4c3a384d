"""What critics are misled by: the regret of their favourites by kind of mistake, and pairs that differ by one kind.

**Regret.** A favourite's error above the least of its group is a sum over segments. Each goes to one of `TERMS`: the
kind of the favourite's mistake where the best of the group does not make that kind there, `same kind` where both make
it, `no mistake` where the favourite makes none (which may be less than nothing: there the best may err). Their sum is
the regret, without a remainder. Of equal first choices it is the mean, so that a silent critic is worth chance.

**Pairs.** Two hypotheses of a person, at least `LEAST_GAP` apart; segments go to terms in the same way, those without a
mistake of the worse one to the kind of the better one's. A pair differs mainly by one kind of the worse one when that
term is at least two thirds of the sizes of all. The right answer is to prefer the better one; equal scores count a
half. A pair is `hidden` when most of what its kind costs is in segments that were not observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from hmralign.evaluation.mistakes.kinds import KINDS, SMALL
from hmralign.studies.critic_failures.judged import JudgedGroups

LEAST_GAP = 0.01
"""Metres of MPJPE that make one of two hypotheses the better one."""
MAINLY = 2 / 3
"""Share of the difference that is one kind's."""
TERMS = ("no mistake", *KINDS[1:], "same kind")
"""What a regret consists of, the columns of arrays with the axis `terms`."""
_SAME = len(KINDS)


def favourites(scores: Float[np.ndarray, "group hyp"]) -> Float[np.ndarray, "group hyp"]:
    """Weights of the first choices: equal ones share."""
    first = (scores == scores.max(1, keepdims=True)).astype(np.float64)
    return first / first.sum(1, keepdims=True)


def regret_of_each(judged: JudgedGroups) -> Float[np.ndarray, "group hyp terms"]:
    """Error of every hypothesis above the least of its group, by term; metres."""
    rows = np.arange(len(judged.errors))
    best = judged.errors.argmin(1)
    more = judged.shares - judged.shares[rows, best][:, None]
    return _by_term(more, terms_of(judged.kinds, judged.kinds[rows, best][:, None]), len(TERMS))


def terms_of(
    kinds: Int[np.ndarray, "*batch 14"], others: Int[np.ndarray, "*#batch 14"]
) -> Int[np.ndarray, "*batch 14"]:
    """Term of each segment of a hypothesis beside another one."""
    return np.where((kinds != SMALL) & (kinds == others), _SAME, kinds)


def _by_term(values: Float[np.ndarray, "*batch 14"], term: Int[np.ndarray, "*batch 14"], terms: int) -> np.ndarray:
    return np.stack([(values * (term == k)).sum(-1) for k in range(terms)], axis=-1)


def regret_by_kind(judged: JudgedGroups, scores: Float[np.ndarray, "group hyp"]) -> Float[np.ndarray, "group terms"]:
    """Regret of a critic's favourite in each group by kind, metres."""
    return (favourites(scores)[..., None] * regret_of_each(judged)).sum(1)


@dataclass(frozen=True)
class Pairs:
    """Pairs of hypotheses that differ mainly by one kind; one axis."""

    group: Int[np.ndarray, " pair"]
    better: Int[np.ndarray, " pair"]
    worse: Int[np.ndarray, " pair"]
    kind: Int[np.ndarray, " pair"]
    hidden: Bool[np.ndarray, " pair"]
    gap: Float[np.ndarray, " pair"]
    """Metres of MPJPE."""

    def __getitem__(self, index) -> Pairs:
        """Some of them."""
        return Pairs(*(values[index] for values in vars(self).values()))

    def __len__(self) -> int:
        return len(self.group)

    def right(self, scores: Float[np.ndarray, "group hyp"]) -> Float[np.ndarray, " pair"]:
        """1 where the better one has the higher score, a half where scores are equal."""
        return 0.5 + 0.5 * np.sign(scores[self.group, self.better] - scores[self.group, self.worse])


def pairs_of(judged: JudgedGroups) -> Pairs:
    """All pairs of all groups that differ mainly by one kind."""
    a, b = np.triu_indices(judged.errors.shape[1], 1)
    errors = judged.errors
    swapped = errors[:, a] < errors[:, b]
    worse, better = np.where(swapped, b, a), np.where(swapped, a, b)
    group = np.broadcast_to(np.arange(len(errors))[:, None], worse.shape)
    flat = (group.ravel(), better.ravel(), worse.ravel())
    apart = errors[flat[0], flat[2]] - errors[flat[0], flat[1]] >= LEAST_GAP
    return _mainly_one_kind(judged, *(index[apart] for index in flat))


def _mainly_one_kind(judged: JudgedGroups, group: np.ndarray, better: np.ndarray, worse: np.ndarray) -> Pairs:
    more = judged.shares[group, worse] - judged.shares[group, better]  # (pair, 14)
    bad, good = judged.kinds[group, worse], judged.kinds[group, better]
    term = terms_of(bad, good)
    of_better = np.where((bad == SMALL) & (good != SMALL), len(TERMS) + good, term)
    by_term = _by_term(more, of_better, len(TERMS) + len(KINDS))
    kind = 1 + by_term[:, 1:_SAME].argmax(-1)
    largest = by_term[np.arange(len(kind)), kind]
    unseen = (more * (term == kind[:, None]) * judged.hidden[group]).sum(-1)
    found = Pairs(group, better, worse, kind, unseen > largest / 2, more.sum(-1))
    return found[largest >= MAINLY * np.abs(by_term).sum(-1)]
