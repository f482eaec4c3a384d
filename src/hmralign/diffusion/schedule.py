"""Noise schedules: `alpha_bar_t`, the share of signal variance left after step `t`.

| in code       | symbol                                             |
| ------------- | -------------------------------------------------- |
| `alpha_bar`   | product of (1 - beta_s), s = 1..t (Ho et al. 2020) |
| `num_steps`   | T                                                  |

Index `t` runs over 0..T-1; "before the first step" (no noise) has alpha_bar = 1 and is written t = -1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ScheduleConfig:
    """Which noise schedule."""

    kind: Literal["cosine", "linear"] = "cosine"
    """cosine: Nichol & Dhariwal 2021, eq. 17; linear: Ho et al. 2020, betas 1e-4..0.02."""
    num_steps: int = 1000
    """T, the number of noise levels the model is trained on."""


@dataclass(frozen=True)
class Schedule:
    """Cumulative signal variance per step, float64 so that its ratios keep their digits."""

    alpha_bar: Float[Tensor, " steps"]

    @property
    def num_steps(self) -> int:
        """T."""
        return self.alpha_bar.shape[0]

    def at(self, t: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """alpha_bar_t in float32; t = -1 gives 1."""
        padded = torch.cat([self.alpha_bar, torch.ones(1, dtype=self.alpha_bar.dtype)]).float().to(t.device)
        return padded[t]


def make_schedule(config: ScheduleConfig) -> Schedule:
    """Tabulate alpha_bar. The last cosine beta is clipped at 0.999, so alpha_bar stays positive."""
    steps = config.num_steps
    # A table of numbers on the processor, also where a network is built without memory on `meta`: there torch would
    # load its compiler for them, 2 CPU seconds at the start of every command.
    if config.kind == "linear":
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64, device="cpu")
    else:
        grid = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
        level = torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    return Schedule(torch.cumprod(1 - betas, dim=0))
