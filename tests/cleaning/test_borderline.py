"""The labels to look at lie on both sides of the threshold, as near to it as there are any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.cleaning.borderline import borderline_items
from hmralign.cleaning.selection import KeepRule, select
from hmralign.structures import InputError


def test_half_of_each_side_best_first():
    scores = np.array([0.95, 0.61, 0.30, 0.59, 0.70, 0.10, 0.65, 0.55])
    chosen = select(scores, KeepRule(0.6))
    assert borderline_items(chosen, 4) == [6, 1, 3, 7]
    assert borderline_items(chosen, 3) == [6, 1, 3]
    assert len(borderline_items(chosen, 100)) == 8


def test_a_side_that_has_fewer_is_filled_up_by_the_other():
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    assert borderline_items(select(scores, KeepRule(0.6)), 4) == [0, 1, 2, 3]
    assert borderline_items(select(scores, KeepRule(0.0)), 2) == [2, 3]
    assert borderline_items(select(scores, KeepRule(0.95)), 2) == [0, 1]


def test_labels_without_evidence_are_not_shown():
    scores, judged = np.array([0.9, np.nan, 0.1]), np.array([True, False, True])
    assert borderline_items(select(scores, KeepRule(0.5), judged=judged), 3) == [0, 2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True).map(np.array), st.integers(1, 10))
def test_nobody_left_out_is_nearer_than_one_of_the_same_side(scores, count):
    chosen = select(scores, KeepRule(0.5))
    items = borderline_items(chosen, count)
    assert len(items) == len(set(items)) == min(count, len(scores))
    assert [scores[i] for i in items] == sorted((scores[i] for i in items), reverse=True)
    away = np.abs(scores - 0.5)
    for side in (chosen.keep, ~chosen.keep):
        shown = [away[i] for i in items if side[i]]
        hidden = [away[i] for i in np.flatnonzero(side) if i not in items]
        assert not shown or not hidden or max(shown) <= min(hidden)


def test_none_asked_for():
    scores = np.array([0.5])
    with pytest.raises(InputError, match="0 borderline"):
        borderline_items(select(scores, KeepRule(0.1)), 0)
