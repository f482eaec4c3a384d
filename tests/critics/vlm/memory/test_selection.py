import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import beta, norm

from hmralign.critics.vlm.memory.selection import (
    FROZEN_SELECTION,
    PAPER_SELECTION,
    SelectionOptions,
    relevance,
    select_rules,
    usefulness,
    wilson,
)
from hmralign.structures import InputError, Rule

METHODS = ("ucb", "thompson", "greedy", "random", "lower_bound")


def rules(*counts, tags=("legs",)):
    return [Rule(f"r{i}", f"text {i}", tags, uses, wins) for i, (uses, wins) in enumerate(counts)]


def ids(chosen):
    return [rule.id for rule in chosen]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_paper_formula_written_as_a_loop():
    counts = [(10, 7), (3, 3), (1, 0), (25, 12)]
    total = sum(n for n, _ in counts)
    by_hand = [s / n + 0.7 * math.sqrt(math.log(total) / (n + 1)) for n, s in counts]
    options = SelectionOptions(exploration=0.7, prior=False)
    np.testing.assert_allclose(usefulness(rules(*counts), options), by_hand)
    prior = [(s + 1) / (n + 2) + 0.7 * math.sqrt(math.log(total + math.e) / (n + 1)) for n, s in counts]
    np.testing.assert_allclose(usefulness(rules(*counts), SelectionOptions(exploration=0.7)), prior)


@pytest.mark.parametrize("options", [PAPER_SELECTION, SelectionOptions(), FROZEN_SELECTION])
def test_nothing_was_ever_used(options):
    chosen = select_rules(rules((0, 0), (0, 0), (0, 0)), (), 2, options)
    assert ids(chosen) == ["r0", "r1"]
    assert np.isfinite(usefulness(rules((0, 0)), options)).all()


def test_an_unused_rule_counts_as_a_failure_in_the_paper_and_as_even_with_the_prior():
    used = rules((1, 1), (0, 0))
    assert usefulness(used, PAPER_SELECTION).tolist() == [1.0, 0.0]  # log 1 = 0
    assert usefulness(used, SelectionOptions(exploration=0.0)).tolist() == [pytest.approx(2 / 3), 0.5]


def test_with_a_small_c_a_late_rule_starves_in_the_paper_formula_only():
    known = [*rules(*[(40, 24)] * 5), Rule("new", "late", ("legs",))]
    starved = SelectionOptions(exploration=0.2, prior=False)
    assert "new" not in ids(select_rules(known, (), 5, starved))
    assert "new" in ids(select_rules(known, (), 5, SelectionOptions(exploration=0.2)))


@pytest.mark.parametrize("method", METHODS)
def test_no_rule_one_rule_and_more_wanted_than_there_are(method):
    options = SelectionOptions(method=method)
    assert select_rules([], ("legs",), 5, options, generator()) == ()
    (one,) = rules((3, 1))
    assert select_rules([one], (), 5, options, generator()) == (one,)
    assert sorted(ids(select_rules(rules((3, 1), (0, 0), (9, 9)), (), 7, options, generator()))) == ["r0", "r1", "r2"]
    assert select_rules(rules((3, 1)), (), 0, options, generator()) == ()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_list_does_not_matter(method):
    known = rules((3, 1), (0, 0), (9, 9), (5, 2), (5, 2))
    options = SelectionOptions(method=method)
    first = ids(select_rules(known, ("legs",), 3, options, generator(4)))
    assert first == ids(select_rules(known[::-1], ("legs",), 3, options, generator(4)))


def test_ties_go_to_the_least_used_then_to_the_id():
    tied = [Rule("b", "", ("legs",), 4, 2), Rule("c", "", ("legs",), 2, 1), Rule("a", "", ("legs",), 4, 2)]
    greedy = SelectionOptions(method="greedy")
    assert ids(select_rules(tied, (), 3, greedy)) == ["c", "a", "b"]
    assert ids(select_rules(tied, (), 1, SelectionOptions(method="greedy", prior=False))) == ["c"]


def test_relevance_counts_or_takes_the_share():
    known = [Rule("a", "", ("legs", "feet", "contact")), Rule("b", "", ("legs",)), Rule("c", "", ("arms",))]
    asked = ("legs", "feet")
    assert relevance(known, asked, PAPER_SELECTION).tolist() == [2, 1, 0]
    np.testing.assert_allclose(relevance(known, asked, SelectionOptions()), [2 / 3, 1 / 2, 0])
    assert relevance(known, asked, SelectionOptions(relevance="none")).tolist() == [0, 0, 0]
    assert relevance(known, (), SelectionOptions()).tolist() == [0, 0, 0]


def test_a_counted_tag_outweighs_every_record_and_a_share_does_not():
    bad = Rule("bad", "", ("legs", "feet", "arms"), 50, 0)
    good = Rule("good", "", ("legs",), 50, 50)
    assert ids(select_rules([bad, good], ("legs", "feet", "arms"), 1, PAPER_SELECTION)) == ["bad"]
    assert ids(select_rules([bad, good], ("legs", "feet", "arms"), 1, SelectionOptions(exploration=0.0))) == ["good"]


def test_thompson_draws_from_the_posterior():
    known = rules((12, 9))
    draw, options = generator(1), SelectionOptions(method="thompson")
    drawn = np.array([usefulness(known, options, draw)[0] for _ in range(3000)])
    assert drawn.mean() == pytest.approx(10 / 14, abs=0.01)
    assert drawn.std() == pytest.approx(beta(10, 4).std(), rel=0.06)


@pytest.mark.parametrize("method", ["thompson", "random"])
def test_draws_need_a_generator_and_follow_its_seed(method):
    options, known = SelectionOptions(method=method), rules(*[(4, 2)] * 12)
    with pytest.raises(InputError, match="expected a generator"):
        select_rules(known, (), 3, options)
    picks = [ids(select_rules(known, (), 3, options, generator(seed))) for seed in (1, 1, 2, 3)]
    assert picks[0] == picks[1] and len({tuple(p) for p in picks}) > 1


def test_of_two_that_conflict_the_better_one_is_shown():
    known = rules((20, 18), (20, 15), (20, 3))
    greedy = SelectionOptions(method="greedy")
    assert ids(select_rules(known, (), 2, greedy, conflicts=[("r1", "r0")])) == ["r0", "r2"]


@pytest.mark.parametrize(("successes", "uses"), [(0, 1), (1, 1), (3, 10), (10, 10), (0, 30), (140, 200)])
def test_wilson_bounds_are_where_the_test_just_accepts(successes, uses):
    z, rate = norm.ppf(0.975), successes / uses

    def excess(p):
        return (rate - p) ** 2 - z**2 * p * (1 - p) / uses

    low, high = wilson(successes, uses)
    assert low == pytest.approx(0 if successes == 0 else brentq(excess, 1e-9, rate - 1e-9), abs=1e-6)
    assert high == pytest.approx(1 if successes == uses else brentq(excess, rate + 1e-9, 1 - 1e-9), abs=1e-6)


def test_nothing_is_known_of_an_unused_rule():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(InputError, match="3 successes of 2"):
        wilson(3, 2)


def test_the_lower_bound_prefers_what_is_known_well():
    known = rules((2, 2), (100, 90), (0, 0))
    assert ids(select_rules(known, (), 3, FROZEN_SELECTION)) == ["r1", "r0", "r2"]


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="exploration -1"):
        SelectionOptions(exploration=-1.0)
    with pytest.raises(InputError, match="-1 rules"):
        select_rules([], (), -1)
