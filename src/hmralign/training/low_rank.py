"""LoRA (Hu et al. 2022): linear layers train W + B A with few rows in between, and are merged back when done."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W -> W + scale B A; B starts at zero, so that nothing changes at first."""

    def __init__(self, weight: Float[Tensor, "out in"], rank: int, generator: torch.Generator) -> None:
        super().__init__()
        out, inside = weight.shape
        self.A = nn.Parameter((torch.randn(rank, inside, generator=generator) / inside**0.5).to(weight))
        self.B = nn.Parameter(torch.zeros(out, rank).to(weight))
        self.scale = 1.0 / rank**0.5

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """The weight in use."""
        return weight + self.scale * self.B @ self.A


def add_low_rank(module: nn.Module, rank: int, generator: torch.Generator) -> int:
    """Freeze a module and give each of its linear layers a trainable update; returns the number of layers."""
    module.requires_grad_(False)
    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, generator))
        for parameter in layer.parametrizations.parameters():  # pyright: ignore
            parameter.requires_grad_(True)
        layer.parametrizations["weight"].original.requires_grad_(False)  # pyright: ignore
    return len(layers)


def merge_low_rank(module: nn.Module) -> None:
    """Fold the updates into the weights: a plain module again."""
    for layer in [m for m in module.modules() if isinstance(m, nn.Linear) and parametrize.is_parametrized(m)]:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
