"""DDIM sampling (Song et al. 2021), of which DDPM is the case eta = 1 and the probability-flow ODE the case eta = 0.

| in code            | symbol in the paper (eq. 12, 16)                                   |
| ------------------ | ------------------------------------------------------------------ |
| `alpha_bar_t`      | alpha_t (the paper's alpha is the cumulative product)              |
| `alpha_bar_prev`   | alpha_{t-1}, of the next lower time of the sub-sequence            |
| `x_0`              | predicted x_0, f_theta(x_t)                                        |
| `eps`              | eps_theta(x_t)                                                     |
| `sigma_t`          | sigma_t(eta)                                                       |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion.parameterization import x_0_from_eps
from hmralign.diffusion.schedule import Schedule
from hmralign.structures import InputError

EpsModel = Callable[[Tensor, Tensor], Tensor]
"""`(x_t, t) -> eps`; `t` is a scalar integer tensor."""


def timesteps(schedule: Schedule, num_steps: int) -> list[int]:
    """Descending times of a run of `num_steps` model calls, evenly spaced, from T-1 on; the last call is above 0."""
    if not 1 <= num_steps <= schedule.num_steps:
        raise InputError(f"number of sampling steps must be in 1..{schedule.num_steps}, got {num_steps}")
    return [round((k + 1) * schedule.num_steps / num_steps) - 1 for k in reversed(range(num_steps))]


def strided_times(schedule: Schedule, num_steps: int) -> list[int]:
    """Descending multiples of T // `num_steps` below T, as public code of DDIM has them (Song et al. 2021, app. D.2).

    Where the stride does not divide T that is one call more than asked: three steps of 1000 are 999, 666, 333, 0. Where
    it does, the first call is not at T - 1.
    """
    if not 1 <= num_steps <= schedule.num_steps:
        raise InputError(f"number of sampling steps must be in 1..{schedule.num_steps}, got {num_steps}")
    return list(reversed(range(0, schedule.num_steps, schedule.num_steps // num_steps)))


def step(
    x_t: Float[Tensor, "*any"],
    eps: Float[Tensor, "*any"],
    alpha_bar_t: Float[Tensor, ""],
    alpha_bar_prev: Float[Tensor, ""],
    *,
    eta: float = 0.0,
    clamp: float | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*any"]:
    """One update from x_t to the next lower time.

    `clamp` bounds |x_0| (data are standardised); eps is then re-derived so that the step stays on its own line.
    """
    # 1. predicted clean sample
    x_0 = x_0_from_eps(eps, x_t, alpha_bar_t)
    if clamp is not None:
        x_0 = x_0.clamp(-clamp, clamp)
        eps = (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()
    # 2. size of the fresh noise (eq. 16)
    sigma_t = eta * ((1 - alpha_bar_prev) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_prev)).sqrt()
    # 3. direction pointing to x_t
    direction = (1 - alpha_bar_prev - sigma_t**2).clamp(min=0).sqrt() * eps
    # 4. x_{t-1} (eq. 12)
    x_prev = alpha_bar_prev.sqrt() * x_0 + direction
    if eta > 0:
        where = x_t.device if generator is None else generator.device  # the same draw wherever x_t is
        x_prev = x_prev + sigma_t * torch.randn(x_t.shape, generator=generator, device=where).to(x_t.device)
    return x_prev


def sample(
    model: EpsModel,
    x_T: Float[Tensor, "*any"],
    schedule: Schedule,
    *,
    num_steps: int | Sequence[int],
    eta: float = 0.0,
    clamp: float | None = None,
    generator: torch.Generator | None = None,
    guidance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Float[Tensor, "*any"]:
    """Run from noise x_T to a sample. eta = 0 is deterministic: equal x_T, equal result.

    `num_steps` model calls are spaced evenly; or it is their descending times themselves.

    `guidance(x_0, alpha_bar_t)` may return a displaced x_0 (guided DDIM); it is called on the predicted clean sample
    of every step. Raises ValueError when eta > 0 comes without a generator.
    """
    if eta > 0 and generator is None:
        raise ValueError("eta > 0 draws fresh noise and needs a generator")
    times = timesteps(schedule, num_steps) if isinstance(num_steps, int) else list(num_steps)
    x_t = x_T
    for now, after in zip(times, [*times[1:], -1], strict=True):
        t = torch.tensor(now, device=x_T.device)
        alpha_bar_t, alpha_bar_prev = schedule.at(t), schedule.at(torch.tensor(after, device=x_T.device))
        eps = model(x_t, t)
        if guidance is not None:
            x_0 = x_0_from_eps(eps, x_t, alpha_bar_t)
            x_0 = guidance(x_0 if clamp is None else x_0.clamp(-clamp, clamp), alpha_bar_t)
            eps = (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()
        x_t = step(x_t, eps, alpha_bar_t, alpha_bar_prev, eta=eta, clamp=clamp, generator=generator)
    return x_t
