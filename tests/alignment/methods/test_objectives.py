"""Objectives at policy = reference, their gradients, their bounds, and how they relate to each other."""

import math

import pytest
import torch

from hmralign.alignment.advantages import group_advantages
from hmralign.alignment.drift import drift
from hmralign.alignment.methods.dpo import dpo
from hmralign.alignment.methods.group import diffusion_nft, group, winner_anchor
from hmralign.alignment.methods.kto import kto
from support.synthetic_persons import seeded

MODES = ("literal", "sigmoid", "group_sigmoid", "hinge", "positive")


def losses(shape=(5, 8), seed=0):
    g = seeded(seed)
    return torch.rand(shape, generator=g), torch.rand(shape, generator=g)


def gradient(objective, policy):
    policy = policy.clone().requires_grad_(True)
    objective(policy).sum().backward()
    return policy.grad


def test_dpo_costs_log_2_at_the_reference_and_twice_that_in_two_parts():
    w, l = losses((6,))
    torch.testing.assert_close(dpo(w, l, w, l, beta=100.0), torch.full((6,), math.log(2)))
    w, l = losses((6, 2))
    torch.testing.assert_close(dpo(w, l, w, l, beta=50.0).sum(-1), torch.full((6,), 2 * math.log(2)))


def test_swapping_the_pair_flips_the_gradient_exactly_at_the_reference():
    w, l = losses((6,))
    to_winner = gradient(lambda p: dpo(p, l, w, l, beta=30.0), w)
    as_loser = gradient(lambda p: dpo(l, p, l, w, beta=30.0), w)
    assert torch.equal(to_winner, -as_loser)
    assert (to_winner > 0).all(), "a smaller loss of the winner is better"


def test_a_group_of_two_is_dpo():
    """Scores +-1 give advantages +-1: one sigmoid over the group is DPO at the same beta, divided by beta."""
    policy, reference = losses((6, 2))
    advantages = group_advantages(torch.tensor([[1.0, -1.0]]).expand(6, 2))
    ours = group(policy, reference, advantages, mode="group_sigmoid", beta=20.0).sum(-1)
    pairs = dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta=20.0)
    torch.testing.assert_close(ours, pairs / 20.0)


@pytest.mark.parametrize("mode", MODES)
def test_better_hypotheses_are_pulled_and_worse_ones_pushed(mode):
    policy, _ = losses()
    advantages = group_advantages(torch.randn(5, 8, generator=seeded(1)))
    g = gradient(lambda p: group(p, policy, advantages, mode=mode), policy)
    assert (g[advantages > 0] > 0).all()
    assert (g[advantages < 0] <= 0).all() and bool((g[advantages < 0] < 0).any()) == (mode != "positive")


@pytest.mark.parametrize("mode", ["literal", "sigmoid", "group_sigmoid", "hinge"])
def test_at_the_reference_all_modes_with_negatives_push_in_the_literal_direction(mode):
    policy, _ = losses()
    advantages = group_advantages(torch.randn(5, 8, generator=seeded(2)))
    g = gradient(lambda p: group(p, policy, advantages, mode=mode), policy)
    literal = gradient(lambda p: group(p, policy, advantages, mode="literal"), policy)
    factor = {"sigmoid": 0.5, "group_sigmoid": 0.5}.get(mode, 1.0)
    torch.testing.assert_close(g, factor * literal)


def test_only_the_literal_form_falls_without_bound():
    policy, reference = losses()
    advantages = group_advantages(torch.randn(5, 8, generator=seeded(3)))
    runaway = policy + 1e4 * (advantages < 0)
    totals = {m: float(group(runaway, reference, advantages, mode=m).sum()) for m in MODES}
    assert totals["literal"] < -1e4
    assert all(totals[m] > -30 for m in MODES if m != "literal"), totals


def test_equal_scores_give_no_gradient():
    policy, reference = losses()
    zeros = torch.zeros(5, 8)
    for mode in MODES:
        assert torch.equal(gradient(lambda p, m=mode: group(p, reference, zeros, mode=m), policy), zeros)


def test_permuting_a_group_permutes_its_terms():
    policy, reference = losses()
    advantages = group_advantages(torch.randn(5, 8, generator=seeded(4)))
    order = torch.randperm(8, generator=seeded(5))
    for mode in MODES:
        a = group(policy, reference, advantages, mode=mode)[:, order]
        b = group(policy[:, order], reference[:, order], advantages[:, order], mode=mode)
        torch.testing.assert_close(a, b)


def test_the_literal_form_is_inert_to_its_scale_under_adam():
    """Ten steps of Adam on a scaled and an unscaled literal loss end at the same weights; the sigmoid's do not."""
    target = torch.randn(4, 6, generator=seeded(6))
    advantages = group_advantages(torch.randn(4, 6, generator=seeded(7)))

    def trained(scale: float, mode: str) -> torch.Tensor:
        weight = torch.zeros(6, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.01, eps=1e-30)
        for _ in range(10):
            policy = (weight - target).square()
            beta = scale if mode == "sigmoid" else 1.0
            factor = scale if mode == "literal" else 1.0
            loss = factor * group(policy, target.square(), advantages, mode=mode, beta=beta).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return weight.detach()

    torch.testing.assert_close(trained(1.0, "literal"), trained(1000.0, "literal"), atol=1e-6, rtol=0)
    assert (trained(1.0, "sigmoid") - trained(1000.0, "sigmoid")).abs().max() > 1e-4


def test_kto_starts_at_a_half_and_knows_good_from_bad():
    policy, _ = losses((10,))
    sign = torch.tensor([1.0, -1.0] * 5)
    torch.testing.assert_close(kto(policy, policy, sign, beta=10.0), torch.full((10,), 0.5))
    g = gradient(lambda p: kto(p, policy, sign, beta=10.0), policy)
    assert (g[sign > 0] > 0).all() and (g[sign < 0] < 0).all()


def test_anchor_and_drift():
    policy, _ = losses()
    advantages = group_advantages(torch.randn(5, 8, generator=seeded(8)))
    g = gradient(lambda p: winner_anchor(p, advantages), policy)
    assert torch.equal(g, advantages.clamp(min=0))
    a, b = torch.randn(3, 6, generator=seeded(9)), torch.randn(3, 6, generator=seeded(10)).requires_grad_(True)
    assert torch.equal(drift(a, a), torch.zeros(3)) and (drift(a, b) > 0).all() and not drift(a, b).requires_grad


def test_nft_does_not_move_the_old_model():
    old = torch.randn(4, 6, generator=seeded(12)).requires_grad_(True)
    new, target = torch.randn(2, 4, 6, generator=seeded(13))
    terms = diffusion_nft(new.requires_grad_(True), old, target, torch.rand(4, generator=seeded(14)), beta=0.5)
    terms.sum().backward()
    assert old.grad is None and new.grad.abs().min() > 0


def test_nft_is_sft_for_the_best_and_pushes_from_the_worst():
    g = seeded(11)
    old, target = torch.randn(4, 6, generator=g), torch.randn(4, 6, generator=g)
    best = diffusion_nft(target, old, target, torch.ones(4), beta=1.0)
    torch.testing.assert_close(best, torch.zeros(4))
    away = 2 * old - target
    torch.testing.assert_close(diffusion_nft(away, old, target, torch.zeros(4), beta=1.0), torch.zeros(4))
    half = gradient(lambda p: diffusion_nft(p, old, target, torch.full((4,), 0.5), beta=1.0), old)
    torch.testing.assert_close(half, torch.zeros(4, 6), atol=1e-6, rtol=0)


def test_kto_measures_gains_against_the_drift_of_all_which_has_no_gradient():
    """1 - sigmoid(sign beta (g - max(mean g, 0))): one sample's term does not pull at the others."""
    reference, policy = losses((10,))
    sign = torch.tensor([1.0, -1.0] * 5)
    for shift in (-1.0, 1.0):  # all do better than the reference, or all worse
        gain = reference - (policy + shift)
        drifted = max(float(gain.mean()), 0.0)
        assert (drifted > 0) == (shift < 0)
        expected = 1 / (1 + torch.exp(sign * 3.0 * (gain - drifted)))
        torch.testing.assert_close(kto(policy + shift, reference, sign, beta=3.0), expected)
        for i in range(10):
            g = gradient(lambda p, i=i: kto(p, reference, sign, beta=3.0)[i], policy + shift)
            assert g[i] != 0 and not g[torch.arange(10) != i].any(), "a term has a gradient by its own sample alone"
