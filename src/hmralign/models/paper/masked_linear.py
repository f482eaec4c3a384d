"""A linear layer between groups of channels of which only neighbours are connected.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2: the layers that take joints and
twists apart and put them together again connect a joint with what is at most two steps away in the graph.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


class MaskedLinear(nn.Linear):
    """`weight` has the shape of a full layer, of which the blocks outside `connected` count as zero.

    `on_stored_values`: they are made zero in place at each pass, and have gradients (`Quirks.masks_on_stored_values`).
    """

    mask: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        connected: Bool[Tensor, "out_blocks in_blocks"],
        *,
        on_stored_values: bool,
    ) -> None:
        super().__init__(in_features, out_features)
        self.on_stored_values = on_stored_values
        out_blocks, in_blocks = connected.shape
        mask = connected.repeat_interleave(out_features // out_blocks, 0)
        mask = mask.repeat_interleave(in_features // in_blocks, 1).to(self.weight)
        self.register_buffer("mask", mask, persistent=False)

    @property
    def masked_weight(self) -> Float[Tensor, "out in"]:
        """The weight that counts."""
        return self.weight * self.mask

    @torch.no_grad()
    def clear(self) -> None:
        """Make stored values outside the mask zero."""
        self.weight.data.mul_(self.mask)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """The layer's output."""
        if not self.on_stored_values or is_parametrized(self):  # a parametrised weight is not stored
            return nn.functional.linear(x, self.masked_weight, self.bias)
        self.clear()
        return nn.functional.linear(x, self.weight, self.bias)
