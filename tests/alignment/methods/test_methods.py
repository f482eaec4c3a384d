"""What a method adds up: its objective, its drift from the reference, its anchor, each by its own weight and sign."""

import pytest
import torch

from hmralign.alignment.drift import drift
from hmralign.alignment.methods.best_of_n import make_best_of_n
from hmralign.alignment.methods.dpo import DpoConfig, dpo, dpo_objective
from hmralign.alignment.methods.group import GroupConfig, diffusion_nft, group, group_objective, group_weights
from hmralign.alignment.methods.kto import KtoConfig, kto, kto_objective
from hmralign.alignment.methods.sft import make_sft
from hmralign.training.objective import Losses, Prediction
from support.synthetic_persons import seeded

N, M, DIMS = 5, 4, 6


def losses(members=M, parts=(), seed=0) -> Losses:
    g = seeded(seed)
    policy, reference = torch.rand(2, N, members, *parts, generator=g)
    weights = torch.randn(N, members, generator=g)
    return Losses(policy, reference, weights, Prediction(*torch.randn(3, N, members, DIMS, generator=g)))


def moved(found: Losses) -> torch.Tensor:
    return drift(found.prediction.policy, found.prediction.reference)


@pytest.mark.parametrize("parts", [(), (2,)])
def test_dpo_is_its_pairs_and_an_anchor_on_the_chosen(parts):
    found = losses(2, parts)
    (w, l), (ref_w, ref_l) = found.policy.unbind(1), found.reference.unbind(1)
    pairs, chosen = dpo(w, l, ref_w, ref_l, beta=7.0), w
    if parts:
        pairs, chosen = pairs.sum(-1), w.sum(-1)
    config = DpoConfig(beta=7.0, anchor=0.3, by_parts=bool(parts))
    torch.testing.assert_close(dpo_objective(config).terms(found), pairs + 0.3 * chosen)


def test_dpo_pays_for_its_drift():
    found = losses(2)
    free = dpo_objective(DpoConfig(beta=7.0)).terms(found)
    held = dpo_objective(DpoConfig(beta=7.0, kappa=0.4)).terms(found)
    torch.testing.assert_close(held, free + 0.4 * moved(found).mean(-1))


def test_kto_is_supervised_on_the_desirable_alone():
    found = losses(1)
    signed = Losses(found.policy, found.reference, torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0])[:, None])
    terms = kto_objective(KtoConfig(beta=5.0, supervised=0.2)).terms(signed)
    plain = kto(signed.policy, signed.reference, signed.weights, beta=5.0)
    good = signed.weights > 0
    torch.testing.assert_close(terms[good], plain[good] + 0.2 * signed.policy[good])
    torch.testing.assert_close(terms[~good], plain[~good])


def test_kto_by_parts_has_a_term_for_each_part():
    found = losses(1, (2,))
    signed = Losses(found.policy, found.reference, torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0])[:, None])
    terms = kto_objective(KtoConfig(beta=5.0, supervised=0.2, by_parts=True)).terms(signed)
    each = [kto(signed.policy[..., k], signed.reference[..., k], signed.weights, beta=5.0) for k in range(2)]
    torch.testing.assert_close(terms, each[0] + each[1] + 0.2 * signed.policy.sum(-1) * (signed.weights > 0))
    assert kto_objective(KtoConfig(by_parts=True)).by_parts and not kto_objective(KtoConfig()).by_parts


@pytest.mark.parametrize("mode", ["literal", "sigmoid", "group_sigmoid", "hinge", "positive", "nft"])
def test_a_group_pays_for_its_drift_and_anchors_its_better_members(mode):
    found = losses()
    terms = group_objective(GroupConfig(mode=mode, beta=7.0, margin=0.2, nft_beta=0.5)).terms(found)
    if mode == "nft":
        p, optimality = found.prediction, (1 + found.weights.clamp(-1, 1)) / 2
        expected = diffusion_nft(p.policy, p.reference, p.target, optimality, beta=0.5)
    else:
        expected = group(found.policy, found.reference, found.weights, mode=mode, beta=7.0, margin=0.2)
    torch.testing.assert_close(terms, expected)
    more = group_objective(GroupConfig(mode=mode, beta=7.0, margin=0.2, nft_beta=0.5, kappa=0.4, anchor=0.3))
    better = found.weights.clamp(min=0) * found.policy
    torch.testing.assert_close(more.terms(found), expected + 0.3 * better + 0.4 * moved(found))


def test_plain_denoising_weighs_samples_and_asks_no_reference():
    found = losses(1)
    for method in (make_sft(), make_best_of_n()):
        objective = method.objective(method.settings())
        assert not objective.needs_reference
        torch.testing.assert_close(objective.terms(found), found.policy * found.weights)


def test_groups_weigh_by_their_spread_or_all_alike():
    scores = torch.randn(N, M, generator=seeded(3)) * torch.tensor([0.01, 1.0, 2.0, 5.0, 0.5])[:, None] + 3
    by_spread = group_weights(scores, GroupConfig(group_weights="std"))
    torch.testing.assert_close(by_spread.mean(), torch.tensor(1.0))
    torch.testing.assert_close(by_spread / by_spread[0], (scores.std(1) / scores[0].std()), rtol=1e-4, atol=0)
    assert torch.equal(group_weights(scores, GroupConfig()), torch.ones(N))
