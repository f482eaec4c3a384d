"""Exponential moving average of weights, with the usual warm-up min(decay, (1 + n) / (10 + n))."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """Keeps an averaged copy of a module; `module` is that copy, in eval mode and without gradients."""

    def __init__(self, module: nn.Module, decay: float = 0.999):
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards `module`. Buffers are copied, and what is frozen stays as it is to the last bit."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        moving = [(our, their) for our, their in pairs if their.requires_grad]
        ours: list[torch.Tensor] = [our for our, _ in moving]
        theirs: list[torch.Tensor] = [their for _, their in moving]
        torch._foreach_mul_(ours, decay)
        torch._foreach_add_(ours, theirs, alpha=1 - decay)
        for our, their in zip(self.module.buffers(), module.buffers(), strict=True):
            our.copy_(their)

    def state_dict(self) -> dict:
        """Weights and number of updates; restoring them continues the same average."""
        return {"module": self.module.state_dict(), "updates": self.updates, "decay": self.decay}

    def load_state_dict(self, state: dict) -> None:
        """Inverse of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.updates, self.decay = int(state["updates"]), float(state["decay"])
