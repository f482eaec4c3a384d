"""Sampling by inversion: an answer is carried back into some noise and denoised again with guidance, over and over.

Source: Stathopoulos et al. 2024 (ScoreHMR), sec. 3.3: DDIM inversion up to t = 50 of 1000, guided DDIM back in strides
of 2, ten loops, early stop. Departures: the stop is each person's own, and guidance is the pull of `pull`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion import ddim
from hmralign.diffusion.parameterization import x_0_from_eps
from hmralign.diffusion.schedule import Schedule
from hmralign.structures import InputError


@dataclass(frozen=True)
class InversionConfig:
    """How often and how far back."""

    start: float = 0.05
    """Time to which an answer is carried back, a share of all steps."""
    stride: float = 0.002
    """Step back and forth, a share of all steps; at least one step."""
    loops: int = 10
    """Times that this is done at most."""
    tolerance: float = 0.01
    """A person whose energy falls by less than this share of it is done."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if not 0 < self.stride <= self.start <= 1 or self.loops < 1 or self.tolerance < 0:
            raise InputError("inversion: 0 < stride <= start <= 1, loops at least 1, tolerance not negative")

    def times(self, schedule: Schedule) -> list[int]:
        """Descending times of a loop."""
        stride = max(1, round(self.stride * schedule.num_steps))
        return list(range(max(1, round(self.start * schedule.num_steps)), -1, -stride))


def invert(
    eps: Callable[[Tensor, Tensor], Tensor], x_0: Float[Tensor, "person 154"], schedule: Schedule, times: list[int]
) -> Float[Tensor, "person 154"]:
    """x at the first of the descending `times`, by DDIM run backwards (Song et al. 2021, sec. 4.3)."""
    x, before = x_0, -1
    for time in reversed(times):
        noise = eps(x, torch.tensor(max(before, 0)))
        clean = x_0_from_eps(noise, x, schedule.at(torch.tensor(before)))
        alpha_bar = schedule.at(torch.tensor(time))
        x, before = alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise, time
    return x


def sample_by_inversion(
    eps: Callable[[Tensor, Tensor], Tensor],
    guided: Callable[[Tensor, Tensor], Tensor],
    energy: Callable[[Tensor], Float[Tensor, " person"]],
    x_0: Float[Tensor, "person 154"],
    schedule: Schedule,
    config: InversionConfig,
    clamp: float,
    after_loop: Callable[[Tensor], None],
) -> Float[Tensor, "person 154"]:
    """x_0 after the loops; a person stays as they are once a loop does not lower their energy enough.

    `eps` predicts noise, `guided` displaces a predicted x_0, and `after_loop` is told the x_0 of each loop.
    """
    times, lowest = config.times(schedule), energy(x_0)
    going = torch.ones_like(lowest, dtype=torch.bool)
    for _ in range(config.loops):
        x_t = invert(eps, x_0, schedule, times)
        new = ddim.sample(eps, x_t, schedule, num_steps=times, clamp=clamp, guidance=guided)
        reached = energy(new)
        going = going & (reached < lowest * (1 - config.tolerance))
        x_0 = torch.where(going[:, None], new, x_0)
        lowest = torch.where(going, reached, lowest)
        after_loop(x_0)
        if not bool(going.any()):
            break
    return x_0
