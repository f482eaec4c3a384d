"""What every denoiser of the `lite` family shares: its configuration, its conditioning, and how it is called.

The person's part of the conditioning is computed once (`prepare`) and shared by all hypotheses and steps; what is done
per hypothesis and step decides what sampling costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.diffusion.parameterization import PredictionType
from hmralign.diffusion.schedule import Schedule, ScheduleConfig
from hmralign.models.context import Context
from hmralign.structures import InputError, TensorRecord

HEAD_CHANNELS = 32
"""Channels per attention head; the width of a transformer is a multiple of it."""


@dataclass(frozen=True)
class LiteConfig:
    """Size and kind of the lite model."""

    width: int = 384
    """Channels of the denoiser's residual stream; of a transformer, per joint token."""
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
    architecture: Literal["mlp", "transformer"] = "mlp"
    """Residual MLP on the whole vector, or attention between one token per joint."""
    prediction: PredictionType = "v"
    """What the network predicts inside; every denoiser returns eps and offers v."""

    def __post_init__(self) -> None:
        """Raise InputError for a transformer whose width is not a whole number of heads."""
        if self.architecture == "transformer" and self.width % HEAD_CHANNELS:
            raise InputError(f"width of a transformer must be a multiple of {HEAD_CHANNELS}, got {self.width}")


@dataclass(frozen=True)
class Prepared(TensorRecord):
    """A person's part of the conditioning, computed once per person: modulation per block, tokens where there are."""

    modulation: Float[Tensor, "*batch blocks modulation"]
    tokens: Float[Tensor, "*batch joint_tokens width"] | None = None

    def per_hypothesis(self) -> Prepared:
        """With an axis of size 1 after the persons, which broadcasts over their hypotheses."""
        return self.map(lambda part: part.unsqueeze(-3))


@runtime_checkable
class Denoiser(Protocol):
    """eps_theta(x_t, t, context) for pose vectors; times and conditioning broadcast over the leading axes of `x_t`."""

    schedule: Schedule

    def prepare(self, context: Context) -> Prepared:
        """Project the context once for all steps and hypotheses."""
        ...

    def predict_v(self, x_t: Tensor, t: Tensor, prepared: Prepared) -> Tensor:
        """v of each sample."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, prepared: Prepared) -> Tensor:
        """eps of each sample."""
        ...


def time_embedding(t: Int[Tensor, "*batch"], channels: int = 128) -> Float[Tensor, "*batch channels"]:
    """Sinusoids of the step index (Vaswani et al. 2017), sines first."""
    frequency = torch.exp(torch.arange(channels // 2, device=t.device) * (-math.log(10000.0) / (channels // 2 - 1)))
    phase = t[..., None].float() * frequency  # (*T, 64)
    return torch.cat([phase.sin(), phase.cos()], dim=-1)
