"""Advantages: sums, symmetries, ties, floors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.alignment.advantages import group_advantages, silent_groups
from hmralign.structures import InputError
from support.synthetic_persons import seeded

REWARDS = torch.randn(7, 9, generator=seeded(0))


def test_groups_sum_to_zero_and_have_unit_spread():
    a = group_advantages(REWARDS)
    torch.testing.assert_close(a.sum(-1), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(a.square().mean(-1), torch.ones(7), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(-5, 1),
    offset=st.sampled_from([0.0, 0.9, -70.0, 1000.0]),
    size=st.sampled_from([2, 3, 8, 100]),
)
@pytest.mark.parametrize("below", ["drop", "divide"])
def test_rewards_that_nearly_tie_sum_to_zero_too(below, seed, spread, offset, size):
    """Relative to the size of the advantages, whatever digits the rewards have in common."""
    rewards = offset + 10.0**spread * torch.randn(4, size, generator=seeded(seed))
    a = group_advantages(rewards, below_floor=below, std_floor=1e-5)
    assert a.dtype == rewards.dtype
    assert (a.double().sum(-1).abs() <= 1e-6 * a.double().abs().sum(-1)).all()
    spoken = ~silent_groups(rewards, 1e-5)
    torch.testing.assert_close(a.double().square().mean(-1)[spoken], torch.ones(int(spoken.sum())).double())


def test_what_is_dropped_is_what_is_counted():
    rewards = 0.3 + 1e-3 * (1 + 1e-6 * torch.arange(-20, 20)[:, None]) * torch.tensor([-1.0, 1.0])
    for rows in (rewards, rewards.double()):
        assert torch.equal(silent_groups(rows), (group_advantages(rows) == 0).all(-1))


def test_shift_and_scale_of_the_rewards_do_not_matter():
    torch.testing.assert_close(group_advantages(3 * REWARDS + 5), group_advantages(REWARDS), atol=1e-5, rtol=0)


def test_permuting_rewards_permutes_advantages():
    order = torch.randperm(9, generator=seeded(1))
    torch.testing.assert_close(group_advantages(REWARDS[:, order]), group_advantages(REWARDS)[:, order])


def test_the_public_gpa_code_divides_by_the_population_standard_deviation_and_a_little():
    """Neither clipped nor skipped, however small the spread; written as a loop."""
    rewards = torch.cat([REWARDS.double(), 1e-7 * REWARDS[:2].double()])
    found = group_advantages(rewards, std_floor=1e-8, below_floor="add")
    for row, ours in zip(rewards.tolist(), found.tolist(), strict=True):
        mean = sum(row) / len(row)
        std = (sum((r - mean) ** 2 for r in row) / len(row)) ** 0.5
        assert ours == pytest.approx([(r - mean) / (std + 1e-8) for r in row], rel=1e-9)
    assert found[-1].abs().max() > 0.5 and found.abs().max() > 1.5


@pytest.mark.parametrize("below", ["drop", "divide", "add"])
def test_equal_rewards_give_zeros_with_a_gradient_that_is_not_nan(below):
    rewards = torch.full((2, 4), 0.3, requires_grad=True)
    a = group_advantages(rewards, below_floor=below)
    assert torch.equal(a, torch.zeros(2, 4)) and silent_groups(rewards).all()
    a.sum().backward()
    assert torch.isfinite(rewards.grad).all()


def test_almost_equal_rewards_are_dropped_or_not_blown_up():
    rewards = torch.tensor([[1.0, 1.0, 1.0, 1.0 + 1e-5]])
    assert torch.equal(group_advantages(rewards, std_floor=1e-3), torch.zeros(1, 4))
    divided = group_advantages(rewards, std_floor=1e-3, below_floor="divide")
    assert 0 < divided.abs().max() < 0.02


def test_two_hypotheses_are_plus_and_minus_one():
    torch.testing.assert_close(group_advantages(torch.tensor([[0.2, 0.9]])), torch.tensor([[-1.0, 1.0]]))


def test_clip():
    assert group_advantages(torch.tensor([[0.0] * 15 + [1.0]]), clip=1.5).max() == 1.5


def test_wrong_input():
    for rewards, said in (
        (torch.zeros(3, 1), "at least 2"),
        (torch.tensor([[1.0, torch.nan]]), "NaN"),
        (torch.tensor([[1.0, torch.inf]]), "NaN or infinite"),
    ):
        with pytest.raises(InputError, match=said):
            group_advantages(rewards)
    with pytest.raises(InputError, match="std_floor"):
        group_advantages(REWARDS, std_floor=0.0)
