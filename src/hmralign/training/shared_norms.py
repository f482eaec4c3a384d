"""Batch norms of several processes at one step: the statistics are those of all parts together.

A norm that saw its own process's part alone would make a training depend on the number of processes. Here each hands in
its sums, and gradients go back the same way, so that the sum of all processes' gradients is the one of the whole batch.
torch's `SyncBatchNorm` does so on GPUs; this works wherever tensors can be added up, also on processors.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn


class SharedNorm(nn.BatchNorm2d):
    """A `BatchNorm2d` whose batch is that of all processes; in eval mode it is one."""

    def forward(self, input: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n channels height width"]:
        """Normalise. Every process must call it, and go back through it, as often as the others."""
        if not self.training or not distributed.is_initialized():
            return super().forward(input)
        x = input.float()  # also where autocast made them bfloat16
        size = torch.tensor([float(x.numel() // x.shape[1])], dtype=torch.float64, device=x.device)
        sums = [part.sum((0, 2, 3), dtype=torch.float64) for part in (x, x.square())]
        total = _Sum.apply(torch.cat([*sums, size]))
        count = total[-1].detach()
        mean, square = (total[:-1] / count).chunk(2)  # float64: the difference below keeps float32's digits
        variance = (square - mean.square()).clamp(min=0)
        self._measure(mean.detach(), variance.detach(), float(count))
        scale = (variance + self.eps).rsqrt().to(x.dtype)
        y = (x - mean.to(x.dtype)[:, None, None]) * (scale * self.weight)[:, None, None]
        return (y + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _measure(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Move the running statistics, as `BatchNorm2d` does: their variance is without bias."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * (count / max(count - 1, 1))).to(self.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of what all processes say of it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        whole = own.clone()
        distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *said: Tensor) -> Tensor:
        whole = said[0].clone()
        distributed.all_reduce(whole)
        return whole


def share_norms(module: nn.Module) -> None:
    """Let the batch norms inside a module see the batch of all processes; parameters and buffers stay the same ones."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedNorm(child.num_features, child.eps, child.momentum)
            shared.weight, shared.bias, shared.training = child.weight, child.bias, child.training
            for buffer, value in child.named_buffers():
                setattr(shared, buffer, value)
            setattr(module, name, shared)
        else:
            share_norms(child)
