"""Descent: any loss, any policy."""

import pytest
import torch

from hmralign.diffusion import ddim
from hmralign.policies.lite import LitePolicy
from hmralign.refinement.descent import descent, sample_guided
from hmralign.structures import InputError
from support.refined_persons import persons


def test_it_goes_against_the_gradient():
    guide = descent(lambda x: x.square().sum(-1), rate=0.25, steps=2, longest=100.0)
    x = torch.tensor([[2.0, -4.0]])
    torch.testing.assert_close(guide(x, torch.tensor(0.5)), x / 4)


def test_no_step_is_longer_than_allowed():
    guide = descent(lambda x: 1e6 * x.square().sum(-1), rate=1.0, longest=0.5)
    x = torch.tensor([[3.0, -3.0], [0.0, 0.0]])
    moved = (guide(x, torch.tensor(0.5)) - x).square().mean(-1).sqrt()
    torch.testing.assert_close(moved, torch.tensor([0.5, 0.0]))


@pytest.mark.parametrize("values", [{"rate": 0.0}, {"rate": 1.0, "steps": 0}, {"rate": 1.0, "longest": 0.0}])
def test_steps_without_meaning_are_refused(values):
    with pytest.raises(InputError):
        descent(lambda x: x.sum(-1), **values)


def test_a_policy_is_guided_by_a_critic_of_its_bodies():
    _, fit, _ = persons()
    policy = LitePolicy.load("lite-lab", fit.body)

    def wrist_is_low(hypotheses, observation):  # metres of the left wrist below the pelvis, `cam` frame
        return 5 * (hypotheses.joints[..., 20, 1] - hypotheses.joints[..., 0, 1])

    noise = torch.randn(6, 2, 130, generator=torch.Generator().manual_seed(0))
    guided = sample_guided(policy, fit.observation, wrist_is_low, noise, steps=2)
    context = policy.context(fit.observation)
    plain = ddim.sample(
        lambda x_t, t: policy.predict_noise(x_t, t.expand(6, 2), context),
        noise,
        policy.schedule,
        num_steps=5,
        clamp=5.0,
    )
    before, after = (wrist_is_low(policy.to_body(x, fit.observation), None) for x in (plain, guided))
    assert float((before - after).mean()) > 0.5 and bool(torch.isfinite(guided).all())
