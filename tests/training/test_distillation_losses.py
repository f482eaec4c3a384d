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


def test_the_less_a_score_is_trusted_the_less_its_place_counts():
    """Listwise against a loop: targets are softmaxes of weighted standard scores."""
    outputs, weights = torch.randn(5, 6, 2, generator=seeded(1)), torch.rand(5, 6, generator=seeded(2))
    found = weighted_listwise(outputs, SCORES, weights, 2.0)
    for row in range(5):
        z = (SCORES[row] - SCORES[row].mean()) / SCORES[row].std(correction=0)
        target = (weights[row] * z).softmax(0)
        cost = [-(target * (2.0 * outputs[row, :, head]).log_softmax(0)).sum() for head in (0, 1)]
        torch.testing.assert_close(found[row], sum(cost) / 2 * weights[row].mean())
    ranked = weighted_ranknet(outputs, SCORES, weights)
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    for row in range(5):
        terms = []
        for i, j in pairs:
            better, worse = (i, j) if SCORES[row, i] > SCORES[row, j] else (j, i)
            miss = torch.nn.functional.softplus(outputs[row, worse] - outputs[row, better]).mean()
            terms.append(miss * weights[row, i] * weights[row, j])
        torch.testing.assert_close(ranked[row], torch.stack(terms).mean())


def test_what_has_no_weight_costs_nothing():
    outputs = torch.randn(5, 6, 1, generator=seeded(1), requires_grad=True)
    weights = ONES.clone()
    weights[2] = 0
    terms = weighted_listwise(outputs, SCORES, weights, 1.0) + weighted_ranknet(outputs, SCORES, weights)
    terms.sum().backward()
    assert outputs.grad is not None and terms[2] == 0
    assert outputs.grad[2].abs().max() == 0 and outputs.grad[1].abs().max() > 0
