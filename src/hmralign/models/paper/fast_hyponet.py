"""HypoNet for sampling: the same numbers sooner, without gradients.

| computed once | instead of |
| --- | --- |
| keys and values of the picture, per person (`prepare`) | at every step |
| masked weights | at every step |
| what positions add to queries and keys, as biases of each token | adding positions to tokens in each block |
| queries, keys and values of self-attention in one product | in two |

In bfloat16 the blocks work in it; what leads in and out of them stays in float32, and so does the sample.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2; this form of it is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.models.paper.config import UVD_DIM
from hmralign.models.paper.decoder_block import DecoderBlock
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import PaperContext
from hmralign.models.paper.token_start import started
from hmralign.structures import TensorRecord


@dataclass(frozen=True)
class PreparedContext(TensorRecord):
    """A person's part of all steps: features of joints, and keys and values of the picture for each block."""

    local: Float[Tensor, "person 52 channels"]
    keys: Float[Tensor, "person blocks heads cell head_channels"]
    values: Float[Tensor, "person blocks heads cell head_channels"]


@dataclass(frozen=True)
class _Affine:
    """A linear layer; `bias` may differ from token to token."""

    weight: Tensor
    bias: Tensor

    @staticmethod
    def of(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> _Affine:
        return _Affine(weight.detach().to(dtype), bias.detach().to(dtype))

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias.ndim == 1:
            return nn.functional.linear(x, self.weight, self.bias)
        return nn.functional.linear(x, self.weight) + self.bias


@dataclass(frozen=True)
class _Norm:
    """A layer norm."""

    weight: Tensor
    bias: Tensor
    eps: float

    @staticmethod
    def of(norm: nn.LayerNorm, dtype: torch.dtype) -> _Norm:
        return _Norm(norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps)

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class _FastBlock:
    """A `DecoderBlock` whose positions are folded into biases."""

    def __init__(self, block: DecoderBlock, positions: Tensor, hidden: Bool[Tensor, "token token"], dtype: torch.dtype):
        own, cross = block.self_attn, block.multihead_attn
        self.heads = own.num_heads
        self.seen = ~hidden
        self.norms = [_Norm.of(norm, dtype) for norm in (block.norm1, block.norm2, block.norm3)]
        q, k, _ = own.in_proj_weight.chunk(3)
        placed = torch.cat([positions @ q.mT, positions @ k.mT, torch.zeros_like(positions)], dim=-1)
        self.qkv = _Affine.of(own.in_proj_weight, placed + own.in_proj_bias, dtype)
        self.own_out = _Affine.of(own.out_proj.weight, own.out_proj.bias, dtype)
        q, k, v = cross.in_proj_weight.chunk(3)
        q_bias, k_bias, v_bias = cross.in_proj_bias.chunk(3)
        self.query = _Affine.of(q, positions @ q.mT + q_bias, dtype)
        self.key, self.value = _Affine.of(k, k_bias, dtype), _Affine.of(v, v_bias, dtype)
        self.cross_out = _Affine.of(cross.out_proj.weight, cross.out_proj.bias, dtype)
        self.up = _Affine.of(block.linear1.weight, block.linear1.bias, dtype)
        self.down = _Affine.of(block.linear2.weight, block.linear2.bias, dtype)

    def __call__(self, x: Float[Tensor, "person hyp token width"], keys: Tensor, values: Tensor) -> Tensor:
        person, hyp, token, width = x.shape
        q, k, v = (self._heads(part) for part in self.qkv(self.norms[0](x).flatten(0, 1)).chunk(3, dim=-1))
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.seen)  # (B * N, H, T, W / H)
        x = x + self.own_out(attended.transpose(1, 2).reshape(x.shape))
        asked = self._heads(self.query(self.norms[1](x)).view(person, hyp * token, width))
        attended = nn.functional.scaled_dot_product_attention(asked, keys, values)  # (B, H, N * T, W / H)
        x = x + self.cross_out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.down(self.up(self.norms[2](x)).relu_())

    def kept(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Projected keys and values of the picture."""
        return self._heads(self.key(keys)), self._heads(self.value(values))

    def _heads(self, x: Float[Tensor, "n token width"]) -> Float[Tensor, "n heads token head_channels"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FastHypoNet:
    """A frozen picture of a `HypoNet` as it is now; weights that change later are not seen."""

    @torch.no_grad()
    def __init__(self, model: HypoNet, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.schedule = model.schedule
        self._model = model
        positions = model.token_positions
        self._blocks = [
            _FastBlock(block, positions, hidden, dtype)  # pyright: ignore[reportArgumentType]
            for block, hidden in zip(model.blocks, model.hidden, strict=True)
        ]
        linears = (model.linear_start_j, model.linear_start_t, model.linear_final_j, model.linear_final_t)
        folded = [_Affine.of(linear.masked_weight, linear.bias, torch.float32) for linear in linears]
        self._start_j, self._start_t, self._final_j, self._final_t = folded

    @torch.no_grad()
    def prepare(self, context: PaperContext) -> PreparedContext:
        """Project the picture once for all steps and hypotheses."""
        values = context.global_tokens.to(self.dtype)
        keys = (context.global_tokens + self._model.cell_positions).to(self.dtype)
        kept = [block.kept(keys, values) for block in self._blocks]
        return PreparedContext(context.local, *(torch.stack(part, dim=1) for part in zip(*kept, strict=True)))

    @torch.no_grad()
    def step(
        self, x_t: Float[Tensor, "person hyp 133"], t: Int[Tensor, "*times"], prepared: PreparedContext
    ) -> Float[Tensor, "person hyp 133"]:
        """eps of each sample; `t` broadcasts to persons and hypotheses."""
        model = self._model
        joints = started(self._start_j, model.bn_start_j, x_t[..., :UVD_DIM], NUM_ALL_JOINTS)
        twists = started(self._start_t, model.bn_start_t, x_t[..., UVD_DIM:], NUM_TWISTS)
        pose = torch.cat([joints, twists], dim=-2)  # (B, N, 52, W / 2)
        x = torch.cat([pose, prepared.local[:, None].expand(-1, pose.shape[1], -1, -1)], dim=-1)
        x = (x + model.time_features(t)[..., None, :]).to(self.dtype)  # (B, N, 52, W)
        for number, block in enumerate(self._blocks):
            x = block(x, prepared.keys[:, number], prepared.values[:, number])
        x = x.float()
        joints = self._final_j(x[..., :NUM_ALL_JOINTS, :].flatten(-2))
        twists = self._final_t(x[..., NUM_ALL_JOINTS:, :].flatten(-2))
        return x_t + torch.cat([joints, twists], dim=-1)
