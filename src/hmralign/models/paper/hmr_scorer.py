"""HMR-Scorer: how good a body's joints are, from a picture; without rotations or shape.

    crop 512 x 384 -> 256 x 192 -> vision transformer -> global tokens, and a finer map for features at joints
    joints (u, v, d) -> tokens -> blocks -> one vector -> score

Source: ADHMR (Shen et al. 2025), sec. 4.2 and fig. 3. Two bodies with equal joints and other twists score alike. Module
names are those of published tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS
from hmralign.models.paper.config import GROUPS, UVD_DIM, Quirks
from hmralign.models.paper.decoder_block import make_blocks
from hmralign.models.paper.joint_graph import hidden_tokens, input_masks
from hmralign.models.paper.local_features import sample_map
from hmralign.models.paper.positions import cell_positions, token_positions
from hmralign.models.paper.token_start import SLOPE, start_layers, started
from hmralign.models.paper.vit import VisionTransformer, VitConfig

CANVAS = (512, 384)
"""Rows and columns of the crop that HMR-Scorer was trained on: an upright box, 1.2 times the person's."""

SHARPNESS = 5.0
"""The score between 0 and 1 is sigmoid(5 raw)."""


@dataclass(frozen=True)
class HmrScorerConfig:
    """Size of HMR-Scorer; the defaults are the published one."""

    encoder: VitConfig = field(default_factory=VitConfig)
    """The image encoder, which was not trained."""
    width: int = 512
    """Channels of a token: one half pose, one half image feature."""
    heads: int = 8
    """Attention heads."""
    feedforward: int = 2048
    """Channels inside a block's feed-forward network."""
    hops: tuple[int, ...] = (7, 6, 5, 4, 3, 1)
    """Per block, how far in the graph of joints a token sees."""
    score_width: int = 1024
    """Channels of the head."""
    last_width: int = 256
    """Channels of its last layer but one, which no non-linearity follows."""
    dropout: float = 0.1
    """Dropout of attention and feed-forward."""
    start_dropout: float = 0.25
    """Dropout of what joints become before the blocks, and of the head."""
    quirks: Quirks = field(default_factory=Quirks)


class _Nothing(nn.Module):
    """Weights of a layer for no twists: published files have them, of no size."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(0))


class JointScorer(nn.Module):
    """Scores of joints from a map of features."""

    token_positions: Tensor
    cell_positions: Tensor
    hidden: Tensor

    def __init__(self, config: HmrScorerConfig) -> None:
        super().__init__()
        width, local = config.width, config.width // 2
        self.linear_start_j, self.bn_start_j = start_layers(
            3, local, input_masks()[0], on_stored_values=config.quirks.masks_on_stored_values
        )
        self.linear_start_t, self.bn_start_t = _Nothing(0, 0), _Nothing(0)
        self.ctx_to_x_conv = nn.Conv2d(config.encoder.channels, width, 1)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(config.encoder.channels, local, 4, 2, 1, bias=False),
            nn.BatchNorm2d(local),
            nn.ReLU(inplace=True),
        )
        self.linear_mlp = nn.Sequential(
            nn.Linear(NUM_ALL_JOINTS * width, config.score_width),
            nn.GroupNorm(GROUPS, config.score_width),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(config.start_dropout),
            nn.Linear(config.score_width, config.last_width),
            nn.Linear(config.last_width, 1),
        )
        self.blocks = make_blocks(
            width, config.heads, config.feedforward, config.dropout, len(config.hops), norms_last=True
        )
        self.start_dropout = nn.Dropout(config.start_dropout)
        self.register_buffer("token_positions", token_positions(NUM_ALL_JOINTS, width), persistent=False)
        self.register_buffer("cell_positions", cell_positions(*config.encoder.grid, width), persistent=False)
        self.register_buffer("hidden", hidden_tokens(config.hops, twists=False), persistent=False)

    def forward(
        self, joints: Float[Tensor, "person hyp 29 3"], features: Float[Tensor, "person channels rows columns"]
    ) -> Float[Tensor, "person hyp"]:
        """Raw scores, higher is better; u, v are -1 to 1 over the crop, d metres from the pelvis."""
        pose = started(self.linear_start_j, self.bn_start_j, joints.flatten(-2), NUM_ALL_JOINTS)
        local = sample_map(self.deconv(features), joints[..., :2])  # (B, N, 29, W / 2)
        x = torch.cat([self.start_dropout(pose), local], dim=-1)
        values = self.ctx_to_x_conv(features).flatten(2).mT
        keys = values + self.cell_positions
        for block, hidden in zip(self.blocks, self.hidden, strict=True):
            x = block(x, keys, values, self.token_positions, hidden)
        return self.linear_mlp(x.flatten(0, 1).flatten(1)).view(x.shape[:2])


class HmrScorer(nn.Module):
    """Encoder and scorer."""

    def __init__(self, config: HmrScorerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.score_net = JointScorer(config)

    def forward(
        self, canvas: Float[Tensor, "person 3 rows columns"], joints: Float[Tensor, "person hyp 29 3"]
    ) -> Float[Tensor, "person hyp"]:
        """Raw scores of joints over crops of channels 0 to 1, twice the encoder's size; `sigmoid(5 raw)` is in 0..1.

        The raw score is not calibrated: only ranks were trained.
        """
        return self.score_net(joints, self.encoder(shrunk(canvas, nearest=self.config.quirks.nearest_shrink)))


def unit_score(raw: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Score between 0 and 1 of a raw one."""
    return torch.sigmoid(SHARPNESS * raw)


def shrunk(
    canvas: Float[Tensor, "person 3 rows columns"], *, nearest: bool
) -> Float[Tensor, "person 3 half_rows half_columns"]:
    """Half the size: every second pixel from the first on (`Quirks.nearest_shrink`), or the mean of each four."""
    return canvas[..., ::2, ::2] if nearest else nn.functional.avg_pool2d(canvas, 2)


def square_on_canvas(square: Float[Tensor, "person 3 side side"]) -> Float[Tensor, "person 3 512 384"]:
    """The square crop of HypoNet, as wide as HMR-Scorer's crop, with black above and below."""
    rows, columns = CANVAS
    image = nn.functional.interpolate(square, (columns, columns), mode="bilinear", antialias=True)
    bar = (rows - columns) // 2
    return nn.functional.pad(image, (0, 0, bar, bar))


def joints_on_canvas(uvd: Float[Tensor, "*batch joint 3"], *, truncated: bool) -> Float[Tensor, "*batch joint 3"]:
    """Joints over the square (u, v of -1 to 1) as joints over the canvas it lies on.

    `truncated`: they fall on whole pixels of the canvas, rounded towards zero (`Quirks.truncated_pixels`).
    """
    rows, columns = CANVAS
    u, v = (uvd[..., 0] + 1) / 2 * columns, (uvd[..., 1] + 1) / 2 * columns + (rows - columns) // 2
    if truncated:
        u, v = u.trunc(), v.trunc()
    return torch.stack([2 * u / columns - 1, 2 * v / rows - 1, uvd[..., 2]], dim=-1)


assert UVD_DIM == NUM_ALL_JOINTS * 3
