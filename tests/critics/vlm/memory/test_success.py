from itertools import permutations

import numpy as np
import pytest
from scipy.stats import rankdata

from hmralign.critics.vlm.memory.success import squared_rank_differences, success_threshold
from hmralign.structures import InputError


@pytest.mark.parametrize("size", [2, 3, 5, 7])
def test_the_distribution_is_that_of_all_permutations(size):
    sums = [sum((i - p) ** 2 for i, p in enumerate(order)) for order in permutations(range(size))]
    counted = np.bincount(sums, minlength=(size**3 - size) // 3 + 1) / len(sums)
    np.testing.assert_allclose(squared_rank_differences(size), counted, atol=1e-12)


@pytest.mark.parametrize("size", [4, 5, 6, 8, 10, 12, 13, 16, 20, 40])
@pytest.mark.parametrize("tau", [-1.0, 0.5])
def test_a_random_judge_succeeds_in_one_group_of_twenty_at_most(size, tau):
    draws = 40_000
    generator = np.random.default_rng(size)
    truth = np.arange(size) - (size - 1) / 2
    orders = generator.permuted(np.tile(truth, (draws, 1)), axis=1)
    rho = orders @ truth / (truth @ truth)
    share = (rho > success_threshold(size, tau) + 1e-12).mean()
    error = np.sqrt(0.05 * 0.95 / draws)
    assert share < 0.05 + 3 * error
    if tau < 0:  # and the bound is not needlessly high; few values are possible in small groups
        assert share > (0.04 if size > 6 else 0.025)


@pytest.mark.parametrize(("levels", "share"), [(2, 0.07), (3, 0.06), (5, 0.06)])
def test_ties_help_a_random_judge_little(levels, share):
    generator = np.random.default_rng(levels)
    for size in (8, 20):
        scores = rankdata(generator.integers(0, levels, (20_000, size)), axis=1)
        scores -= scores.mean(1, keepdims=True)
        truth = np.arange(size) - (size - 1) / 2
        norm = np.sqrt((scores**2).sum(1) * (truth @ truth))
        rho = np.divide(scores @ truth, norm, out=np.zeros(len(norm)), where=norm > 0)
        assert (rho > success_threshold(size)).mean() < share


def test_small_groups_cannot_succeed_and_large_ones_need_tau():
    assert success_threshold(2) == success_threshold(3) == 1.0
    assert success_threshold(4) == pytest.approx(0.8)  # only a perfect order: 1 of 24
    assert 0.5 < success_threshold(8) < success_threshold(6)
    assert success_threshold(20) == success_threshold(100) == 0.5
    assert success_threshold(20, tau=0.7) == 0.7


@pytest.mark.parametrize("arguments", [(1,), (8, 1.5), (8, 0.5, 0.0)])
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(InputError, match="success threshold"):
        success_threshold(*arguments)
