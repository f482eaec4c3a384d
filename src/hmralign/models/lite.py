"""The `lite` denoiser: a residual MLP on pose vectors, conditioned by shift and scale.

It predicts v inside and returns eps (Salimans & Ho 2022): with a raw eps output the same network did not train. The
person's part of the conditioning is computed once (`prepare`) and shared by all hypotheses and steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.diffusion.parameterization import eps_from_v
from hmralign.diffusion.schedule import Schedule, ScheduleConfig, make_schedule
from hmralign.models.context import Context, KeypointEncoder, KeypointFeatures
from hmralign.models.pose_vector import POSE_DIM, PoseCodec


@dataclass(frozen=True)
class LiteConfig:
    """Size of the lite model."""

    width: int = 384
    """Channels of the denoiser's residual stream."""
    hidden: int = 768
    """Channels inside each block."""
    depth: int = 4
    """Number of blocks."""
    context_width: int = 384
    """Channels of the encoder."""
    context_depth: int = 2
    """Blocks of the encoder."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Noise schedule."""
    clamp: float = 5.0
    """Bound on |x_0| while sampling, in standard deviations."""


def time_embedding(t: Int[Tensor, "*batch"], channels: int = 128) -> Float[Tensor, "*batch channels"]:
    """Sinusoids of the step index (Vaswani et al. 2017), sines first."""
    frequency = torch.exp(torch.arange(channels // 2, device=t.device) * (-math.log(10000.0) / (channels // 2 - 1)))
    phase = t[..., None].float() * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return x + self.down(nn.functional.silu(self.up(self.norm(x) * (1 + scale) + shift)))


@dataclass(frozen=True)
class Prepared:
    """A person's part of the conditioning, one vector per block; computed once per person."""

    modulation: Float[Tensor, "*batch blocks two_width"]


class LiteDenoiser(nn.Module):
    """eps_theta(x_t, t, context) for vectors of 130 numbers."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.schedule: Schedule = make_schedule(config.schedule)
        self.embed = nn.Linear(POSE_DIM, config.width)
        self.time = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        self.time_modulation = nn.Linear(128, config.depth * 2 * config.width)
        self.context_modulation = nn.Linear(config.context_width, config.depth * 2 * config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, POSE_DIM)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def prepare(self, context: Context) -> Prepared:
        """Project the context once for all steps and hypotheses."""
        modulation = self.context_modulation(nn.functional.silu(context.global_tokens[..., 0, :]))
        return Prepared(modulation.unflatten(-1, (len(self.blocks), -1)))

    def predict_v(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """v of each sample; `t` and the conditioning broadcast over the leading axes of `x_t`."""
        modulation = prepared.modulation + self.time_modulation(self.time(time_embedding(t))).unflatten(
            -1, (len(self.blocks), -1)
        )
        x = self.embed(x_t)
        for k, block in enumerate(self.blocks):
            scale, shift = modulation[..., k, :].chunk(2, dim=-1)
            x = block(x, scale, shift)
        return self.head(self.norm(x))

    def forward(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """eps of each sample."""
        alpha_bar = self.schedule.at(t.expand(x_t.shape[:-1]))
        return eps_from_v(self.predict_v(x_t, t, prepared), x_t, alpha_bar)


class LiteModel(nn.Module):
    """Encoder, denoiser and pose statistics: everything a checkpoint holds."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.codec = PoseCodec()
        self.encoder = KeypointEncoder(config.context_width, config.context_depth)
        self.denoiser = LiteDenoiser(config)

    def context(self, features: KeypointFeatures) -> Context:
        """Encode persons."""
        return self.encoder(features)
