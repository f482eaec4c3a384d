"""GPA as its public code has it: one test for each row in which it departs from eq. 6 as printed."""

import math
from dataclasses import replace

import pytest
import torch

from hmralign.alignment.methods.group import (
    GPA_CODE,
    GPA_PAPER,
    GroupConfig,
    group,
    group_items,
    group_objective,
    winner_anchor,
)
from hmralign.alignment.scored_groups import ScoredGroups
from hmralign.storage.presets import preset_path
from hmralign.structures import InputError
from hmralign.systems.align.configuration import read_align_config
from hmralign.training.objective import Items, Losses, draw_members
from support.synthetic_persons import persons, seeded

N, M = 5, 6
MODES = ("literal", "sigmoid", "group_sigmoid", "hinge", "positive")


def losses(parts=(2,), spread=0.01, seed=0) -> Losses:
    """So near to each other that sigmoids of 100 d are not flat."""
    g = seeded(seed)
    reference = torch.rand(N, M, *parts, generator=g).double()
    policy = reference + spread * torch.randn(reference.shape, generator=g).double()
    return Losses(policy, reference, torch.randn(N, M, generator=g).double())


def terms(config: GroupConfig, found: Losses) -> torch.Tensor:
    return group_objective(config).terms(found)


def scored(scores: torch.Tensor) -> ScoredGroups:
    n = len(scores)
    x_0 = torch.randn(*scores.shape, 3, generator=seeded(1))
    return ScoredGroups(tuple(map(str, range(n))), x_0, scores, persons(n).observation)


def test_the_presets_are_the_named_settings():
    assert read_align_config(preset_path("align", "gpa-code")).settings == GPA_CODE
    assert read_align_config(preset_path("align", "gpa-paper")).settings == GPA_PAPER
    training = read_align_config(preset_path("align", "gpa-code")).training
    assert training.loss_weight == "eps" and training.trainable == "denoiser"


def test_the_loss_is_the_codes_written_as_a_loop():
    """0.1 (joints + twists) + plain denoising over all members; better members pull, those with A <= 0 push."""
    found = losses()
    found.weights[0, 0] = 0.0
    total = 0.0
    for ours, theirs, advantages in zip(found.policy, found.reference, found.weights, strict=True):
        for part in range(2):
            better, worse = 0.0, 0.0
            for i in range(M):
                d, weight = float(ours[i, part] - theirs[i, part]), abs(float(advantages[i]))
                if advantages[i] > 0:
                    better += weight * d
                else:
                    worse += weight * d
            total += 0.1 * math.log1p(math.exp(100 * (better - worse))) / N
        total += sum(float(ours[i].sum()) for i in range(M)) / (N * M)
    assert float(terms(GPA_CODE, found).mean()) == pytest.approx(total, rel=1e-9)


def test_parts_have_a_form_each_and_are_added():
    found = losses()
    for mode in MODES:
        config = GroupConfig(mode=mode, by_parts=True)
        each = [
            terms(replace(config, by_parts=False), Losses(found.policy[..., k], found.reference[..., k], found.weights))
            for k in range(2)
        ]
        torch.testing.assert_close(terms(config, found), each[0] + each[1])


def test_the_sum_inside_the_sigmoid_is_not_divided_by_the_size_of_the_group():
    found = losses(())
    code = group(found.policy, found.reference, found.weights, mode="group_sigmoid", beta=100.0)
    mean = group(found.policy, found.reference, found.weights, mode="group_sigmoid", beta=100.0 * M, inside="mean")
    torch.testing.assert_close(code, M * mean)  # of which each is divided by its beta outside
    averaged = terms(GroupConfig(mode="group_sigmoid", inside="mean"), found)
    assert (averaged - terms(GroupConfig(mode="group_sigmoid"), found)).abs().max() > 1e-6


@pytest.mark.parametrize(("mode", "scale"), [("sigmoid", 100.0), ("group_sigmoid", 100.0 * M)])
def test_unscaled_sigmoids_are_those_before_the_division(mode, scale):
    found = losses(())
    divided = GroupConfig(mode=mode, beta=100.0)
    torch.testing.assert_close(terms(replace(divided, unscaled=True), found), scale * terms(divided, found))


def test_denoising_is_on_all_members_and_the_anchor_on_better_ones():
    found = losses(())
    bare = GroupConfig(preference=0.0)
    assert torch.equal(terms(bare, found), torch.zeros(N, M).double())
    torch.testing.assert_close(terms(replace(bare, denoising=0.7), found), 0.7 * found.policy)
    anchored = terms(replace(bare, anchor=0.7), found)
    assert torch.equal(anchored, 0.7 * winner_anchor(found.policy, found.weights))
    assert (anchored[found.weights <= 0] == 0).all()


def test_without_its_preference_part_the_codes_loss_is_plain_denoising():
    found = losses()
    alone = terms(replace(GPA_CODE, preference=0.0), found)
    torch.testing.assert_close(alone, found.policy.sum(-1))
    weighed = terms(replace(GPA_CODE, preference=0.2), found) - alone
    torch.testing.assert_close(weighed, 2 * (terms(GPA_CODE, found) - alone))


def test_groups_with_equal_scores_are_kept_and_only_denoised():
    scores = torch.rand(4, 22, generator=seeded(2))
    scores[1] = 0.25
    assert len(group_items(scored(scores), replace(GPA_CODE, drawn=None))) == 4
    assert len(group_items(scored(scores), replace(GPA_CODE, drawn=None, below_floor="drop"))) == 3
    found = losses()
    tied = Losses(found.policy.clone().requires_grad_(True), found.reference, torch.zeros(N, M).double())
    value = terms(GPA_CODE, tied)
    torch.testing.assert_close(value, 0.2 * math.log(2) + tied.policy.sum(-1))
    value.sum().backward()
    assert torch.equal(tied.policy.grad, torch.ones_like(tied.policy))


def test_members_are_drawn_anew_and_their_advantages_are_among_themselves():
    groups = scored(torch.randn(4, 22, generator=seeded(3)))
    items, objective = group_items(groups, GPA_CODE), group_objective(GPA_CODE)
    torch.testing.assert_close(items.weights, groups.scores)  # the whole pool, with its scores
    first, second = (draw_members(items, objective, seeded(seed)) for seed in (0, 1))
    for drawn in (first, second):
        assert drawn.members == 20
        torch.testing.assert_close(drawn.weights.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
        torch.testing.assert_close(drawn.weights.std(1, correction=0), torch.ones(4))
        for person, x_0, advantages in zip(groups.x_0, drawn.x_0, drawn.weights, strict=True):
            places = [int((person == row).all(-1).nonzero()) for row in x_0]
            assert len(set(places)) == 20, "without replacement"
            row = int((groups.x_0 == person).all(-1).all(-1).nonzero())
            assert groups.scores[row, places].argsort().tolist() == advantages.argsort().tolist()
    assert not torch.equal(first.x_0, second.x_0)


def test_a_pool_that_is_not_to_be_drawn_from_draws_nothing():
    items = Items(torch.arange(2), torch.randn(2, 4, 3, generator=seeded(4)), torch.ones(2, 4))
    generator = seeded(5)
    assert draw_members(items, group_objective(GroupConfig()), generator) is items
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=seeded(5)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"t_from": 1.0}, "t_from is 1.0"),
        ({"t_from": -0.1}, "t_from"),
        ({"drawn": 1}, "at least 2"),
        ({"drawn": 4, "group_weights": "std"}, "group_weights = equal"),
        ({"by_parts": True, "kappa": 0.1}, "kappa = 0"),
        ({"by_parts": True, "mode": "nft"}, "another mode"),
        ({"denoising": -1.0}, "denoising is -1.0"),
        ({"preference": math.inf}, "preference is inf"),
    ],
)
def test_settings_without_meaning_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        GroupConfig(**changes)
