import copy
import json
import math
import sys
import types
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from hmralign.alignment.methods.direct_reward import DirectRewardConfig, RolloutStep, rollout
from hmralign.alignment.methods.dpo import ADHMR_CODE, ADHMR_PAPER, DpoConfig, dpo_objective
from hmralign.alignment.methods.group import GPA_CODE, GPA_PAPER, GroupConfig, group_objective
from hmralign.alignment.methods.kto import KtoConfig, kto_objective
from hmralign.alignment.methods.sft import denoising_objective
from hmralign.policies.policy import per_sample_loss
from hmralign.structures import InputError
from hmralign.training.contexts import LiveContexts, cache_contexts, encoder_is_trained
from hmralign.training.guard import guard
from hmralign.training.loop import Loop
from hmralign.training.objective import Losses, Objective, draw_noise, paired_losses
from hmralign.training.offline import OfflineStep
from hmralign.training.preference import _loop, choose_trainable, train_policy
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from support.synthetic_persons import seeded
from support.toy_policy import DIMS, PERSONS, ToyPolicy, observation, toy_items

QUICK = PreferenceTrainingConfig(
    steps=8, batch_size=24, learning_rate=0.01, warmup=2, context_variants=1, save_every=3, check_every=2
)
MODES = ["literal", "sigmoid", "group_sigmoid", "hinge", "positive", "nft"]
OBJECTIVES = {
    "best_of_n": (denoising_objective("best_of_n"), 1),
    "dpo": (dpo_objective(DpoConfig(anchor=0.1)), 2),
    "dpo_kl": (dpo_objective(DpoConfig(kappa=0.1)), 2),
    "adhmr_code": (dpo_objective(ADHMR_CODE), 2),
    "gpa_code": (group_objective(replace(GPA_CODE, drawn=3)), 4),
    "kto": (kto_objective(KtoConfig()), 1),
    **{f"group_{m}": (group_objective(GroupConfig(mode=m, kappa=0.5, anchor=0.2)), 4) for m in MODES},
}


def step_of(objective, members, config=QUICK, reference=None, contexts=None):
    reference = reference or ToyPolicy().eval().requires_grad_(False)
    contexts = contexts or cache_contexts(reference, observation(), 1, trains_encoder=False)
    return OfflineStep(toy_items(members), contexts, objective, reference, config)


def trained(folder, objective, members, config=QUICK, **changes):
    policy = ToyPolicy()
    config = replace(config, **changes)
    choose_trainable(policy, config)
    return train_policy(policy, step_of(objective, members, config), config, folder).policy


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_policy_moves_and_neither_the_reference_nor_the_encoder_does(name, tmp_path):
    objective, members = OBJECTIVES[name]
    reference = ToyPolicy().eval().requires_grad_(False)
    before = copy.deepcopy(reference.state_dict())
    policy = ToyPolicy()
    choose_trainable(policy, QUICK)
    outcome = train_policy(policy, step_of(objective, members, reference=reference), QUICK, tmp_path)
    assert all(torch.equal(v, before[k]) for k, v in reference.state_dict().items())
    after = outcome.policy.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in after if k.startswith("encoder"))
    assert not torch.equal(after["layers.0.weight"], before["layers.0.weight"])
    assert outcome.stopped is None and outcome.steps == QUICK.steps


@pytest.mark.parametrize("name", [n for n in OBJECTIVES if n != "kto"])
def test_one_batch_of_four_parts_is_one_batch(name, tmp_path):
    objective, members = OBJECTIVES[name]
    whole = weights(trained(tmp_path / "a", objective, members))
    parts = weights(trained(tmp_path / "b", objective, members, accumulate=4))
    assert (whole - parts).abs().max() < 1e-9 and (whole - parts).abs().mean() < 1e-10


def test_tensorboard_shows_the_curve_when_asked_and_names_what_is_missing(tmp_path, monkeypatch):
    class Writer:
        """The one call of the package's writer that is made, into a list."""

        shown: ClassVar[list] = []

        def __init__(self, folder):
            self.shown.append(folder)

        def add_scalar(self, name, value, step):
            self.shown.append((step, name, value))

        def flush(self):
            pass

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    trained(tmp_path / "quiet", *OBJECTIVES["dpo"])
    assert Writer.shown == []
    trained(tmp_path / "shown", *OBJECTIVES["dpo"], tensorboard=True)
    folder, *figures = Writer.shown
    assert folder == str(tmp_path / "shown" / "tensorboard")
    written = [json.loads(line) for line in (tmp_path / "shown" / "curve.jsonl").open()]
    assert {step for step, _, _ in figures} == {row["step"] for row in written}
    for row in written:
        shown = {name: value for step, name, value in figures if step == row["step"]}
        assert len(shown) > 2 and shown.pop("seconds") >= 0
        assert shown == pytest.approx({name: row[name] for name in shown}, rel=1e-5, abs=1e-6)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        trained(tmp_path / "missing", *OBJECTIVES["dpo"], tensorboard=True)


def test_kto_refuses_a_batch_in_parts():
    with pytest.raises(InputError, match="accumulate = 1"):
        step_of(*OBJECTIVES["kto"], config=replace(QUICK, accumulate=2))


@pytest.mark.parametrize("name", ["best_of_n", "dpo", "group_sigmoid", "group_nft", "lora", "dropout"])
def test_a_run_that_was_cut_off_ends_as_the_straight_one(name, tmp_path):
    objective, members = OBJECTIVES[{"lora": "dpo", "dropout": "dpo"}.get(name, name)]
    config = {"lora": replace(QUICK, trainable="lora", lora_rank=2), "dropout": replace(QUICK, dropout=True)}.get(
        name, QUICK
    )

    def fresh():
        policy = ToyPolicy(dropout=0.3)
        choose_trainable(policy, config)
        return policy

    straight = train_policy(fresh(), step_of(objective, members, config), config, tmp_path / "straight").policy

    class CutOff(OfflineStep):
        def __call__(self, policy, step):
            if step == 5:
                raise KeyboardInterrupt
            yield from super().__call__(policy, step)

    inner = step_of(objective, members, config)
    cut = CutOff(inner.items, inner.contexts, inner.objective, inner.reference, inner.config)
    with pytest.raises(KeyboardInterrupt):
        train_policy(fresh(), cut, config, tmp_path / "cut")
    torch.manual_seed(99)  # whatever else drew in between
    resumed = train_policy(fresh(), step_of(objective, members, config), config, tmp_path / "cut").policy
    assert torch.equal(weights(straight), weights(resumed))
    curves = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in (f / "curve.jsonl").open()]
        for f in (tmp_path / "straight", tmp_path / "cut")
    ]
    assert curves[0] == curves[1]


def test_policy_and_reference_are_asked_at_the_same_time_and_noise():
    policy, reference = ToyPolicy(), ToyPolicy(1)
    items = toy_items(4)
    objective = group_objective(GroupConfig())
    draw = draw_noise(items, objective, 100, seeded(0))
    contexts = policy.context(observation())[items.person]
    paired_losses(policy, reference, items, draw, contexts, contexts, objective, "v")
    (t, eps), (their_t, their_eps) = policy.asked[-1], reference.asked[-1]
    assert torch.equal(t, their_t) and torch.equal(eps, their_eps)


@pytest.mark.parametrize("shares", ["nothing", "time", "time_and_noise"])
def test_members_share_what_they_are_said_to_share(shares):
    objective = Objective("x", lambda losses: losses.policy, shares=shares)
    draw = draw_noise(toy_items(3), objective, 100, seeded(0))
    assert bool((draw.t == draw.t[:, :1]).all()) == (shares != "nothing")
    assert bool((draw.eps == draw.eps[:, :1]).all()) == (shares == "time_and_noise")


@pytest.mark.parametrize("config", [GroupConfig(), GroupConfig(mode="literal"), GPA_PAPER, GroupConfig(mode="nft")])
def test_a_group_shares_its_draw_as_it_is_told_and_policy_and_reference_always_do(config):
    """Through the loop's own step; `GPA_PAPER` is eq. 6 as printed, one t and one eps per group."""
    step = step_of(group_objective(config), 4)
    policy, reference = ToyPolicy(), step.reference
    list(step(policy, 3))
    (t, x_t), (their_t, their_x_t) = policy.seen[-1], reference.seen[-1]
    assert torch.equal(t, their_t) and torch.equal(x_t, their_x_t)
    items = step.items[step._batch(3)]
    alpha_bar = policy.schedule.at(t).double()[..., None]
    eps = (x_t - alpha_bar.sqrt() * items.x_0) / (1 - alpha_bar).sqrt()
    per_group = config.shares == "time_and_noise"
    assert per_group == (config is GPA_PAPER)
    assert bool((t == t[:, :1]).all()) == per_group and (t[:, 0].unique().numel() > 1)
    assert torch.allclose(eps, eps[:, :1].expand_as(eps), atol=1e-5) == per_group
    assert not torch.allclose(eps[:1].expand_as(eps), eps, atol=1e-5), "groups never share theirs"


def test_antithetic_times_come_in_pairs():
    objective = Objective("x", lambda losses: losses.policy, shares="time", antithetic=True)
    t = draw_noise(toy_items(2, n=24), objective, 100, seeded(0)).t[:, 0]
    assert torch.equal(t[:12] + t[12:], torch.full((12,), 99))


def start_terms(config):
    policy = ToyPolicy()
    reference = copy.deepcopy(policy)
    items = toy_items(2)
    objective = dpo_objective(config)
    draw = draw_noise(items, objective, 100, seeded(1))
    context = policy.context(observation())[items.person]
    return policy, objective.terms(paired_losses(policy, reference, items, draw, context, context, objective, "eps"))


def test_dpo_costs_log_2_at_the_start_and_twice_that_by_parts():
    torch.testing.assert_close(start_terms(ADHMR_PAPER)[1], torch.full((24,), math.log(2)).double())
    torch.testing.assert_close(start_terms(ADHMR_CODE)[1], torch.full((24,), 2 * math.log(2)).double())


@pytest.mark.parametrize("config", [ADHMR_PAPER, ADHMR_CODE])
def test_swapping_the_pair_flips_the_gradient_at_the_start(config):
    def gradient(swapped):
        policy, reference = ToyPolicy(), ToyPolicy()
        items = toy_items(2)
        objective = dpo_objective(config)
        draw = draw_noise(items, objective, 100, seeded(1))
        if swapped:
            items = replace(items, x_0=items.x_0.flip(1))
            draw = replace(draw, eps=draw.eps.flip(1))
        context = policy.context(observation())[items.person].detach()
        losses = paired_losses(policy, reference, items, draw, context, context, objective, "eps")
        objective.terms(losses).mean().backward()
        return torch.cat([p.grad.flatten() for p in policy.layers.parameters()])

    plain, swapped = gradient(False), gradient(True)
    assert plain.abs().max() > 1e-4
    torch.testing.assert_close(plain, -swapped)


def test_beta_says_nothing_in_the_literal_form(tmp_path):
    found = [
        weights(trained(tmp_path / str(beta), group_objective(GroupConfig(mode="literal", beta=beta)), 4))
        for beta in (1.0, 1000.0)
    ]
    assert torch.equal(*found)


def test_nor_does_any_factor_under_adam(tmp_path):
    plain = group_objective(GroupConfig(mode="literal"))
    scaled = replace(plain, terms=lambda losses: 1000 * plain.terms(losses))
    open_ = {"clip_norm": 1e12}
    a = weights(trained(tmp_path / "a", plain, 4, **open_))
    b = weights(trained(tmp_path / "b", scaled, 4, **open_))
    start = weights(ToyPolicy())
    assert (a - b).abs().max() < 1e-3 * (a - start).abs().max()


def test_a_group_of_two_is_a_pair():
    """With advantages +1 and -1 the group's one sigmoid is DPO over beta (docs/alignment.md)."""
    draw = seeded(4)
    policy, reference = torch.rand(6, 2, generator=draw), torch.rand(6, 2, generator=draw)
    losses = Losses(policy, reference, torch.tensor([1.0, -1.0]).expand(6, 2))
    group = group_objective(GroupConfig(mode="group_sigmoid", beta=7.0)).terms(losses).sum(1)
    pair = dpo_objective(DpoConfig(beta=7.0)).terms(losses)
    torch.testing.assert_close(group, pair / 7.0)


def test_a_loss_that_is_not_per_sample_is_refused():
    class Reduced(ToyPolicy):
        def denoising_loss(self, x_0, t, eps, context):
            return super().denoising_loss(x_0, t, eps, context).mean()

    items = toy_items(2)
    policy = Reduced()
    draw = draw_noise(items, OBJECTIVES["dpo"][0], 100, seeded(0))
    with pytest.raises(InputError, match="one loss per sample"):
        per_sample_loss(policy, items.x_0, draw.t, draw.eps, policy.context(observation())[items.person])


def test_what_a_policy_lacks_is_named(tmp_path):
    class Bare(nn.Module):
        """No more than `Denoiser`."""

        def __init__(self):
            super().__init__()
            inner = ToyPolicy()
            self.denoiser, self.schedule = inner.denoiser, inner.schedule
            self.context, self.denoising_loss = inner.context, inner.denoising_loss
            self.sample, self.to_body = inner.sample, inner.to_body

    items = toy_items(2)
    policy = Bare()
    for config, missing in ((DpoConfig(kappa=1.0), "predict_noise"), (ADHMR_CODE, "part_losses")):
        objective = dpo_objective(config)
        draw = draw_noise(items, objective, 100, seeded(0))
        context = policy.context(observation())[items.person]
        with pytest.raises(InputError, match=missing):
            paired_losses(policy, policy, items, draw, context, context, objective, "v")
    with pytest.raises(InputError, match="methods of `Denoiser`"):
        train_policy(nn.Linear(2, 2), rollout_step(DirectRewardConfig()), QUICK, tmp_path)


def test_kept_contexts_and_a_trained_encoder_exclude_each_other():
    with pytest.raises(InputError, match="cache_context = false"):
        replace(QUICK, trainable="all")
    policy = ToyPolicy()
    choose_trainable(policy, replace(QUICK, trainable="all", cache_context=False))
    assert encoder_is_trained(policy, policy.denoiser)
    with pytest.raises(InputError, match="cannot be kept"):
        cache_contexts(policy, observation(), 1, trains_encoder=True)
    choose_trainable(policy, QUICK)
    assert not encoder_is_trained(policy, policy.denoiser)


def test_training_all_moves_the_encoder_too(tmp_path):
    config = replace(QUICK, trainable="all", cache_context=False)
    policy = ToyPolicy()
    choose_trainable(policy, config)
    losses = step_of(*OBJECTIVES["dpo"], config=config, contexts=LiveContexts(observation()))
    after = train_policy(policy, losses, config, tmp_path).policy
    assert not torch.equal(after.encoder.weight, ToyPolicy().encoder.weight)


def test_kept_contexts_give_what_live_ones_give(tmp_path):
    policy = ToyPolicy()
    choose_trainable(policy, QUICK)
    live = step_of(*OBJECTIVES["dpo"], contexts=LiveContexts(observation()))
    a = weights(train_policy(policy, live, QUICK, tmp_path / "live").policy)
    assert torch.equal(a, weights(trained(tmp_path / "kept", *OBJECTIVES["dpo"])))


def test_low_rank_updates_are_merged_and_resume(tmp_path):
    objective, members = OBJECTIVES["dpo"]
    config = replace(QUICK, trainable="lora", lora_rank=2)
    straight = trained(tmp_path / "a", objective, members, config)
    assert set(straight.state_dict()) == set(ToyPolicy().state_dict())
    change = straight.layers[0].weight - ToyPolicy().layers[0].weight
    assert change.abs().max() > 0 and torch.linalg.matrix_rank(change.detach(), atol=1e-10) <= 2
    assert torch.equal(straight.encoder.weight, ToyPolicy().encoder.weight)
    again = trained(tmp_path / "a", objective, members, config)  # a finished run is only read
    assert torch.equal(weights(straight), weights(again))


def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_weights(tmp_path):
    objective = Objective("bad", lambda losses: losses.policy, needs_reference=False)

    class Bad(OfflineStep):
        def __call__(self, policy, step):
            for part in super().__call__(policy, step):
                yield replace(part, share=float("nan")) if step == 5 else part

    policy = ToyPolicy()
    choose_trainable(policy, QUICK)
    inner = step_of(objective, 1)
    bad = Bad(inner.items, inner.contexts, inner.objective, inner.reference, inner.config)
    outcome = train_policy(policy, bad, QUICK, tmp_path / "bad")
    assert "not finite at step 5" in outcome.stopped
    good = train_policy_until(tmp_path / "good", objective, 4)
    assert torch.equal(weights(outcome.policy), good)


def train_policy_until(folder, objective, steps):
    """Average after `steps` of the same schedule: a run that is cut off there."""
    seen = {}

    class Watch(OfflineStep):
        def probe(self, policy):
            seen[len(seen)] = weights(policy).clone()
            return super().probe(policy)

    policy = ToyPolicy()
    choose_trainable(policy, QUICK)
    inner = step_of(objective, 1)
    train_policy(
        policy, Watch(inner.items, inner.contexts, inner.objective, inner.reference, inner.config), QUICK, folder
    )
    return seen[steps // QUICK.check_every]


def test_the_result_is_the_average_and_not_the_last_weights(tmp_path):
    policy = ToyPolicy()
    choose_trainable(policy, QUICK)
    outcome = train_policy(policy, step_of(*OBJECTIVES["dpo"]), QUICK, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    average, last = (torch.cat([v.flatten() for v in s.values()]) for s in (state["ema"]["module"], state["model"]))
    assert torch.equal(weights(outcome.policy), average) and not torch.equal(average, last)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"loss_ratio": 3.5}, "3.50 times"),
        ({"held_out": -2.5}, "held-out score fell"),
        ({"spread": 0.01}, "spread of hypotheses"),
        ({"held_out": float("nan")}, "not finite"),
        ({"loss_ratio": 2.9, "held_out": -1.9, "spread": 0.05}, None),
    ],
)
def test_the_guard_says_why(figures, words):
    start = {"held_out": -1.0, "held_out_std": 1.0, "spread": 0.1}
    reason = guard(figures, start, QUICK)
    assert (reason is None) if words is None else words in reason


def test_a_run_that_runs_away_is_stopped(tmp_path):
    config = replace(QUICK, steps=400, learning_rate=0.3, check_every=10, save_every=400, loss_weight="eps")
    policy = ToyPolicy()
    choose_trainable(policy, config)
    outcome = train_policy(policy, step_of(group_objective(GroupConfig(mode="literal")), 4, config), config, tmp_path)
    assert outcome.stopped is not None and outcome.steps < 400
    again = train_policy(
        ready(config), step_of(group_objective(GroupConfig(mode="literal")), 4, config), config, tmp_path
    )
    assert again.stopped == outcome.stopped and torch.equal(weights(again.policy), weights(outcome.policy))


def ready(config):
    policy = ToyPolicy()
    choose_trainable(policy, config)
    return policy


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match=r"state\.pt"):
        trained(tmp_path, *OBJECTIVES["dpo"])


def test_the_policys_dropout_is_off_unless_asked_for(tmp_path):
    seen = []

    class Watch(OfflineStep):
        def __call__(self, policy, step):
            seen.append((policy.training, self.reference.training))
            yield from super().__call__(policy, step)

    for on in (False, True):
        config = replace(QUICK, dropout=on, steps=1)
        inner = step_of(*OBJECTIVES["dpo"], config=config)
        train_policy(
            ready(config),
            Watch(inner.items, inner.contexts, inner.objective, inner.reference, config),
            config,
            tmp_path / str(on),
        )
    assert seen == [(False, False), (True, False)]


# -- direct reward ---------------------------------------------------------------------------------------------------


def rollout_step(settings, config=QUICK):
    reference = ToyPolicy().eval().requires_grad_(False)
    contexts = cache_contexts(reference, observation(), 1, trains_encoder=False)
    reward = lambda x_0, person, variant: -(x_0 - 0.5).square().mean(-1)  # noqa: E731
    return RolloutStep(PERSONS, DIMS, contexts, reference, reward, settings, config)


class FixedStart:
    """The same rollouts, but all calls except the last are made by the policy as it was."""

    def __init__(self, losses, policy):
        self.losses, self.before = losses, copy.deepcopy(policy)

    def __call__(self, policy, step):
        before = self.before

        class Mixed(ToyPolicy):
            def predict_noise(self, x_t, t, context):
                first = int(t[0, 0]) != 32  # the last of three calls
                return (before if first else policy).predict_noise(x_t, t, context)

        return self.losses(Mixed(), step)


def whole_loss(losses, policy):
    return sum(part.loss() for part in losses(policy, 0))


@pytest.mark.parametrize("last_steps", [1, 3])
def test_the_gradient_of_the_reward_is_that_of_finite_differences(last_steps):
    settings = DirectRewardConfig(num_steps=3, last_steps=last_steps, hypotheses=2, kappa=0.3, clamp=1e4)
    losses, policy = rollout_step(settings), ToyPolicy(5)  # away from the reference, so that the drift pulls
    whole_loss(losses, policy).backward()
    weight = policy.layers[3].weight
    found = weight.grad[0, :4].clone()
    assert found.abs().max() > 1e-3
    if last_steps == 1:  # what the untrained calls do is held fixed: the gradient is that of the last call alone
        losses = FixedStart(losses, policy)
    for k in range(4):
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                weight[0, k] += shift
                values.append(float(whole_loss(losses, policy)))
                weight[0, k] -= shift
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(found[k]), rel=1e-4, abs=1e-7)


def test_earlier_steps_receive_no_gradient():
    class Table(ToyPolicy):
        """One number per time, added to the prediction: who gets a gradient is written in it."""

        def __init__(self):
            super().__init__()
            self.by_time = nn.Parameter(torch.zeros(100).double())

        def predict_noise(self, x_t, t, context):
            return super().predict_noise(x_t, t, context) + self.by_time[t][..., None]

    policy, reference = Table(), Table()
    context = policy.context(observation()).detach()
    x_T = torch.randn(PERSONS, 2, DIMS, generator=seeded(0)).double()
    settings = DirectRewardConfig(num_steps=5, last_steps=2, kappa=0.0)
    x_0, _ = rollout(policy, reference, context, context, x_T, settings)
    x_0.square().mean().backward()
    touched = policy.by_time.grad.nonzero()[:, 0].tolist()
    assert touched == [19, 39]  # the times of the last two of five calls


@pytest.mark.parametrize("last_steps", [1, 3])
def test_the_drift_of_a_rollout_is_its_distance_from_the_reference_at_the_steps_with_gradients(last_steps):
    policy, reference = ToyPolicy(5), ToyPolicy()
    contexts = [p.context(observation()).detach() for p in (policy, reference)]
    x_T = torch.randn(PERSONS, 2, DIMS, generator=seeded(0)).double()
    settings = DirectRewardConfig(num_steps=3, last_steps=last_steps)
    _, drift = rollout(policy, reference, *contexts, x_T, settings)
    asked = policy.seen[-last_steps:]
    with torch.no_grad():
        away = [policy.predict_noise(x, t, contexts[0]) - reference.predict_noise(x, t, contexts[1]) for t, x in asked]
    torch.testing.assert_close(drift, torch.stack(away).square().mean(-1).mean(0))
    assert drift.min() > 0 and rollout(policy, policy, *contexts[:1] * 2, x_T, settings)[1].max() == 0


def test_following_a_reward_raises_it(tmp_path):
    config = replace(QUICK, steps=60, learning_rate=0.02, check_every=20)
    policy = ready(config)
    losses = rollout_step(DirectRewardConfig(num_steps=3, hypotheses=2, kappa=0.01), config)
    before = losses.probe(policy)["probe_reward"]
    after = losses.probe(train_policy(policy, losses, config, tmp_path).policy)["probe_reward"]
    assert after > before + 0.05


def test_a_reward_in_parts_is_the_reward(tmp_path):
    found = []
    for parts in (1, 4):
        config = replace(QUICK, accumulate=parts)
        losses = rollout_step(DirectRewardConfig(num_steps=3, hypotheses=2), config)
        found.append(weights(train_policy(ready(config), losses, config, tmp_path / str(parts)).policy))
    assert (found[0] - found[1]).abs().max() < 1e-9


def rates_of(config, steps):
    """Rates of the parameter groups at each step of a run, by their share."""
    policy = ToyPolicy()
    choose_trainable(policy, config)
    loop = Loop(policy, lambda model, step: [], _loop(config, torch.device("cpu"), policy))
    shares = [group["rate_share"] for group in loop.optimizer.param_groups]
    return shares, [loop.config.rate(step, step / config.steps) for step in range(steps)]


def test_the_rate_may_be_halved_once():
    config = replace(QUICK, steps=10, schedule="constant", warmup=1, halved_at=0.7)
    _, rates = rates_of(config, 10)
    assert rates == [0.01] * 7 + [0.005] * 3
    for wrong in (0.0, 1.0):
        with pytest.raises(InputError, match="halved_at"):
            replace(QUICK, halved_at=wrong)


def test_the_encoder_may_have_a_rate_of_its_own(tmp_path):
    """Adam's first step is the rate, whatever the gradient."""
    config = replace(
        QUICK, steps=1, warmup=1, trainable="all", cache_context=False, encoder_rate=0.4, ema_decay=0.0, clip_norm=1e9
    )
    assert rates_of(config, 1)[0] == [0.4, 1.0] and rates_of(replace(config, encoder_rate=1.0), 1)[0] == [1.0]
    policy, start = ToyPolicy(), ToyPolicy().state_dict()
    choose_trainable(policy, config)
    step = step_of(*OBJECTIVES["best_of_n"], config, contexts=LiveContexts(observation()))
    after = train_policy(policy, step, config, tmp_path).policy.state_dict()
    moved = {name: float((after[name] - start[name]).abs().max()) for name in after}
    assert moved["layers.0.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["encoder.weight"] == pytest.approx(0.4 * 0.01, rel=1e-3)
    with pytest.raises(InputError, match="encoder_rate must be positive"):
        replace(QUICK, encoder_rate=0.0)
