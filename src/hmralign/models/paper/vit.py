"""The image encoder of HMR-Scorer: a plain vision transformer with tokens for tasks that are not asked here.

Source: ADHMR (Shen et al. 2025), sec. 4.2, names SMPLer-X (Cai et al. 2023); its layout is ViTPose-B (Xu et al. 2022),
which is ViT-B (Dosovitskiy et al. 2021). Module names are those of published tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class VitConfig:
    """Size of the encoder; the defaults are ViT-B on 256 x 192 pixels."""

    height: int = 256
    """Pixels."""
    image_width: int = 192
    """Pixels."""
    patch: int = 16
    """Side of a patch, pixels."""
    channels: int = 768
    """Channels of a token."""
    depth: int = 12
    """Blocks."""
    heads: int = 12
    """Attention heads."""
    task_tokens: int = 31
    """Tokens that stand before the patches, without a position."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.height // self.patch, self.image_width // self.patch


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b token channels"]) -> Float[Tensor, "b token channels"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, C / H)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = _Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = _Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Patches(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.channels, config.patch, config.patch, padding=2)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).mT


class VisionTransformer(nn.Module):
    """Pictures to a map of features."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.task_tokens = nn.Parameter(0.02 * torch.randn(1, config.task_tokens, config.channels))
        # The first position is that of a class token which is not there; every patch has it added to its own.
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, rows * columns + 1, config.channels))
        self.patch_embed = _Patches(config)
        self.blocks = nn.ModuleList(_Block(config.channels, config.heads) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(config.channels, eps=1e-6)

    def forward(self, image: Float[Tensor, "person 3 height width"]) -> Float[Tensor, "person channels rows columns"]:
        """Features of the patches; channels of the picture are 0 to 1."""
        x = self.patch_embed(image) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        x = torch.cat([self.task_tokens.expand(len(x), -1, -1), x], dim=1)  # (B, 31 + patches, C)
        for block in self.blocks:
            x = block(x)
        patches = self.last_norm(x)[:, self.config.task_tokens :]
        return patches.mT.unflatten(-1, self.config.grid)
