"""A block of HypoNet, ScoreNet and HMR-Scorer: attention among the tokens, attention to the picture, feed-forward.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2 and fig. 3; layer norms before each
part (Xiong et al. 2020). Positions are added to queries and keys, never to values. All hypotheses of a person ask the
same keys, so their tokens are queries of one call and the keys are projected once.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn


class DecoderBlock(nn.Module):
    """One block. `norms_last` is the order in which the weights are listed, which lists without names go by."""

    norm1: nn.LayerNorm
    self_attn: nn.MultiheadAttention
    norm2: nn.LayerNorm
    multihead_attn: nn.MultiheadAttention
    linear1: nn.Linear
    linear2: nn.Linear
    norm3: nn.LayerNorm

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, *, norms_last: bool) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {
            "norm1": nn.LayerNorm(width),
            "self_attn": nn.MultiheadAttention(width, heads, dropout, batch_first=True),
            "norm2": nn.LayerNorm(width),
            "multihead_attn": nn.MultiheadAttention(width, heads, dropout, batch_first=True),
            "linear1": nn.Linear(width, feedforward),
            "linear2": nn.Linear(feedforward, width),
            "norm3": nn.LayerNorm(width),
        }
        for name in sorted(parts, key=lambda name: norms_last and name.startswith("norm")):
            self.add_module(name, parts[name])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "person hyp token width"],
        keys: Float[Tensor, "person cell width"],
        values: Float[Tensor, "person cell width"],
        positions: Float[Tensor, "token width"],
        hidden: Bool[Tensor, "token token"],
    ) -> Float[Tensor, "person hyp token width"]:
        """Tokens after the block; `keys` are the values with the positions of their cells."""
        person, hyp, token, width = x.shape
        normed = self.norm1(x).flatten(0, 1)  # (B * N, T, W)
        placed = normed + positions
        attended, _ = self.self_attn(placed, placed, normed, attn_mask=hidden, need_weights=False)
        x = x + self.dropout(attended).view(x.shape)
        asked = (self.norm2(x) + positions).view(person, hyp * token, width)  # (B, N * T, W)
        attended, _ = self.multihead_attn(asked, keys, values, need_weights=False)
        x = x + self.dropout(attended).view(x.shape)
        return x + self.dropout(self.linear2(self.dropout(self.linear1(self.norm3(x)).relu())))


def make_blocks(
    width: int, heads: int, feedforward: int, dropout: float, count: int, *, norms_last: bool
) -> nn.ModuleList:
    """So many blocks."""
    return nn.ModuleList(DecoderBlock(width, heads, feedforward, dropout, norms_last=norms_last) for _ in range(count))
