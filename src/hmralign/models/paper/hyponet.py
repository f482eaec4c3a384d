"""HypoNet: the papers' denoiser, attention among 29 joints and 23 twists and to the picture.

    x_t -> masked linear -> tokens (pose | image feature at the joint) + time -> blocks -> masked linear + x_t = eps

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2, whose base model it is. Module
names are those of published tensors; `bn_start_*` are group norms in spite of their names. This is the plain form,
which is trained; `fast_hyponet` computes the same sooner.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.diffusion.schedule import Schedule, make_schedule
from hmralign.models.denoiser import time_embedding
from hmralign.models.paper.config import NUM_TOKENS, TWIST_DIM, UVD_DIM, PaperConfig
from hmralign.models.paper.decoder_block import make_blocks
from hmralign.models.paper.image_encoder import PaperContext
from hmralign.models.paper.joint_graph import hidden_tokens, input_masks
from hmralign.models.paper.masked_linear import MaskedLinear
from hmralign.models.paper.positions import cell_positions, token_positions
from hmralign.models.paper.token_start import start_layers, started


class HypoNet(nn.Module):
    """eps_theta(x_t, t, context) for samples of 133 numbers (`models.paper.uvd`)."""

    token_positions: Tensor
    cell_positions: Tensor
    hidden: Tensor

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule: Schedule = make_schedule(config.schedule)
        width, stored = config.width, config.quirks.masks_on_stored_values
        near_j, near_t = input_masks()
        self.linear_start_j, self.bn_start_j = start_layers(3, config.local_width, near_j, on_stored_values=stored)
        self.linear_start_t, self.bn_start_t = start_layers(2, config.local_width, near_t, on_stored_values=stored)
        self.linear_final_j = MaskedLinear(NUM_ALL_JOINTS * width, UVD_DIM, near_j, on_stored_values=stored)
        self.linear_final_t = MaskedLinear(NUM_TWISTS * width, TWIST_DIM, near_t, on_stored_values=stored)
        self.blocks = make_blocks(
            width, config.heads, config.feedforward, config.dropout, len(config.hops), norms_last=False
        )
        self.temb_dense = nn.ModuleList([nn.Linear(config.time_channels, width), nn.Linear(width, width)])
        self.start_dropout = nn.Dropout(config.start_dropout)
        side = config.context_side
        self.register_buffer("token_positions", token_positions(NUM_TOKENS, width), persistent=False)
        self.register_buffer("cell_positions", cell_positions(side, side, width), persistent=False)
        self.register_buffer("hidden", hidden_tokens(config.hops, twists=True), persistent=False)

    def clear_masked(self) -> None:
        """Make masked weights zero, as published ones are not always where they were averaged."""
        for layer in self.modules():
            if isinstance(layer, MaskedLinear):
                layer.clear()

    def time_features(self, t: Int[Tensor, "*times"]) -> Float[Tensor, "*times width"]:
        """What is added to every token at a time."""
        x = time_embedding(t, self.config.time_channels)
        for layer in self.temb_dense:
            x = nn.functional.silu(layer(x))
        return x

    def tokens(
        self, x_t: Float[Tensor, "person hyp 133"], local: Float[Tensor, "person 52 channels"]
    ) -> Float[Tensor, "person hyp 52 width"]:
        """Tokens of samples, before the time is added."""
        joints = started(self.linear_start_j, self.bn_start_j, x_t[..., :UVD_DIM], NUM_ALL_JOINTS)
        twists = started(self.linear_start_t, self.bn_start_t, x_t[..., UVD_DIM:], NUM_TWISTS)
        pose = self.start_dropout(torch.cat([joints, twists], dim=-2))  # (B, N, 52, W / 2)
        return torch.cat([pose, local[:, None].expand(-1, pose.shape[1], -1, -1)], dim=-1)

    def forward(
        self, x_t: Float[Tensor, "person hyp 133"], t: Int[Tensor, "*times"], context: PaperContext
    ) -> Float[Tensor, "person hyp 133"]:
        """eps of each sample; `t` broadcasts to persons and hypotheses."""
        x = self.tokens(x_t, context.local) + self.time_features(t)[..., None, :]  # (B, N, 52, W)
        values = context.global_tokens
        keys = values + self.cell_positions
        for block, hidden in zip(self.blocks, self.hidden, strict=True):
            x = block(x, keys, values, self.token_positions, hidden)
        joints = self.linear_final_j(x[..., :NUM_ALL_JOINTS, :].flatten(-2))
        twists = self.linear_final_t(x[..., NUM_ALL_JOINTS:, :].flatten(-2))
        return x_t + torch.cat([joints, twists], dim=-1)
