import itertools
import math

import pytest
import torch

from hmralign.training.scorer_losses import error_regression, listwise, ranknet
from support.synthetic_persons import seeded

OUTPUTS = torch.randn(3, 5, 4, generator=seeded(0))
ERRORS = torch.rand(3, 5, 4, generator=seeded(1)) * 0.2 + 0.02


def naive_ranknet(outputs, errors):
    total, count = 0.0, 0
    for m in range(errors.shape[1]):
        for i, j in itertools.combinations(range(len(outputs)), 2):
            s = float(outputs[i, min(m, outputs.shape[1] - 1)] - outputs[j, min(m, outputs.shape[1] - 1)])
            y = 1.0 if errors[i, m] < errors[j, m] else 0.5 if errors[i, m] == errors[j, m] else 0.0
            p = 1 / (1 + math.exp(-s))
            total -= y * math.log(p) + (1 - y) * math.log(1 - p)
            count += 1
    return total / count


def test_ranknet_is_the_sum_over_pairs_and_metrics():
    tied = ERRORS.clone()
    tied[0, 1] = tied[0, 2]
    for outputs in (OUTPUTS, OUTPUTS[..., :1]):
        expected = torch.tensor([naive_ranknet(o, e) for o, e in zip(outputs, tied, strict=True)])
        torch.testing.assert_close(ranknet(outputs, tied), expected)


def test_listwise_is_least_where_the_shares_agree():
    spread = ERRORS.std(1, keepdim=True, correction=0)
    best = listwise(-ERRORS / spread, ERRORS, 1.0)
    assert (best < listwise(OUTPUTS, ERRORS, 1.0)).all()
    entropy = torch.distributions.Categorical(logits=(-ERRORS / spread).transpose(1, 2)).entropy().mean(-1)
    torch.testing.assert_close(best, entropy)


def test_listwise_says_nothing_of_groups_without_an_order():
    flat = torch.full((1, 5, 4), 0.1)
    outputs = torch.zeros(1, 5, 4, requires_grad=True)
    listwise(outputs, flat, 3.0).sum().backward()
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad, torch.zeros_like(outputs))


def test_regression_is_zero_where_the_output_is_the_log_of_the_error():
    exact = -(ERRORS / 0.1).log()
    torch.testing.assert_close(error_regression(exact, ERRORS), torch.zeros(3))
    assert (error_regression(exact + 0.3, ERRORS) > 0.05).all()


@pytest.mark.parametrize("loss", [ranknet, lambda o, e: listwise(o, e, 2.0), error_regression])
def test_every_loss_is_lower_for_a_scorer_that_knows(loss):
    knows = -(ERRORS / 0.1).log()
    assert (loss(3 * knows if loss is ranknet else knows, ERRORS) < loss(-knows, ERRORS)).all()
