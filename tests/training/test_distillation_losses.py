"""Losses of a scorer that learns a critic's order: what they are lowest for, and what noise takes away."""

import pytest
import torch

from hmralign.training.distillation_losses import reliability, weighted_listwise, weighted_ranknet
from hmralign.training.scorer_losses import ranknet
from support.synthetic_persons import seeded

SCORES = torch.randn(5, 6, generator=seeded(0))
ONES = torch.ones(5, 6)


def test_the_critics_scale_does_not_matter():
    outputs = torch.randn(5, 6, 1, generator=seeded(1))
    for loss in (lambda s: weighted_listwise(outputs, s, ONES, 2.0), lambda s: weighted_ranknet(outputs, s, ONES)):
        torch.testing.assert_close(loss(SCORES), loss(40 * SCORES + 7))
    torch.testing.assert_close(reliability(SCORES, 0.3 * ONES), reliability(10 * SCORES - 5, 3 * ONES))


def test_the_critics_order_costs_least_and_the_reverse_most():
    for loss in (lambda o: weighted_listwise(o[..., None], SCORES, ONES, 1.0),
                 lambda o: weighted_ranknet(o[..., None], SCORES, ONES)):  # fmt: skip
        same, none, reverse = loss(SCORES), loss(0 * SCORES), loss(-SCORES)
        assert (same < none).all() and (none < reverse).all()


def test_with_full_trust_it_is_ranknet():
    outputs = torch.randn(5, 6, 1, generator=seeded(1))
    torch.testing.assert_close(weighted_ranknet(outputs, SCORES, ONES), ranknet(outputs, -SCORES[..., None]))


def test_reliability_is_one_without_noise_nothing_for_noise_alone_and_none_for_silence():
    assert torch.equal(reliability(SCORES), ONES)
    torch.testing.assert_close(reliability(SCORES, 0 * ONES), ONES)
    assert torch.equal(reliability(SCORES, 10 * ONES), 0 * ONES)
    assert torch.equal(reliability(0 * SCORES), 0 * ONES)
    unknown = reliability(SCORES, torch.full_like(ONES, float("nan")))
    torch.testing.assert_close(unknown, ONES)
    # Scores that are half noise, by construction: found on average, a little low as v is a difference of estimates.
    truth, noise = (torch.randn(400, 50, generator=seeded(s)) for s in (2, 3))
    found = reliability(truth + noise, torch.ones(400, 50))
    assert found.mean() == pytest.approx(0.5, abs=0.05)


def test_what_has_no_weight_costs_nothing():
    outputs = torch.randn(5, 6, 1, generator=seeded(1), requires_grad=True)
    weights = ONES.clone()
    weights[2] = 0
    terms = weighted_listwise(outputs, SCORES, weights, 1.0) + weighted_ranknet(outputs, SCORES, weights)
    terms.sum().backward()
    assert outputs.grad is not None and terms[2] == 0
    assert outputs.grad[2].abs().max() == 0 and outputs.grad[1].abs().max() > 0
