"""How well bad labels are found, against counting by hand and a loop over thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.cleaning.detection import average_precision, detection
from hmralign.structures import InputError


def test_counts():
    bad = np.array([True, True, False, False, False])
    found = detection(np.array([True, False, True, True, False]), bad)
    assert (found.items, found.bad, found.dropped, found.caught) == (5, 2, 3, 1)
    assert found.precision == pytest.approx(1 / 3) and found.recall == 0.5
    assert found.f1 == pytest.approx(2 * found.precision * found.recall / (found.precision + found.recall))


def test_nothing_dropped_is_no_success():
    found = detection(np.zeros(3, bool), np.array([True, False, True]))
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)


def by_thresholds(scores, bad):
    """Every score as a threshold, worst first: precision times the rise of recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist())):
        dropped = scores <= threshold
        recall = (dropped & bad).sum() / bad.sum()
        total += (recall - before) * (dropped & bad).sum() / dropped.sum()
        before = recall
    return total


labelled = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=25).filter(
    lambda rows: any(b for _, b in rows)
)


@given(labelled, st.randoms(use_true_random=False))
def test_average_precision_is_that_of_the_loop_whatever_the_order(rows, random):
    scores, bad = np.array([s / 5 for s, _ in rows]), np.array([b for _, b in rows])
    value = average_precision(scores, bad)
    assert value == pytest.approx(by_thresholds(scores, bad))
    order = list(range(len(rows)))
    random.shuffle(order)
    assert average_precision(scores[order], bad[order]) == pytest.approx(value)


def test_limits():
    bad = np.array([True] * 3 + [False] * 7)
    assert average_precision(np.arange(10.0), bad) == 1.0
    assert average_precision(np.zeros(10), bad) == pytest.approx(0.3)  # says nothing: the share of bad labels
    assert average_precision(-np.arange(10.0), bad) < 0.3
    noise = np.random.default_rng(0).normal(size=20_000)
    assert average_precision(noise, np.arange(20_000) % 10 < 3) == pytest.approx(0.3, abs=0.02)


def test_wrong_input():
    with pytest.raises(InputError, match="no label is known to be bad"):
        average_precision(np.zeros(2), np.zeros(2, bool))
    with pytest.raises(InputError, match="3 labels"):
        detection(np.zeros(3, bool), np.ones(2, bool))
    with pytest.raises(InputError, match="item 1"):
        average_precision(np.array([0.1, np.nan]), np.array([True, False]))
