"""ScoreNet: how good a hypothesis is, with an image encoder of its own.

    hypothesis -> tokens (pose | image feature at its own joints) -> blocks -> one vector -> score

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 1 and 2. Trained by ranks (RankNet) of
vertex and joint errors; higher is better. Module names are those of published tensors.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS
from hmralign.models.paper.config import GROUPS, NUM_TOKENS, TWIST_DIM, UVD_DIM, PaperConfig
from hmralign.models.paper.decoder_block import make_blocks
from hmralign.models.paper.image_encoder import ImageFeatures
from hmralign.models.paper.joint_graph import hidden_tokens, input_masks
from hmralign.models.paper.local_features import sample_map, token_points
from hmralign.models.paper.positions import cell_positions, token_positions
from hmralign.models.paper.token_start import SLOPE, start_layers, started


class ScoreNet(nn.Module):
    """Scores of hypotheses from features of `ImageEncoder(config, shape_head=False)`."""

    token_positions: Tensor
    cell_positions: Tensor
    hidden: Tensor

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        width, stored = config.width, config.quirks.masks_on_stored_values
        near_j, near_t = input_masks()
        self.linear_start_j, self.bn_start_j = start_layers(3, config.local_width, near_j, on_stored_values=stored)
        self.linear_start_t, self.bn_start_t = start_layers(2, config.local_width, near_t, on_stored_values=stored)
        self.linear_mlp = nn.Sequential(
            nn.Linear(NUM_TOKENS * width, config.score_width),
            nn.GroupNorm(GROUPS, config.score_width),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(config.start_dropout),
            nn.Linear(config.score_width, 1),
        )
        self.blocks = make_blocks(
            width, config.heads, config.feedforward, config.dropout, len(config.hops), norms_last=True
        )
        self.start_dropout = nn.Dropout(config.start_dropout)
        side = config.context_side
        self.register_buffer("token_positions", token_positions(NUM_TOKENS, width), persistent=False)
        self.register_buffer("cell_positions", cell_positions(side, side, width), persistent=False)
        self.register_buffer("hidden", hidden_tokens(config.hops, twists=True), persistent=False)

    def forward(
        self, hypotheses: Float[Tensor, "person hyp 133"], features: ImageFeatures
    ) -> Float[Tensor, "person hyp"]:
        """Scores, higher is better. `hypotheses` are `uvd.unit_sample`s: u, v of -1 to 1, d in metres, twists."""
        joints, twists = hypotheses[..., :UVD_DIM], hypotheses[..., UVD_DIM:]
        if not self.config.quirks.raw_twists:
            twists = nn.functional.normalize(twists.unflatten(-1, (NUM_TWISTS, 2)), dim=-1).flatten(-2)
        assert twists.shape[-1] == TWIST_DIM
        pose = torch.cat(
            [
                started(self.linear_start_j, self.bn_start_j, joints, NUM_ALL_JOINTS),
                started(self.linear_start_t, self.bn_start_t, twists, NUM_TWISTS),
            ],
            dim=-2,
        )  # (B, N, 52, W / 2)
        x = torch.cat([self.start_dropout(pose), self._local(joints, features)], dim=-1)
        values = features.coarse.flatten(2).mT
        keys = values + self.cell_positions
        for block, hidden in zip(self.blocks, self.hidden, strict=True):
            x = block(x, keys, values, self.token_positions, hidden)
        return self.linear_mlp(x.flatten(0, 1).flatten(1)).view(x.shape[:2])

    def _local(self, joints: Tensor, features: ImageFeatures) -> Float[Tensor, "person hyp 52 channels"]:
        """Image features where the hypothesis has its joints."""
        seen = joints.unflatten(-1, (NUM_ALL_JOINTS, 3))[..., :2]
        return sample_map(features.fine, token_points(seen, swapped=self.config.quirks.swapped_midpoints))
