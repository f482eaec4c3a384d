"""Losses of policy and reference: each by its own network and context, at one time and noise, weighed alike."""

import pytest
import torch

from hmralign.diffusion.loss_weights import loss_weight
from hmralign.diffusion.parameterization import add_noise
from hmralign.training.objective import Objective, draw_noise, paired_losses
from support.synthetic_persons import seeded
from support.toy_policy import ToyPolicy, observation, toy_items

ITEMS = toy_items(3)


def plain(**changes) -> Objective:
    return Objective("plain", lambda losses: losses.policy, **changes)


def errors(policy, draw):
    x_t = add_noise(ITEMS.x_0, draw.eps, policy.schedule.at(draw.t).double())
    return draw.eps - policy.predict_noise(x_t, draw.t, policy.context(observation())[ITEMS.person])


@pytest.mark.parametrize("weight", ["eps", "v", "min_snr"])
@pytest.mark.parametrize("way", ["loss", "prediction", "parts"])
def test_both_models_are_weighed_by_lambda_each_in_its_own_context(weight, way):
    policy, reference = ToyPolicy(0), ToyPolicy(1)
    objective = plain(needs_prediction=way == "prediction", by_parts=way == "parts")
    draw = draw_noise(ITEMS, objective, 100, seeded(0))
    contexts = [p.context(observation())[ITEMS.person] for p in (policy, reference)]
    losses = paired_losses(policy, reference, ITEMS, draw, *contexts, objective, weight)
    weighing = loss_weight(weight, policy.schedule.at(draw.t)).double()
    assert losses.policy.requires_grad and not losses.reference.requires_grad
    for found, model in ((losses.policy, policy), (losses.reference, reference)):
        squared = errors(model, draw).square()
        if way == "parts":
            wanted = torch.stack([squared[..., :3].mean(-1), squared[..., 3:].mean(-1)], -1) * weighing[..., None]
        else:
            wanted = squared.mean(-1) * weighing
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    if way == "prediction":
        assert losses.prediction is not None and not losses.prediction.reference.requires_grad
        root = weighing.sqrt()[..., None]
        torch.testing.assert_close(losses.prediction.target.double(), (root * draw.eps).double(), rtol=1e-5, atol=0)
        ours = losses.prediction.target.double() - losses.prediction.policy
        torch.testing.assert_close(ours, root * errors(policy, draw), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shares", ["nothing", "time", "time_and_noise"])
def test_times_of_a_batch_cover_the_schedule_evenly_and_noise_is_normal(shares):
    """One time in each equal part, however many draws there are; the same again from the same generator."""
    items = toy_items(3, n=200)
    draw = draw_noise(items, plain(shares=shares), 100, seeded(1))
    times = draw.t.flatten() if shares == "nothing" else draw.t[:, 0]
    place = times.sort().values * len(times) / 100 - torch.arange(len(times))
    assert place.max() < 1 and place.min() > -len(times) / 100
    assert not torch.equal(times, times.sort().values), "which item has which time is drawn"
    noise = draw.eps if shares != "time_and_noise" else draw.eps[:, 0]
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    assert bool((draw.eps == draw.eps[:, :1]).all()) == (shares == "time_and_noise")
    assert bool((draw.t == draw.t[:, :1]).all()) == (shares != "nothing")
    again = draw_noise(items, plain(shares=shares), 100, seeded(1))
    assert torch.equal(again.t, draw.t) and torch.equal(again.eps, draw.eps)


@pytest.mark.parametrize("n", [24, 25])
def test_antithetic_times_are_mirrored_in_the_schedule(n):
    draw = draw_noise(toy_items(2, n=n), plain(shares="time", antithetic=True), 100, seeded(0))
    half = (n + 1) // 2
    assert torch.equal(draw.t[: n - half, 0] + draw.t[half:, 0], torch.full((n - half,), 99))


def test_times_may_begin_within_the_schedule():
    """The public GPA code: uniform on 500..999 of 1000; antithetic ones are mirrored in what is left."""
    items = toy_items(2, n=500)
    late = draw_noise(items, plain(shares="time_and_noise", t_from=0.5), 1000, seeded(2)).t[:, 0]
    assert torch.equal(late.sort().values, torch.arange(500, 1000)), "one in each of 500 equal parts"
    whole = draw_noise(items, plain(shares="time_and_noise"), 1000, seeded(2)).t[:, 0]
    assert torch.equal(late, 500 + whole.div(2, rounding_mode="floor"))
    mirrored = draw_noise(items, plain(shares="time", antithetic=True, t_from=0.5), 1000, seeded(2)).t[:, 0]
    assert torch.equal(mirrored[:250] + mirrored[250:], torch.full((250,), 1499))
