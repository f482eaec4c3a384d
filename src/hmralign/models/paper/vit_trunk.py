"""From a person's pixels and where the box lies to one feature: a vision transformer, then a transformer decoder.

Source: VL-feedback (paper 003), sec. III-A: ViT as in HMR2.0 (Goel et al. 2023, sec. 3) with the box information of
CLIFF (Li et al. 2022). HMR2.0's decoder asks with an empty token; here the token is the code of the box. The picture
is 256 x 192, the middle of the square crop. Layer norms come before each part (Xiong et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.paper.decoder_block import DecoderBlock, make_blocks
from hmralign.models.paper.image_input import require_crops, resized, standardised
from hmralign.models.paper.vit import VisionTransformer, VitConfig
from hmralign.structures import InputError, Observation


@dataclass(frozen=True)
class VitTrunkConfig:
    """Size of the trunk; the defaults are ViT-H/16 and HMR2.0's decoder."""

    height: int = 256
    """Height of the picture, pixels."""
    image_width: int = 192
    """Width of the picture, pixels; at most the height."""
    patch: int = 16
    """Side of a patch, pixels."""
    channels: int = 1280
    """Channels of a patch's token."""
    depth: int = 32
    """Blocks of the vision transformer."""
    heads: int = 16
    """Its attention heads."""
    width: int = 1024
    """Channels of the decoder."""
    decoder_depth: int = 6
    """Blocks of the decoder."""
    decoder_heads: int = 8
    feedforward: int = 1024
    """Channels inside a block's feed-forward network."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes that do not divide as they must."""
        if self.height % self.patch or self.image_width % self.patch or not self.image_width <= self.height:
            raise InputError(
                f"a picture of {self.height} x {self.image_width} pixels in patches of {self.patch}; expected "
                "multiples of the patch, and a width of at most the height"
            )
        if self.channels % self.heads or self.width % self.decoder_heads:
            raise InputError(
                f"{self.channels} channels with {self.heads} heads and {self.width} with {self.decoder_heads}; "
                "expected multiples of the heads"
            )

    @property
    def vit(self) -> VitConfig:
        """The vision transformer, without tokens for tasks."""
        return VitConfig(self.height, self.image_width, self.patch, self.channels, self.depth, self.heads, 0)


VIT_H = VitTrunkConfig()


class VitTrunk(nn.Module):
    """Crops and box codes to one feature per person."""

    hidden: Tensor

    def __init__(self, config: VitTrunkConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.vit.grid
        self.vit = VisionTransformer(config.vit)
        self.narrow = nn.Linear(config.channels, config.width)
        self.cells = nn.Parameter(0.02 * torch.randn(rows * columns, config.width))
        self.ask = nn.Linear(3, config.width)
        self.blocks = make_blocks(
            config.width, config.decoder_heads, config.feedforward, 0.0, config.decoder_depth, norms_last=True
        )
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("hidden", torch.zeros(1, 1, dtype=torch.bool), persistent=False)

    def forward(self, observation: Observation, code: Float[Tensor, "person 3"]) -> Float[Tensor, "person width"]:
        """The feature. Raises InputError for persons without pixels."""
        values = self.narrow(self.vit(self.picture(observation)).flatten(2).mT)  # (B, cells, W)
        keys = values + self.cells
        x = self.ask(code)[:, None, None]  # (B, 1, 1, W)
        nowhere = x.new_zeros(1, x.shape[-1])
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            x = block(x, keys, values, nowhere, self.hidden)
        return self.norm(x[:, 0, 0])

    def picture(self, observation: Observation) -> Float[Tensor, "person 3 height width"]:
        """The middle columns of the crop, channels standardised by ImageNet's statistics."""
        image = standardised(resized(require_crops(observation), self.config.height), bgr_constants=False)
        left = (self.config.height - self.config.image_width) // 2
        return image[..., left : left + self.config.image_width].to(self.cells.dtype)
