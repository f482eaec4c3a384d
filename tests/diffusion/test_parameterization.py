"""Three ways to predict the same thing, and what happens where one of them says nothing."""

import pytest
import torch

from hmralign.diffusion.parameterization import (
    GUARD,
    add_noise,
    eps_from_v,
    v_from,
    v_from_eps,
    v_from_x_0,
    velocity,
    x_0_from_eps,
)
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule

SCHEDULE = make_schedule(ScheduleConfig())
T = torch.arange(SCHEDULE.num_steps)
AB = SCHEDULE.at(T)
GENERATOR = torch.Generator().manual_seed(0)
X_0, EPS = (torch.randn(len(T), 20, generator=GENERATOR) for _ in range(2))
X_T, V = add_noise(X_0, EPS, AB), velocity(X_0, EPS, AB)
EXACT = {"v": V, "eps": EPS, "x_0": X_0}


@pytest.mark.parametrize("prediction", EXACT)
def test_an_exact_prediction_of_any_kind_is_the_same_v_and_eps(prediction):
    """Between the guards; in float32, so the smallest share left of the predicted quantity sets the tolerance."""
    inside = (AB.sqrt() > GUARD) & ((1 - AB).sqrt() > GUARD)
    assert inside.float().mean() > 0.85
    v = v_from(prediction, EXACT[prediction], X_T, AB)
    torch.testing.assert_close(v[inside], V[inside], atol=1e-4, rtol=0)
    torch.testing.assert_close(eps_from_v(v, X_T, AB)[inside], EPS[inside], atol=1e-4, rtol=0)


@pytest.mark.parametrize("prediction", EXACT)
def test_round_trips_for_any_v(prediction):
    """v -> what the network would have to say -> v."""
    inside = (AB.sqrt() > GUARD) & ((1 - AB).sqrt() > GUARD)
    v = torch.randn(X_T.shape, generator=torch.Generator().manual_seed(1))
    eps = eps_from_v(v, X_T, AB)
    said = {"v": v, "eps": eps, "x_0": x_0_from_eps(eps, X_T, AB)}[prediction]
    torch.testing.assert_close(v_from(prediction, said, X_T, AB)[inside], v[inside], atol=1e-4, rtol=0)


def test_at_the_noisy_end_an_exact_eps_still_gives_almost_that_eps():
    eps = eps_from_v(v_from_eps(EPS, X_T, AB), X_T, AB)
    torch.testing.assert_close(eps, EPS, atol=GUARD / 4 * float(V.abs().max()) + 1e-4, rtol=0)


def test_at_the_clean_end_an_exact_x_0_still_gives_almost_that_x_0():
    eps = eps_from_v(v_from_x_0(X_0, X_T, AB), X_T, AB)
    x_0 = AB.sqrt()[:, None] * X_T - (1 - AB).sqrt()[:, None] * v_from_x_0(X_0, X_T, AB)
    torch.testing.assert_close(x_0, X_0, atol=GUARD / 4 * float(V.abs().max()) + 1e-4, rtol=0)
    assert torch.isfinite(eps).all()


@pytest.mark.parametrize("prediction", EXACT)
@pytest.mark.parametrize("alpha_bar", [0.0, 1.0])
def test_errors_are_not_magnified_without_bound(prediction, alpha_bar):
    ab = torch.full((len(T),), alpha_bar)
    x_t = add_noise(X_0, EPS, ab)
    a, b = v_from(prediction, EXACT[prediction], x_t, ab), v_from(prediction, EXACT[prediction] + 0.01, x_t, ab)
    assert torch.isfinite(a).all()
    assert (a - b).abs().max() <= 0.01 / GUARD + 1e-4


def test_alpha_bar_has_the_leading_axes():
    ab = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    x_t, output = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3)).unbind(0)
    for prediction in EXACT:
        v = v_from(prediction, output, x_t, ab)
        torch.testing.assert_close(v[1, 2], v_from(prediction, output[1, 2], x_t[1, 2], ab[1, 2]))
