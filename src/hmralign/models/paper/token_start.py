"""From the numbers of a sample to one vector for each joint and twist.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2: a masked linear layer, a group norm
over all joints at once, LeakyReLU; then the image feature of each token is put beside it.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from hmralign.models.paper.config import GROUPS
from hmralign.models.paper.masked_linear import MaskedLinear

SLOPE = 0.2
"""Slope of LeakyReLU below zero."""


def start_layers(
    numbers: int, channels: int, near: Bool[Tensor, "n n"], *, on_stored_values: bool
) -> tuple[MaskedLinear, nn.GroupNorm]:
    """Layers for as many tokens as `near` has rows; `numbers` and `channels` are those of one token.

    The norm's groups straddle tokens: 29 joints are no multiple of 32.
    """
    tokens = len(near)
    linear = MaskedLinear(tokens * numbers, tokens * channels, near, on_stored_values=on_stored_values)
    return linear, nn.GroupNorm(GROUPS, tokens * channels)


def started(
    linear: Callable[[Tensor], Tensor], norm: nn.Module, x: Float[Tensor, "person hyp numbers"], tokens: int
) -> Float[Tensor, "person hyp token channels"]:
    """Features of each token."""
    hidden = norm(linear(x).flatten(0, 1))  # (B * N, T * C)
    return nn.functional.leaky_relu(hidden, SLOPE).view(*x.shape[:2], tokens, -1)
