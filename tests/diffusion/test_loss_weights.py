"""Weights of the noise error: the v loss is the weighted eps loss, and min-SNR bends where it says."""

import pytest
import torch

from hmralign.diffusion.loss_weights import loss_weight
from hmralign.diffusion.parameterization import add_noise, eps_from_v, velocity
from support.synthetic_persons import seeded

ALPHA_BAR = torch.linspace(0.05, 0.95, 19)


def test_the_weighted_eps_loss_is_the_v_loss():
    g = seeded(0)
    x_0, eps, wrong = (torch.randn(19, 6, generator=g) for _ in range(3))
    x_t = add_noise(x_0, eps, ALPHA_BAR)
    v = velocity(x_0, eps, ALPHA_BAR)
    v_loss = (wrong - v).square().mean(-1)
    eps_loss = (eps_from_v(wrong, x_t, ALPHA_BAR) - eps).square().mean(-1)
    torch.testing.assert_close(loss_weight("v", ALPHA_BAR) * eps_loss, v_loss, atol=1e-4, rtol=1e-4)


def test_limits():
    assert loss_weight("v", torch.tensor([1e-9])).item() == pytest.approx(100.0)
    assert torch.equal(loss_weight("eps", ALPHA_BAR), torch.ones(19))
    snr = ALPHA_BAR / (1 - ALPHA_BAR)
    weight = loss_weight("min_snr", ALPHA_BAR, gamma=5.0)
    torch.testing.assert_close(weight, torch.minimum(snr, torch.tensor(5.0)) / snr)
    assert torch.isfinite(loss_weight("min_snr", torch.tensor([0.0, 1.0]))).all()
