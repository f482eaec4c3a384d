"""Blocks outside the mask count as zero, in value and, unless published weights ask for it, in gradient."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from hmralign.models.paper.masked_linear import MaskedLinear
from support.synthetic_persons import seeded

NEAR = torch.tensor([[True, False], [True, True]])
X = torch.randn(5, 4, generator=seeded(0))


def layer(stored: bool) -> MaskedLinear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MaskedLinear(4, 6, NEAR, on_stored_values=stored)


@pytest.mark.parametrize("stored", [False, True])
def test_a_hidden_block_does_not_matter(stored):
    made = layer(stored)
    with torch.no_grad():
        made.weight[:3, 2:] = 100.0
        expected = X[:, :2] @ made.weight[:3, :2].mT + made.bias[:3]
        torch.testing.assert_close(made(X)[:, :3], expected)
        torch.testing.assert_close(made(X)[:, 3:], X @ made.weight[3:].mT + made.bias[3:])


def test_only_stored_values_that_are_masked_have_gradients_and_are_moved():
    for stored in (False, True):
        made = layer(stored)
        optimiser = torch.optim.Adam(made.parameters(), lr=0.1)
        made(X).square().sum().backward()
        outside = made.weight.grad[:3, 2:]
        assert bool(outside.any()) == stored
        optimiser.step()
        moved = made.weight[:3, 2:].detach().abs().max()
        with torch.no_grad():
            made(X)
        now = made.weight[:3, 2:].detach().abs().max()
        assert (now == 0) if stored else (now == moved)  # the next pass zeroes what moved
        assert moved > 0


def test_clearing_makes_published_averages_what_counts():
    made = layer(False)
    before = made(X)
    assert made.weight[:3, 2:].any()
    made.clear()
    assert not made.weight[:3, 2:].any()
    assert torch.equal(made(X), before)


def test_the_mask_is_no_part_of_the_weights():
    assert set(layer(True).state_dict()) == {"weight", "bias"}


def test_a_low_rank_update_is_masked_too():
    class More(nn.Module):
        def forward(self, weight):
            return weight + 1

    made = layer(True)
    parametrize.register_parametrization(made, "weight", More())
    with torch.no_grad():
        torch.testing.assert_close(made(X)[:, :3], X[:, :2] @ made.weight[:3, :2].mT + made.bias[:3])
