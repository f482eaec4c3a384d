"""Regrets split without a remainder; pairs are what they are called; rates are those of a loop."""

from dataclasses import replace

import numpy as np
import pytest

from hmralign.evaluation.mistakes.kinds import FLIP, HIDDEN, SMALL, TWIST
from hmralign.metrics.intervals import cluster_counts, cluster_rate
from hmralign.metrics.ranking import regret
from hmralign.studies.critic_failures.judged import JudgedGroups
from hmralign.studies.critic_failures.misled import (
    LEAST_GAP,
    MAINLY,
    TERMS,
    favourites,
    pairs_of,
    regret_by_kind,
    regret_of_each,
)

GROUPS, SIZE = 30, 6


def groups(seed=0) -> JudgedGroups:
    draw = np.random.default_rng(seed)
    kinds = draw.choice(8, (GROUPS, SIZE, 14), p=[0.86] + [0.02] * 7)
    shares = draw.normal(0.01, 0.001, kinds.shape) + (kinds != SMALL) * draw.exponential(0.05, kinds.shape)
    errors = shares.sum(-1)
    scores = {"oracle": -errors, "random": draw.random((GROUPS, SIZE)), "silent": np.ones((GROUPS, SIZE))}
    hidden = draw.random((GROUPS, 14)) < 0.3
    return JudgedGroups(tuple(f"p{i}" for i in range(GROUPS)), np.arange(GROUPS), scores, shares, kinds, hidden, errors)


def planted(kind, better_kind=SMALL, hidden=False) -> JudgedGroups:
    """A group of two: the second makes a mistake in segment 3 that costs 50 mm; all else costs the same."""
    shares, kinds = np.full((1, 2, 14), 0.01), np.full((1, 2, 14), SMALL)
    shares[0, 1, 3], kinds[0, 1, 3], kinds[0, 0, 3] = 0.06, kind, better_kind
    unseen = np.zeros((1, 14), bool)
    unseen[0, 3] = hidden
    scores = {"oracle": -shares.sum(-1), "fooled": shares.sum(-1)}
    return JudgedGroups(("a",), np.zeros(1, np.int64), scores, shares, kinds, unseen, np.zeros((1, 2)))


@pytest.mark.parametrize("name", ["oracle", "random", "silent"])
def test_terms_add_up_to_the_regret(name):
    judged = groups()
    terms = regret_by_kind(judged, judged.scores[name])
    assert terms.shape == (GROUPS, len(TERMS))
    np.testing.assert_allclose(terms.sum(-1), regret(judged.scores[name], judged.errors), atol=1e-12)


def test_the_oracle_regrets_nothing_and_a_silent_critic_is_worth_chance():
    judged = groups()
    assert (regret_by_kind(judged, judged.scores["oracle"]) == 0).all()
    chance = regret_of_each(judged).mean(1)
    np.testing.assert_allclose(regret_by_kind(judged, judged.scores["silent"]), chance, atol=1e-12)
    np.testing.assert_array_equal(favourites(np.array([[1.0, 2.0, 2.0]])), [[0, 0.5, 0.5]])


def test_a_planted_mistake_is_what_the_favourite_costs():
    judged = planted(FLIP)
    expected = np.zeros(len(TERMS))
    expected[FLIP] = 0.05
    np.testing.assert_allclose(regret_by_kind(judged, judged.scores["fooled"])[0], expected, atol=1e-12)
    both = planted(FLIP, better_kind=FLIP)
    assert regret_by_kind(both, both.scores["fooled"])[0, TERMS.index("same kind")] == pytest.approx(0.05)
    other = planted(FLIP, better_kind=TWIST)
    assert regret_by_kind(other, other.scores["fooled"])[0, FLIP] == pytest.approx(0.05)


def test_a_planted_pair_has_its_kind_and_its_visibility():
    for kind, hidden in ((FLIP, False), (TWIST, True), (HIDDEN, True)):
        judged = planted(kind, hidden=hidden)
        found = pairs_of(judged)
        assert (found.kind[0], found.better[0], found.worse[0]) == (kind, 0, 1) and len(found) == 1
        assert found.hidden[0] == hidden and found.gap[0] == pytest.approx(0.05)
        assert found.right(judged.scores["oracle"]) == [1] and found.right(judged.scores["fooled"]) == [0]
        assert found.right(np.ones((1, 2))) == [0.5]
    assert len(pairs_of(planted(FLIP, better_kind=FLIP))) == 0
    assert len(pairs_of(planted(SMALL))) == 0


def test_pairs_are_those_of_a_loop():
    judged = groups(3)
    columns = zip(*vars(pairs_of(judged)).values(), strict=True)
    found = {(int(g), int(b), int(w)): (int(k), bool(h)) for g, b, w, k, h, _ in columns}
    expected = {}
    for g in range(GROUPS):
        for w in range(SIZE):
            for b in range(SIZE):
                if judged.errors[g, w] - judged.errors[g, b] < LEAST_GAP:
                    continue
                sums: dict = {}
                unseen: dict = {}
                for s in range(14):
                    bad, good = judged.kinds[g, w, s], judged.kinds[g, b, s]
                    key = ("same",) if bad == good != SMALL else ("worse", bad) if bad != SMALL else ("better", good)
                    value = judged.shares[g, w, s] - judged.shares[g, b, s]
                    sums[key] = sums.get(key, 0) + value
                    unseen[key] = unseen.get(key, 0) + value * judged.hidden[g, s]
                total = sum(abs(v) for v in sums.values())
                for key, value in sums.items():
                    if key[0] == "worse" and value >= MAINLY * total:
                        expected[g, b, w] = (int(key[1]), bool(unseen[key] > value / 2))
    assert found == expected and len(found) > 20


def test_a_rate_is_the_mean_over_pairs_and_its_interval_is_over_persons():
    judged = groups(3)
    pairs = pairs_of(judged)
    counts = cluster_counts(judged.clusters, 500, 0)
    right = pairs.right(judged.scores["random"])
    found = cluster_rate(right, pairs.group, counts)
    assert found.mean == pytest.approx(right.mean()) and found.low < found.mean < found.high
    drawn = [np.concatenate([right[pairs.group == g] for g in range(GROUPS) for _ in range(row[g])]) for row in counts]
    low, high = np.quantile([values.mean() for values in drawn if len(values)], [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    always = cluster_rate(pairs.right(judged.scores["oracle"]), pairs.group, counts)
    assert (always.mean, always.low, always.high) == (1, 1, 1)


def test_what_a_critic_says_of_the_others_does_not_matter():
    judged = groups()
    doubled = replace(judged, scores={n: 3 * s - 7 for n, s in judged.scores.items()})
    for name in judged.scores:
        first, second = (regret_by_kind(j, j.scores[name]) for j in (judged, doubled))
        np.testing.assert_allclose(first, second)
