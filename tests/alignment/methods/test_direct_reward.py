"""Direct reward in its variants: which steps have gradients, what these are, and what they cost in memory."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from hmralign.alignment.methods.direct_reward import DirectRewardConfig, StepPlan, planned_steps, rollout
from hmralign.diffusion import ddim
from hmralign.structures import InputError
from hmralign.training.saved_tensors import saved_bytes
from support.synthetic_persons import seeded
from support.toy_policy import DIMS, PERSONS, ToyPolicy, observation

FAR = 1e4
"""A bound that the untrained toy does not reach: at a bound there is no gradient."""
VARIANTS = {
    "draft": DirectRewardConfig(10, "draft", last_steps=2, clamp=FAR),
    "full": DirectRewardConfig(10, "full", clamp=FAR),
    "refl": DirectRewardConfig(10, "refl", stop_within=4, clamp=FAR),
    "drtune": DirectRewardConfig(10, "drtune", last_steps=2, stop_within=4, clamp=FAR),
}


def noise(n=PERSONS):
    return torch.randn(n, 2, DIMS, generator=seeded(0)).double()


def followed(policy, settings, plan, reference=None):
    context = policy.context(observation()).detach()
    return rollout(policy, reference or policy, context, context, noise(), settings, plan)


class ByTime(ToyPolicy):
    """One number per time, added to the prediction: who gets a gradient is written in it."""

    def __init__(self):
        super().__init__()
        self.by_time = nn.Parameter(torch.zeros(100).double())

    def predict_noise(self, x_t, t, context):
        return super().predict_noise(x_t, t, context) + self.by_time[t][..., None]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_the_planned_steps_and_no_others(variant):
    """In DRTune later steps are stopped, and still let the gradient of earlier ones through."""
    settings, policy = VARIANTS[variant], ByTime()
    plan = planned_steps(settings, seeded(3))
    followed(policy, settings, plan)[0].square().mean().backward()
    times = ddim.timesteps(policy.schedule, settings.num_steps)
    touched = set(policy.by_time.grad.nonzero()[:, 0].tolist())
    assert touched == {times[step] for step in plan.trained}
    asked = [int(t[0, 0]) for t, _ in policy.seen if len(t) == PERSONS]
    assert set(asked) == set(times[: plan.last + 1])


@pytest.mark.parametrize("plan", [StepPlan(frozenset([1, 4]), 5), StepPlan(frozenset([0, 3]), 3)])
def test_the_gradient_of_drtune_is_that_of_finite_differences_with_the_inputs_held_fixed(plan):
    """The oracle keeps every input and every untrained eps as they were, and adds up the line of DDIM by hand."""
    settings = DirectRewardConfig(6, "drtune", last_steps=2, stop_within=3, kappa=0.3, clamp=FAR)
    policy, reference = ToyPolicy(5), ToyPolicy()
    context = policy.context(observation()).detach()
    x_0, drift = rollout(policy, reference, context, context, noise(), settings, plan)
    (0.3 * drift.mean() - (x_0 - 0.5).square().mean()).neg().backward()
    weight = policy.layers[3].weight
    found = weight.grad[0, :4].clone()
    inputs, before = policy.seen[: plan.last + 1], copy.deepcopy(policy)
    times = [int(t[0, 0]) for t, _ in inputs]

    def objective():
        x, drifts = noise(), []
        for number, (t, seen) in enumerate(inputs):
            now = policy.schedule.alpha_bar[times[number]]
            then = policy.schedule.alpha_bar[times[number + 1]] if number < plan.last else torch.ones(()).double()
            eps = (policy if number in plan.trained else before).predict_noise(seen, t, context)
            if number in plan.trained:
                drifts.append((eps - reference.predict_noise(seen, t, context)).square().mean())
            x = (then / now).sqrt() * x + ((1 - then).sqrt() - (then * (1 - now) / now).sqrt()) * eps
        return float((x - 0.5).square().mean() - 0.3 * sum(drifts) / len(drifts))

    for k in range(4):
        values = []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                weight[0, k] += shift
                values.append(objective())
                weight[0, k] -= shift
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(found[k]), rel=1e-4, abs=1e-7)
    assert found.abs().max() > 1e-3


def test_drtune_spreads_its_steps_over_those_that_are_made():
    settings, plans = VARIANTS["drtune"], [planned_steps(VARIANTS["drtune"], seeded(n)) for n in range(200)]
    assert {plan.last for plan in plans} == {6, 7, 8, 9}
    assert {len(plan.trained) for plan in plans} == {2} and all(max(p.trained) <= p.last for p in plans)
    assert all(max(p.trained) - min(p.trained) == (p.last + 1) // 2 for p in plans)
    assert set().union(*(p.trained for p in plans)) == set(range(10))
    assert planned_steps(settings, seeded(7)) == planned_steps(settings, seeded(7))


def test_refl_trains_the_step_it_reads_x_0_off():
    plans = [planned_steps(VARIANTS["refl"], seeded(n)) for n in range(50)]
    assert all(plan.trained == frozenset([plan.last]) for plan in plans)
    assert {plan.last for plan in plans} == {6, 7, 8, 9}


@pytest.mark.parametrize("variant", ["draft", "full", "drtune"])
def test_all_variants_that_run_to_the_end_reach_the_same_x_0(variant):
    policy, settings = ToyPolicy(5), DirectRewardConfig(10, variant, last_steps=3)
    reached, _ = followed(policy, settings, planned_steps(settings, seeded(0)))
    context = policy.context(observation()).detach()
    model = lambda x, t: policy.predict_noise(x, t.expand(x.shape[:2]), context)  # noqa: E731
    torch.testing.assert_close(reached, ddim.sample(model, noise(), policy.schedule, num_steps=10, clamp=5.0))


class WidePolicy(ToyPolicy):
    """Enough layers for what they save to outweigh what the sampler itself does."""

    def __init__(self):
        super().__init__()
        sizes = [DIMS + 4, 64, 64, 64, 64, DIMS]
        layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.Tanh())]
        self.layers = nn.Sequential(*layers[:-1]).double()


def test_two_detached_steps_of_ten_need_at_most_35_percent_of_the_memory_of_all():
    policy = WidePolicy()
    kept = {
        name: saved_bytes(lambda s=s: followed(policy, s, planned_steps(s, seeded(0)))[0].mean(), policy)
        for name, s in VARIANTS.items()
    }
    assert kept["refl"] < kept["drtune"] < 0.35 * kept["full"] and kept["draft"] < 0.35 * kept["full"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"last_steps": 6}, "last_steps is 6; expected 1 to 5"),
        ({"variant": "drtune", "last_steps": 2, "stop_within": 5}, "stop_within is 5; expected 1 to 4"),
        ({"variant": "refl", "stop_within": 6}, "stop_within is 6; expected 1 to 5"),
    ],
)
def test_steps_that_do_not_exist_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        DirectRewardConfig(**wrong)


def test_drawn_steps_need_a_generator():
    with pytest.raises(ValueError, match="'drtune' are drawn"):
        planned_steps(VARIANTS["drtune"])
