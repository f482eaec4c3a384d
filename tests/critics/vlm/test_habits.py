"""Habits of judges that were made to have them."""

import numpy as np
import pytest
import torch

from hmralign.critics.vlm.habits import judge_habits, position_bias
from hmralign.critics.vlm.merge import merge
from hmralign.critics.vlm.plan import permutations, windows
from hmralign.structures import Critique, Finding, InputError


def _group(seed: int, *, slope=0.0, noise=0.0, step=1.0, size=12, count=2) -> list[Critique]:
    random, calls = np.random.default_rng(seed), []
    quality = 50 + 15 * random.standard_normal(size)
    for order in permutations(size, count, torch.Generator().manual_seed(seed)):
        place = np.arange(size) / (size - 1) - 0.5
        said = quality[list(order)] + slope * place + noise * random.standard_normal(size)
        said = np.clip(np.round(said / step) * step, 0, 100)
        calls.append(Critique(tuple(Finding(i, float(s)) for i, s in zip(order, said, strict=True))))
    return calls


def test_a_planted_position_bias_is_found_over_many_groups():
    found = position_bias([_group(s, slope=6.0, noise=8.0) for s in range(100)], 12)
    assert abs(found.slope - 6) < 3 * found.standard_error and 0.3 < found.standard_error < 1.5
    none = position_bias([_group(s, noise=8.0) for s in range(100)], 12)
    assert abs(none.slope) < 3 * none.standard_error


def test_one_group_gives_the_slope_of_its_merge():
    calls = _group(4, slope=6.0, noise=8.0)
    assert abs(position_bias([calls], 12).slope - merge(calls, 12).position_slope) < 1e-9
    assert np.isnan(position_bias([calls], 12).standard_error)


def test_one_call_cannot_tell_place_from_quality():
    assert np.isnan(position_bias([_group(0, count=1)], 12).slope)


def test_flips_and_ties_are_those_counted_by_hand():
    first = Critique((Finding(0, 10.0), Finding(1, 20.0), Finding(2, 20.0)))
    second = Critique((Finding(2, 30.0), Finding(1, 40.0), Finding(0, 35.0)))
    habits = judge_habits([[first, second]], 3)
    # Pairs put in an order by both: 0-1 (agreed), 0-2 (reversed); 1-2 is a tie in the first.
    assert habits.flip_rate == 0.5 and habits.tie_rate == pytest.approx(1 / 6)
    assert habits.levels_used == 5 and (habits.groups, habits.calls) == (1, 2)


def test_a_judge_without_noise_never_flips_and_a_coarse_one_uses_few_levels():
    groups = [_group(s, step=5.0) for s in range(20)]
    habits = judge_habits(groups, 12)
    assert habits.flip_rate == 0 and habits.share_of_fives == 1 and habits.levels_used <= 21 and habits.tie_rate > 0.05
    random = judge_habits([_group(s, noise=1e3) for s in range(40)], 12)
    assert 0.4 < random.flip_rate < 0.6
    assert judge_habits([_group(s, step=100.0) for s in range(5)], 12).entropy_bits < habits.entropy_bits


def test_windows_without_a_pair_in_common_have_no_flip_rate():
    orders = windows(4, 3, 1, torch.Generator().manual_seed(0))
    calls = [Critique(tuple(Finding(i, 1.0) for i in order)) for order in orders]
    assert np.isnan(judge_habits([calls], 4).flip_rate)
    with pytest.raises(InputError, match="at least one call"):
        judge_habits([], 4)
