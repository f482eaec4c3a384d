"""Pairs: from the right ends of each group, seeded, never between equals."""

import pytest
import torch

from hmralign.preferences.pairs import matched_pairs, ordered_pairs, sampled_pairs, top_and_bottom
from hmralign.structures import InputError
from support.synthetic_persons import seeded

SCORES = torch.randn(20, 12, generator=seeded(0))


def test_top_and_bottom_are_the_ends_of_the_order():
    top, bottom = top_and_bottom(SCORES, 3)
    order = SCORES.argsort(dim=1, descending=True)
    assert torch.equal(top, order[:, :3]) and torch.equal(bottom, order[:, -3:])


def test_pairs_come_from_the_ends_and_fill_them():
    pairs = sampled_pairs(SCORES, 4, seeded(1), pairs_per_group=50)
    top, bottom = top_and_bottom(SCORES, 4)
    assert len(pairs) == 20 * 50
    assert (top[pairs.group] == pairs.chosen[:, None]).any(1).all()
    assert (bottom[pairs.group] == pairs.rejected[:, None]).any(1).all()
    of_first = pairs.group == 0
    assert set(pairs.chosen[of_first].tolist()) == set(top[0].tolist())


def test_k_pairs_per_group_the_same_from_the_same_seed():
    a, b, c = (sampled_pairs(SCORES, 5, seeded(s)) for s in (2, 2, 3))
    assert torch.equal(a.group.bincount(), torch.full((20,), 5))
    assert torch.equal(a.chosen, b.chosen) and torch.equal(a.rejected, b.rejected)
    assert not torch.equal(a.chosen, c.chosen)


def test_equal_scores_give_no_pair():
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    pairs = sampled_pairs(scores, 1, seeded(4), pairs_per_group=6)
    assert (pairs.group == 1).all() and (pairs.chosen == 3).all() and len(pairs) == 6


def test_matched_pairs_set_the_best_against_the_worst():
    pairs = matched_pairs(SCORES, 6)
    order = SCORES.argsort(dim=1, descending=True)
    assert torch.equal(pairs.chosen.view(20, 6), order[:, :6])
    assert torch.equal(pairs.rejected.view(20, 6), order.flip(1)[:, :6])
    tied = matched_pairs(torch.tensor([[1.0, 1.0, 1.0, 2.0]]), 2)
    assert (tied.chosen.tolist(), tied.rejected.tolist()) == ([3], [2])
    with pytest.raises(InputError, match="overlap"):
        matched_pairs(SCORES, 7)


def test_all_ordered_pairs():
    scores = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 5.0]])
    pairs = ordered_pairs(scores)
    assert list(zip(pairs.group.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)) == [
        (0, 1, 0), (0, 1, 2), (0, 2, 0),
    ]  # fmt: skip
    assert len(ordered_pairs(scores, margin=1.5)) == 1


@pytest.mark.parametrize(
    ("scores", "k", "said"),
    [
        (SCORES, 7, "overlap"),
        (SCORES, 0, "overlap"),
        (SCORES[:, :1], 1, "overlap"),
        (torch.cat([SCORES[:3], torch.full((1, 12), torch.nan)]), 2, "group 3"),
    ],
)
def test_wrong_groups(scores, k, said):
    with pytest.raises(InputError, match=said):
        sampled_pairs(scores, k, seeded(0))
