"""Plans: everybody is judged, windows hang together, and a group's plan is its own."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.critics.vlm.plan import (
    LETTERS,
    PlanOptions,
    components,
    group_generator,
    letters,
    ordinals,
    pairs,
    permutations,
    plan,
    windows,
)
from hmralign.structures import InputError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=80, deadline=None)
@given(size=st.integers(2, 40), window=st.integers(3, 24), partitions=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_each_hypothesis_is_judged_once_per_partition_in_windows_that_hang_together(size, window, partitions, seed):
    calls = windows(size, window, partitions, seeded(seed))
    counts = [sum(call.count(i) for call in calls) for i in range(size)]
    assert counts == [partitions] * size
    sizes = [len(call) for call in calls]
    assert max(sizes) <= window and min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
    sets = components(calls, size)
    assert sorted(i for s in sets for i in s) == list(range(size))
    if partitions > 1:
        assert len(sets) == 1
    else:
        assert len(sets) == len(calls)


def test_two_partitions_give_other_neighbours():
    met = []
    for seed in range(20):
        calls = windows(20, 10, 2, seeded(seed))
        neighbours = [{j for call in calls if i in call for j in call} - {i} for i in range(20)]
        met.append(sum(map(len, neighbours)) / 20)
    # One partition gives 9 neighbours, two independent ones 18 less the 9 * 9 / 19 who are met twice.
    assert abs(sum(met) / 20 - (18 - 81 / 19)) < 0.4


@settings(max_examples=40, deadline=None)
@given(size=st.integers(3, 30), seed=st.integers(0, 10**6), data=st.data())
def test_pairs_are_balanced_connected_and_asked_once(size, seed, data):
    rounds = data.draw(st.integers(1, (size - 1) // 2))
    calls = pairs(size, rounds, seeded(seed))
    assert len({frozenset(call) for call in calls}) == len(calls) == size * rounds
    for i in range(size):
        assert [sum(call[k] == i for call in calls) for k in (0, 1)] == [rounds, rounds]
    assert len(components(calls, size)) == 1


def test_mirrored_permutations_are_each_other_reversed():
    orders = permutations(9, 4, seeded(1), mirrored=True)
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert {sum(order.index(i) for order in orders) for i in range(9)} == {16}
    assert orders[1] == orders[0][::-1] and orders[2] != orders[0]
    plain = permutations(9, 4, seeded(1))
    assert len(set(plain)) == 4 and plain[1] != plain[0][::-1]


@settings(max_examples=40, deadline=None)
@given(size=st.integers(4, 40), window=st.integers(3, 12), seed=st.integers(0, 10**6))
def test_mirrored_windows_keep_who_is_together_and_show_last_what_was_first(size, window, seed):
    plain, mirrored = (windows(size, window, 2, seeded(seed), mirrored=m) for m in (False, True))
    assert [set(call) for call in plain] == [set(call) for call in mirrored]
    half = len(mirrored) // 2
    assert mirrored[:half] == plain[:half]
    place = {i: k / len(call) for call in mirrored[:half] for k, i in enumerate(call)}
    for call in mirrored[half:]:
        assert [place[i] for i in call] == sorted((place[i] for i in call), reverse=True)


def test_a_plan_is_that_of_its_group_and_seed_alone():
    first = plan("wild/train/000001", 16, seed=3)
    plan("wild/train/000002", 16, seed=3)
    assert plan("wild/train/000001", 16, seed=3) == first
    assert plan("wild/train/000002", 16, seed=3) != first and plan("wild/train/000001", 16, seed=4) != first
    assert group_generator("a", 1).initial_seed() != group_generator("a", 2).initial_seed()
    assert [len(call.hypotheses) for call in plan("x", 20)] == [10, 10, 10, 10]


def test_a_letter_carries_no_order():
    """Over many calls each letter names the first tile about equally often."""
    firsts = [letters(10, seeded(seed))[0] for seed in range(2400)]
    counts = [firsts.count(letter) for letter in LETTERS]
    assert min(counts) > 60 and max(counts) < 145  # 100 expected, sd 10
    for call in plan("x", 20):
        assert len(set(call.labels)) == len(call.labels) == len(call.hypotheses)


def test_designs_and_names():
    assert ordinals(3) == ("image_2", "image_3", "image_4")
    calls = plan("x", 5, options=PlanOptions(design="all", rounds=3, naming="ordinals"))
    assert [call.labels for call in calls] == [ordinals(5)] * 3
    assert {len(call.hypotheses) for call in plan("x", 5, options=PlanOptions(design="pairs", rounds=2))} == {2}
    assert len(plan("x", 2, options=PlanOptions(design="pairs"))) == 1


def test_what_is_no_plan_is_refused():
    for wrong in ({"rounds": 0}, {"window": 2}):
        with pytest.raises(InputError, match="expected at least 1"):
            replace(PlanOptions(), **wrong)
    with pytest.raises(InputError, match="at least 2"):
        plan("x", 1)
    with pytest.raises(InputError, match="use windows"):
        plan("x", 25, options=PlanOptions(design="all"))
    assert len(plan("x", 25, options=PlanOptions(design="all", naming="ordinals"))[0].hypotheses) == 25
    with pytest.raises(InputError, match="expected 1 to 4"):
        pairs(9, 5, seeded(0))
