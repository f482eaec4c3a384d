"""The transformer denoiser: one token per joint, conditioned by adaptive layer norm and by what the photo says of it.

    token_j = W (p_j, cos_j, sin_j) + joint_j + person_j        j = 1..28; the five leaves have no twist

Source: DiT (Peebles & Xie 2023), sec. 3.2, "adaLN-Zero" blocks: shift, scale and gate of each branch come from time and
person, and the gates start at zero. Departure: observed keypoints enter as an addition to the joint tokens
(`Context.local`), not by cross-attention in every block, so that all attention to keypoints is paid for once per person
instead of once per hypothesis and step.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.diffusion.parameterization import PredictionType, eps_from_v, v_from
from hmralign.diffusion.schedule import Schedule, make_schedule
from hmralign.models.context import Context
from hmralign.models.denoiser import HEAD_CHANNELS, LiteConfig, Prepared, time_embedding

NUM_TOKENS = NUM_ALL_JOINTS - 1
_POSITIONS = NUM_TOKENS * 3


def to_tokens(x: Float[Tensor, "*batch 130"]) -> Float[Tensor, "*batch 28 5"]:
    """Numbers of each joint: its position, then its twist, zeros for a leaf."""
    twist = x[..., _POSITIONS:].unflatten(-1, (NUM_TWISTS, 2))  # (*B, 23, 2)
    twist = nn.functional.pad(twist, (0, 0, 0, NUM_TOKENS - NUM_TWISTS))  # (*B, 28, 2)
    return torch.cat([x[..., :_POSITIONS].unflatten(-1, (NUM_TOKENS, 3)), twist], dim=-1)


def from_tokens(tokens: Float[Tensor, "*batch 28 5"]) -> Float[Tensor, "*batch 130"]:
    """Inverse of `to_tokens`; the twists of leaves are dropped."""
    return torch.cat([tokens[..., :3].flatten(-2), tokens[..., :NUM_TWISTS, 3:].flatten(-2)], dim=-1)


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_CHANNELS
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "*batch tokens width"]) -> Float[Tensor, "*batch tokens width"]:
        # One batch axis: torch's fused kernel takes (batch, heads, tokens, channels) only.
        qkv = self.qkv(x).view(-1, x.shape[-2], 3, self.heads, HEAD_CHANNELS).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))  # (B, H, 28, 32)
        return self.out(attended.transpose(1, 2).reshape_as(x))


class AdaptiveBlock(nn.Module):
    """Attention and an MLP, each shifted, scaled and gated from outside (adaLN-Zero)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = _SelfAttention(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch tokens width"], modulation: Tensor) -> Tensor:
        """Tokens after the block; `modulation` (*batch, 6 * width) is the same for all of them."""
        shift_a, scale_a, gate_a, shift_b, scale_b, gate_b = modulation[..., None, :].chunk(6, dim=-1)
        x = x + gate_a * self.attention(self.norm(x) * (1 + scale_a) + shift_a)
        return x + gate_b * self.down(nn.functional.silu(self.up(self.norm(x) * (1 + scale_b) + shift_b)))


class TransformerDenoiser(nn.Module):
    """eps_theta(x_t, t, context) for vectors of 130 numbers; needs a context with local features."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.schedule: Schedule = make_schedule(config.schedule)
        self.prediction: PredictionType = config.prediction
        self.embed = nn.Linear(5, config.width)
        self.joint = nn.Parameter(0.02 * torch.randn(NUM_TOKENS, config.width))
        self.local = nn.Linear(config.width, config.width)
        self.time = nn.Sequential(nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU())
        self.time_modulation = nn.Linear(128, config.depth * 6 * config.width)
        self.context_modulation = nn.Linear(config.context_width, config.depth * 6 * config.width)
        self.blocks = nn.ModuleList(AdaptiveBlock(config.width, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 5)
        for zero in (self.time_modulation, self.context_modulation, self.head):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def prepare(self, context: Context) -> Prepared:
        """Project the context once for all steps and hypotheses. Raises ValueError without local features."""
        if context.local is None:
            raise ValueError("the transformer denoiser needs one local feature per joint token, the context has none")
        modulation = self.context_modulation(nn.functional.silu(context.global_tokens[..., 0, :]))
        tokens = self.local(context.local) + self.joint  # (*B, 28, W)
        return Prepared(modulation.unflatten(-1, (len(self.blocks), -1)), tokens)

    def predict_v(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """v of each sample; `t` and the conditioning broadcast over the leading axes of `x_t`."""
        assert prepared.tokens is not None
        modulation = prepared.modulation + self.time_modulation(self.time(time_embedding(t))).unflatten(
            -1, (len(self.blocks), -1)
        )
        x = self.embed(to_tokens(x_t)) + prepared.tokens  # (*B, 28, W)
        for k, block in enumerate(self.blocks):
            x = block(x, modulation[..., k, :])
        output = from_tokens(self.head(self.norm(x)))  # (*B, 130)
        return v_from(self.prediction, output, x_t, self.schedule.at(t.expand(x_t.shape[:-1])))

    def forward(
        self, x_t: Float[Tensor, "*batch 130"], t: Int[Tensor, "*times"], prepared: Prepared
    ) -> Float[Tensor, "*batch 130"]:
        """eps of each sample."""
        alpha_bar = self.schedule.at(t.expand(x_t.shape[:-1]))
        return eps_from_v(self.predict_v(x_t, t, prepared), x_t, alpha_bar)
