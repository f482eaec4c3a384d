"""Networks whose residual blocks multiply in bfloat16, for processors that do so faster than in float32.

A block's two products and what lies between them are in bfloat16. What is added up from block to block, noise levels,
shapes, rotations and all that follows stay in float32, so that rounding does not grow with the depth or the steps.
"""

from __future__ import annotations

import copy
import math
import time
from functools import lru_cache
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.context import ResidualMlp
from hmralign.models.lite import ModulatedMlp
from hmralign.structures import InputError

LEAST_GAIN = 1.1
"""How many times as fast as in float32 a product must be for bfloat16 to be worth its rounding."""

_SIZES = 100, 384, 768
"""Rows, inputs and outputs of the product that is timed: that of a block of `lite` with 100 hypotheses."""


Network = TypeVar("Network")


class Bfloat16Linear(nn.Module):
    """A linear map of float32 or bfloat16 that gives bfloat16. Without gradients."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().to(torch.bfloat16))
        self.register_buffer("bias", linear.bias.detach().to(torch.bfloat16))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Apply."""
        return nn.functional.linear(x.to(torch.bfloat16), self.weight, self.bias)


def in_bfloat16(network: Network) -> Network:
    """A copy for inference on the processor, whose residual blocks multiply in bfloat16; it cannot be trained.

    Raises InputError where this processor is no faster in bfloat16.
    """
    gain = bfloat16_gain()
    if gain < LEAST_GAIN:
        raise InputError(
            f"bfloat16: this processor multiplies {gain:.1f} times as fast as in float32; expected one with "
            f"instructions for it (at least {LEAST_GAIN} times), or the runtime torch or onnx"
        )
    network = copy.deepcopy(network)
    assert isinstance(network, nn.Module)
    for block in network.modules():
        if isinstance(block, ModulatedMlp | ResidualMlp):
            # Modules are replaced in place: what computes a block does not know.
            block.up, block.down = (Bfloat16Linear(linear) for linear in (block.up, block.down))  # pyright: ignore[reportAttributeAccessIssue]
    return network


@lru_cache(maxsize=1)
def bfloat16_gain() -> float:
    """How many times as fast this processor multiplies in bfloat16 as in float32: the best of several tries of each."""
    rows, inputs, outputs = _SIZES
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    for _ in range(10):
        for kind in seconds:
            x, weight = torch.ones(rows, inputs, dtype=kind), torch.ones(outputs, inputs, dtype=kind)
            start = time.perf_counter()
            nn.functional.linear(x, weight)
            seconds[kind] = min(seconds[kind], time.perf_counter() - start)
    return seconds[torch.float32] / seconds[torch.bfloat16]
