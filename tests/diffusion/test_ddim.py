"""DDIM against what is known in closed form."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.diffusion import ddim
from hmralign.diffusion.ema import Ema
from hmralign.diffusion.parameterization import add_noise, eps_from_v, velocity, x_0_from_eps
from hmralign.diffusion.schedule import ScheduleConfig, make_schedule
from hmralign.structures import InputError

SCHEDULES = [make_schedule(ScheduleConfig(kind)) for kind in ("cosine", "linear")]


def exact_gaussian_eps(schedule, mean, std):
    """E[eps | x_t] when x_0 ~ N(mean, std^2)."""

    def eps(x_t, t):
        ab = schedule.at(t)
        return (1 - ab).sqrt() * (x_t - ab.sqrt() * mean) / (ab * std**2 + 1 - ab)

    return eps


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_moments_of_an_exact_gaussian_denoiser(schedule, eta):
    generator = torch.Generator().manual_seed(0)
    mean, std = 0.7, 0.3
    x_T = torch.randn(20000, generator=generator)
    x_0 = ddim.sample(
        exact_gaussian_eps(schedule, mean, std), x_T, schedule, num_steps=200, eta=eta, generator=generator
    )
    assert abs(x_0.mean() - mean) < 0.02
    assert abs(x_0.std() - std) < 0.02


def test_ode_transports_the_gaussian_quantile_by_quantile():
    schedule = SCHEDULES[0]
    x_T = torch.linspace(-2, 2, 9)
    x_0 = ddim.sample(exact_gaussian_eps(schedule, 0.0, 0.5), x_T, schedule, num_steps=1000)
    torch.testing.assert_close(x_0, 0.5 * x_T, atol=5e-3, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_who_knows_the_sample_arrives_at_it_in_any_number_of_steps(schedule, num_steps):
    """Exactly, with no noise left, whatever the start."""
    x_T = torch.randn(50, generator=torch.Generator().manual_seed(2)).double()
    for clamp in (None, 3.0):
        x_0 = ddim.sample(exact_gaussian_eps(schedule, 0.7, 0.0), x_T, schedule, num_steps=num_steps, clamp=clamp)
        torch.testing.assert_close(x_0, torch.full((50,), 0.7).double(), atol=1e-4, rtol=0)


def test_error_falls_with_more_steps():
    schedule = SCHEDULES[0]
    x_T = torch.linspace(-2, 2, 9)
    errors = [
        (ddim.sample(exact_gaussian_eps(schedule, 0.3, 0.5), x_T, schedule, num_steps=n) - (0.3 + 0.5 * x_T))
        .abs()
        .max()
        for n in (5, 20, 80)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_eta_zero_is_deterministic_and_eta_one_needs_a_generator():
    schedule = SCHEDULES[0]
    x_T = torch.randn(5, generator=torch.Generator().manual_seed(1))
    model = exact_gaussian_eps(schedule, 0.0, 1.0)
    assert torch.equal(*(ddim.sample(model, x_T, schedule, num_steps=7) for _ in range(2)))
    with pytest.raises(ValueError, match="generator"):
        ddim.sample(model, x_T, schedule, num_steps=7, eta=1.0)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 1000])
def test_timesteps_start_at_the_top_and_descend(n):
    times = ddim.timesteps(SCHEDULES[0], n)
    assert times[0] == 999 and len(times) == n and all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("n", [0, 1001])
def test_impossible_step_counts_are_refused(n):
    with pytest.raises(ValueError, match="sampling steps"):
        ddim.timesteps(SCHEDULES[0], n)


@settings(max_examples=60, deadline=None)
@given(ab=st.floats(0.01, 0.99), way=st.floats(0.0, 1.0), clamp=st.floats(0.1, 3.0), seed=st.integers(0, 10**6))
def test_a_clamped_step_stays_on_the_line_through_its_clamped_sample(ab, way, clamp, seed):
    """x_t is a mixture of the clamped x_0 and a noise, and so is the next one, of the same two."""
    g = torch.Generator().manual_seed(seed)
    x_t, eps = torch.randn(2, 50, generator=g, dtype=torch.float64)
    now, then = torch.tensor([ab, ab + way * (1 - ab)], dtype=torch.float64)
    free = x_0_from_eps(eps, x_t, now)
    clean = ddim.step(x_t, eps, now, torch.ones((), dtype=torch.float64), clamp=clamp)
    torch.testing.assert_close(clean, free.clamp(-clamp, clamp))
    noise = (x_t - now.sqrt() * clean) / (1 - now).sqrt()
    stepped = ddim.step(x_t, eps, now, then, clamp=clamp)
    torch.testing.assert_close(stepped, then.sqrt() * clean + (1 - then).sqrt() * noise)
    torch.testing.assert_close(ddim.step(x_t, eps, now, now, clamp=clamp), x_t)  # no time passes, nothing moves
    inside = free.abs() < clamp
    unclamped = ddim.step(x_t, eps, now, then)
    torch.testing.assert_close(stepped[inside], unclamped[inside])


def test_the_fresh_noise_of_eta_one_is_that_of_ddpm():
    """Mean and spread of one step are those of the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7)."""
    g = torch.Generator().manual_seed(0)
    now, then = torch.tensor([0.5, 0.7], dtype=torch.float64)
    x_0, x_t = 0.4, 0.9
    eps = torch.full((40_000,), (x_t - now.sqrt() * x_0) / (1 - now).sqrt(), dtype=torch.float64)
    stepped = ddim.step(torch.full_like(eps, x_t), eps, now, then, eta=1.0, generator=g)
    alpha = now / then
    mean = then.sqrt() * (1 - alpha) / (1 - now) * x_0 + alpha.sqrt() * (1 - then) / (1 - now) * x_t
    std = ((1 - then) / (1 - now) * (1 - alpha)).sqrt()
    assert abs(stepped.mean() - mean) < 4 * std / 200 and abs(stepped.std() / std - 1) < 0.02


def test_parameterizations_agree():
    g = torch.Generator().manual_seed(0)
    x_0, eps, ab = (
        torch.randn(6, 4, generator=g),
        torch.randn(6, 4, generator=g),
        torch.rand(6, generator=g) * 0.9 + 0.05,
    )
    x_t = add_noise(x_0, eps, ab)
    torch.testing.assert_close(eps_from_v(velocity(x_0, eps, ab), x_t, ab), eps, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x_0_from_eps(eps, x_t, ab), x_0, atol=1e-4, rtol=1e-4)


def test_guidance_moves_the_result_to_its_target():
    schedule = SCHEDULES[0]
    x_T = torch.randn(100, generator=torch.Generator().manual_seed(0))
    pull = lambda x_0, alpha_bar: x_0 + 0.8 * (2.0 - x_0)  # noqa: E731
    free = ddim.sample(exact_gaussian_eps(schedule, 0.0, 1.0), x_T, schedule, num_steps=20)
    guided = ddim.sample(exact_gaussian_eps(schedule, 0.0, 1.0), x_T, schedule, num_steps=20, guidance=pull)
    assert (guided - 2).abs().mean() < 0.5 * (free - 2).abs().mean()


def test_schedules_fall_from_one_to_almost_nothing():
    for schedule in SCHEDULES:
        assert (schedule.alpha_bar.diff() < 0).all() and schedule.alpha_bar[0] > 0.999 and schedule.alpha_bar[-1] < 1e-3
        assert schedule.at(torch.tensor(-1)) == 1


def test_ema_of_a_constant_is_the_constant_and_resumes():
    module = torch.nn.Linear(3, 2)
    ema = Ema(module, decay=0.9)
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(1.0)
    for _ in range(300):
        ema.update(module)
    torch.testing.assert_close(ema.module.weight, module.weight)
    other = Ema(torch.nn.Linear(3, 2))
    other.load_state_dict(ema.state_dict())
    assert other.updates == ema.updates and torch.equal(other.module.weight, ema.module.weight)


def test_strided_times_are_one_call_more_than_asked_where_the_stride_does_not_divide():
    schedule = SCHEDULES[1]
    assert ddim.strided_times(schedule, 3) == [999, 666, 333, 0]
    assert ddim.strided_times(schedule, 10) == list(range(900, -1, -100)), "and not one from T - 1 where it does"
    for wrong in (0, 1001):
        with pytest.raises(InputError, match=r"1\.\.1000"):
            ddim.strided_times(schedule, wrong)


def test_times_may_be_given():
    schedule, asked = SCHEDULES[1], []

    def eps(x_t, t):
        asked.append(int(t))
        return 0.1 * x_t

    x_T = torch.randn(4, generator=torch.Generator().manual_seed(0))
    even = ddim.sample(eps, x_T, schedule, num_steps=4)
    assert torch.equal(ddim.sample(eps, x_T, schedule, num_steps=ddim.timesteps(schedule, 4)), even)
    asked.clear()
    ddim.sample(eps, x_T, schedule, num_steps=[999, 10])
    assert asked == [999, 10]
