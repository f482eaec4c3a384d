"""Ranks against sorting, ties against us, and what is not finite is never found."""

import numpy as np
import pytest
import torch

from hmralign.metrics.retrieval import mean_recall, r_precision, ranks, recall_at, told_apart
from hmralign.structures import InputError


def draw(n=40, seed=0):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ranks_are_places_in_the_sorted_row():
    s = draw()
    places = [list(np.argsort(-row.numpy())).index(i) for i, row in enumerate(s)]
    assert ranks(s).tolist() == places
    assert recall_at(s, 5) == np.mean(np.array(places) < 5)


def test_the_diagonal_is_found_and_chance_is_chance():
    eye = torch.eye(64, dtype=torch.float64)
    assert recall_at(eye, 1) == mean_recall(eye) == r_precision(eye, 1, 32, torch.Generator()) == 1.0
    s = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(1))
    assert recall_at(s, 100) == pytest.approx(0.1, abs=0.03)
    assert r_precision(s, 3, 32, torch.Generator().manual_seed(0)) == pytest.approx(3 / 32, abs=0.03)


def test_mean_recall_looks_both_ways():
    s = draw(20)
    by_hand = np.mean([recall_at(x, k) for x in (s, s.mT) for k in (1, 5, 10)])
    assert mean_recall(s) == pytest.approx(by_hand) == mean_recall(s.mT)


def test_ties_count_against_us():
    same = torch.zeros(10, 10)
    assert recall_at(same, 9) == 0 and recall_at(same, 10) == 1
    assert r_precision(same, 1, 5, torch.Generator()) == 0
    assert not told_apart(torch.zeros(3), torch.zeros(3)).any()


def test_what_is_not_finite_is_not_found():
    s = torch.eye(4)
    s[0, 0] = float("nan")
    s[1, 2] = float("nan")
    assert recall_at(s, 4) == recall_at(s, 1) == 0.5
    assert r_precision(s, 1, 2, torch.Generator()) <= 0.5


@pytest.mark.parametrize("call", [lambda s: recall_at(s, 0), lambda s: recall_at(s, 9),
                                  lambda s: r_precision(s, 1, 9, torch.Generator())])  # fmt: skip
def test_more_than_there_is_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call(torch.eye(8))
