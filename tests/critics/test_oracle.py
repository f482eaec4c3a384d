"""Critics that see the truth: each measures what it says, and the noisy one is as good as it was asked to be."""

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from scipy.stats import spearmanr

from hmralign.body.lbs import posed_joints, vertices
from hmralign.critics import noisy_oracle
from hmralign.critics.controls import OracleCritic, WeighedOracleCritic, make_oracle_gpa
from hmralign.critics.critic import judge
from hmralign.critics.noisy_oracle import NoisyOracleCritic, expected_spearman, normal_scores
from hmralign.critics.ranking import rank
from hmralign.critics.setting import CriticSetting
from hmralign.fitting.detector_noise import noise_of
from hmralign.geometry.rotations import axis_rotmat
from hmralign.metrics.joint_errors import pa_pve, pve
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses, InputError
from support.critic_examples import group_around, persons

METRICS = ["mpjpe", "pa_mpjpe", "pve", "pa_pve"]


@lru_cache(maxsize=1)
def scene():
    body, example = persons(6)
    return body, example, group_around(body, example.annotation.body, [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])


def moved(body, params: BodyParams, rotation, shift) -> BodyParams:
    return replace(params, global_orient=rotation @ params.global_orient, transl=params.transl + shift)


@pytest.mark.parametrize("metric", METRICS)
def test_the_truth_is_best_and_scores_are_metres(metric):
    body, example, group = scene()
    scores = judge(OracleCritic(metric, body), group, example)
    assert scores[:, 0].abs().max() < 1e-4 and (rank(scores)[:, 0] == 0).all()
    assert (scores.mean(0).diff() < 0).all() and (scores > -1.0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_what_alignment_takes_out(metric):
    body, example, _ = scene()
    truth = example.annotation.body
    elsewhere = moved(body, truth, torch.eye(3), torch.tensor([0.3, -0.1, 1.0]))
    turned = moved(body, truth, axis_rotmat("y", torch.tensor(0.7)), torch.zeros(3))
    two = BodyParams.stack([elsewhere, turned], dim=1)
    scores = judge(OracleCritic(metric, body), Hypotheses(two, posed_joints(body, two)), example)
    assert scores[:, 0].abs().max() < 1e-4
    if metric.startswith("pa_"):
        assert scores[:, 1].abs().max() < 1e-4
    else:
        assert (scores[:, 1] < -0.03).all()


def test_the_reward_of_the_public_gpa_code_weighs_three_oracles():
    body, example, group = scene()
    critic = make_oracle_gpa(CriticSetting(body, noise_of("mediapipe")))
    parts = {metric: judge(OracleCritic(metric, body), group, example) for metric in METRICS}
    expected = 1.2 * parts["mpjpe"] + 2.0 * parts["pa_mpjpe"] + 0.7 * parts["pve"]
    torch.testing.assert_close(judge(critic, group, example), expected)
    assert critic.needs_truth and critic.name == "oracle_gpa"
    torch.testing.assert_close(WeighedOracleCritic(body, 1.0, 0.0, 0.0)(group, example), parts["mpjpe"])
    with pytest.raises(InputError, match="needs ground truth"):
        critic(group, replace(example, annotation=None))


def test_vertex_oracles_are_the_metric_in_a_loop_whatever_the_chunk(monkeypatch):
    body, example, group = scene()
    truth = example.annotation
    critics = [OracleCritic("pve", body), OracleCritic("pa_pve", body)]
    whole = [judge(critic, group, example) for critic in critics]
    monkeypatch.setattr("hmralign.critics.controls._BODIES_AT_ONCE", 4)
    for scores, critic in zip(whole, critics, strict=True):
        assert torch.allclose(judge(critic, group, example), scores, atol=1e-6)
    for p, m in [(0, 1), (5, 5), (3, 4)]:
        mesh, target = vertices(body, group.body[p, m]), vertices(body, truth.body[p])
        assert whole[0][p, m].item() == pytest.approx(
            -pve(mesh, target, group.joints[p, m, 0], truth.joints[p, 0]).item(), abs=1e-5
        )
        assert whole[1][p, m].item() == pytest.approx(-pa_pve(mesh, target).item(), abs=1e-5)


def test_vertices_need_a_body():
    with pytest.raises(InputError, match=r"oracle_pa_pve.*no body model"):
        OracleCritic("pa_pve")


def synthetic_groups(persons_: int, hyps: int, seed: int = 0) -> tuple[Hypotheses, Example]:
    """Groups that only have joints: the oracle looks at nothing else."""
    _, example, _ = scene()
    generator = torch.Generator().manual_seed(seed)
    joints = 0.2 * torch.randn(persons_, hyps, 29, 3, generator=generator)
    joints = joints * torch.rand(persons_, hyps, 1, 1, generator=generator)
    body = BodyParams(
        torch.eye(3).expand(persons_, hyps, 3, 3),
        torch.eye(3).expand(persons_, hyps, 23, 3, 3),
        torch.zeros(persons_, hyps, 10),
        torch.zeros(persons_, hyps, 3),
    )
    truth = Annotation(body[:, 0], torch.zeros(persons_, 29, 3))
    return Hypotheses(body, joints), Example(example.observation[torch.zeros(persons_, dtype=torch.long)], truth)


@pytest.mark.parametrize("hyps", [3, 8, 32])
@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.9])
def test_the_noisy_oracle_correlates_as_asked(hyps, correlation):
    group, example = synthetic_groups(12_000 // hyps, hyps)
    noisy = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), correlation), group, example)
    oracle = judge(OracleCritic(), group, example)
    measured = [float(spearmanr(a, b).statistic) for a, b in zip(noisy, oracle, strict=True)]
    assert sum(measured) / len(measured) == pytest.approx(correlation, abs=0.03)


def test_the_ends_of_the_noisy_oracle():
    group, example = synthetic_groups(200, 9)
    oracle = judge(OracleCritic(), group, example)
    exact = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 1.0), group, example)
    assert torch.equal(rank(exact), rank(oracle))
    chance = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 0.0), group, example)
    other = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 0.0), *reversed_truth(group, example))
    assert torch.equal(chance, other), "at 0 the truth has no say"
    one = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 0.5), group[:, :1], example)
    assert one.shape == (200, 1) and torch.isfinite(one).all()


def reversed_truth(group, example):
    truth = Annotation(example.annotation.body, example.annotation.joints + torch.randn(29, 3))
    return group, replace(example, annotation=truth)


def test_ties_of_the_oracle_stay_ties_at_correlation_one():
    group, example = synthetic_groups(4, 6)
    twins = torch.tensor([0, 0, 1, 1, 2, 2])
    exact = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 1.0), group[:, twins], example)
    assert torch.equal(exact[:, ::2], exact[:, 1::2])
    same = judge(NoisyOracleCritic(torch.Generator().manual_seed(1), 1.0), group[:, torch.zeros(5).long()], example)
    assert (same == 0).all()


def test_same_generator_seed_same_scores_and_every_call_draws_anew():
    group, example = synthetic_groups(5, 7)
    a, b = (judge(NoisyOracleCritic(torch.Generator().manual_seed(3), 0.5), group, example) for _ in range(2))
    assert torch.equal(a, b)
    critic = NoisyOracleCritic(torch.Generator().manual_seed(3), 0.5)
    assert not torch.equal(judge(critic, group, example), judge(critic, group, example))


def test_normal_scores_are_standardised_and_only_know_the_order():
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    scores = normal_scores(values)
    assert torch.allclose(scores.mean(1), torch.zeros(5), atol=1e-5)
    assert torch.allclose(scores.std(1, unbiased=False), torch.ones(5), atol=1e-5)
    assert torch.equal(scores.argsort(1), values.argsort(1))
    assert torch.equal(scores, normal_scores(values.exp() * 7 + 3))


@pytest.mark.parametrize("correlation", [0.1, 0.5, 0.95])
def test_large_groups_follow_the_bivariate_normal_relation(correlation):
    signal, noise = noisy_oracle.signal_and_noise(correlation, 800)
    assert signal == pytest.approx(2 * math.sin(math.pi * correlation / 6), abs=2e-3)
    assert signal**2 + noise**2 == pytest.approx(1.0)
    assert expected_spearman(signal / noise, 800) == pytest.approx(correlation, abs=1e-6)


@pytest.mark.parametrize("correlation", [-0.1, 1.1, math.nan])
def test_a_correlation_that_is_none_is_refused(correlation):
    with pytest.raises(InputError, match="from 0 to 1"):
        NoisyOracleCritic(torch.Generator(), correlation)


def test_the_noisy_oracle_needs_truth():
    group, example = synthetic_groups(3, 4)
    with pytest.raises(InputError, match=r"oracle_mpjpe_noisy_0.5.*needs ground truth"):
        judge(NoisyOracleCritic(torch.Generator(), 0.5), group, replace(example, annotation=None))
