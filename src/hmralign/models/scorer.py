"""HMR-Scorer at lite size: how good a proposed body is, from the hypothesis and the observation alone.

Source: ADHMR (Shen et al. 2025) sec. 4.2: UVD coordinates of the joints as tokens, local image features beside each,
blocks of self-attention, cross-attention to the global context and a feed-forward network, one score per hypothesis.
Here the image is the keypoint encoder's: local features are learned mixtures of what the landmarks say, the context is
one token per observed keypoint and the encoder's global token.

| inputs | what it sees of a hypothesis | in the paper |
| --- | --- | --- |
| `uvd` | joints in the picture and in depth | HMR-Scorer |
| `2d` | joints in the picture | HMR-Scorer-2D |
| `pose` | rotations only | HMR-Scorer-P |
| `full` | UVD, rotations, twists, and landmarks against the observed keypoints | ours |
| `group` | all of `full`, and where a hypothesis stands in its group | ours |

`mlp` is the same with one residual MLP on everything instead of attention between tokens: an order of magnitude cheaper
on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_JOINTS, NUM_KEYPOINTS, NUM_TWISTS
from hmralign.models.context import Context, KeypointEncoder, ResidualMlp
from hmralign.models.denoiser import LiteConfig
from hmralign.models.pixel.pixel_model import PixelConfig, PixelEncoder, PixelFeatures
from hmralign.models.scorer_features import ScorerInput
from hmralign.structures import InputError

METRICS = ("mpjpe", "pa_mpjpe", "pve", "pa_pve")
"""Errors a scorer is trained on, in this order."""

ScorerInputs = Literal["uvd", "2d", "pose", "full", "group"]

HEAD_CHANNELS = 16
"""Channels per attention head."""


@dataclass(frozen=True)
class ScorerConfig:
    """Size and kind of a scorer."""

    inputs: ScorerInputs = "full"
    """What it sees of a hypothesis; `group` scores depend on the other hypotheses of the person."""
    architecture: Literal["attention", "mlp"] = "mlp"
    """Tokens per joint, or one vector."""
    width: int = 256
    """Channels; of attention, per token."""
    depth: int = 3
    """Blocks."""
    context_width: int = 192
    """Channels of the encoder of observations."""
    context_depth: int = 2
    """Its blocks."""
    heads: Literal["one", "per_metric"] = "per_metric"
    """One number for all metrics, as published, or one for each, whose mean is the score."""
    pixels: bool = False
    """Whether it looks at the person's crop too, as the published scorer does: patches along body parts, read as the
    pixel model reads them (`models.pixel`)."""

    def __post_init__(self) -> None:
        """Raise InputError for attention whose width is not a whole number of heads."""
        if self.architecture == "attention" and self.width % HEAD_CHANNELS:
            raise InputError(f"width of attention must be a multiple of {HEAD_CHANNELS}, got {self.width}")

    @property
    def sees_landmarks(self) -> bool:
        """Whether it compares surface landmarks with the observed keypoints."""
        return self.inputs in ("full", "group")

    @property
    def outputs(self) -> int:
        """Numbers per hypothesis."""
        return 1 if self.heads == "one" else len(METRICS)


def token_channels(inputs: ScorerInputs) -> int:
    """Channels of one joint's own features."""
    return {"uvd": 3, "2d": 2, "pose": 6, "full": 3 + 6 + 2, "group": 3 + 6 + 2 + 7}[inputs]


def joint_tokens(x: ScorerInput, inputs: ScorerInputs) -> Float[Tensor, "person hyp 29 channels"]:
    """Features of each joint; leaves have no rotation and the root no twist, which are zeros there."""
    if inputs == "uvd":
        return x.uvd
    if inputs == "2d":
        return x.uvd[..., :2]
    leaves = NUM_ALL_JOINTS - NUM_JOINTS
    rotations = nn.functional.pad(x.rotations, (0, 0, 0, leaves))  # (B, N, 29, 6)
    if inputs == "pose":
        return rotations
    twist = nn.functional.pad(x.twists, (0, 0, 1, leaves))  # (B, N, 29, 2)
    own = [x.uvd, rotations, twist]
    return torch.cat(own if inputs == "full" else [*own, group_tokens(x)], dim=-1)


def group_tokens(x: ScorerInput) -> Float[Tensor, "person hyp 29 7"]:
    """Where each joint of a hypothesis is in its group: from the mean (u, v, d), how far, and the group's spread there.

    The mean of what a model samples is nearer to the truth than most samples are, so the distance from it says much;
    the spread says how much.
    """
    away = x.uvd - x.uvd.mean(1, keepdim=True)  # (B, N, 29, 3)
    spread = away.square().mean(1, keepdim=True).sqrt().expand_as(away)
    return torch.cat([away, away.norm(dim=-1, keepdim=True), spread], dim=-1)


class _MlpHead(nn.Module):
    """Everything in one vector."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.inputs: ScorerInputs = config.inputs
        own = {
            "uvd": NUM_ALL_JOINTS * 3, "2d": NUM_ALL_JOINTS * 2, "pose": NUM_JOINTS * 6,
            "full": NUM_ALL_JOINTS * 3 + NUM_JOINTS * 6 + NUM_TWISTS * 2,
            "group": NUM_ALL_JOINTS * (3 + 7) + NUM_JOINTS * 6 + NUM_TWISTS * 2,
        }[config.inputs]  # fmt: skip
        marks = NUM_KEYPOINTS * 6 if config.sees_landmarks else 0
        self.embed = nn.Linear(own + marks, config.width)
        self.context = nn.Linear(config.context_width, config.width)
        self.blocks = nn.Sequential(*(ResidualMlp(config.width, 2 * config.width) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.outputs)

    def forward(self, x: ScorerInput, token: Tensor) -> Float[Tensor, "person hyp outputs"]:
        hidden = self.embed(self._flat(x)) + self.context(nn.functional.silu(token))[:, None]  # (B, N, W)
        return self.head(self.norm(self.blocks(hidden)))

    def _flat(self, x: ScorerInput) -> Tensor:
        if self.inputs == "uvd":
            return x.uvd.flatten(-2)
        if self.inputs == "2d":
            return x.uvd[..., :2].flatten(-2)
        if self.inputs == "pose":
            return x.rotations.flatten(-2)
        parts = [x.uvd, x.rotations, x.twists, x.landmarks]
        if self.inputs == "group":
            parts.append(group_tokens(x))
        return torch.cat([part.flatten(-2) for part in parts], -1)


class _AttentionBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward (ADHMR fig. 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_CHANNELS
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "person hyp token width"], context: Float[Tensor, "person key width"]) -> Tensor:
        person, hyp, token, width = x.shape
        q, k, v = self._split(self.own(self.norms[0](x)).flatten(0, 1), 3)  # each (B * N, H, T, W/H)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.own_out(attended.transpose(1, 2).reshape(x.shape))
        # All hypotheses of a person ask the same keys: their tokens are queries of one call.
        asked = self._split(self.query(self.norms[1](x)).reshape(person, hyp * token, width), 1)[0]
        k, v = self._split(self.key_value(context), 2)
        attended = nn.functional.scaled_dot_product_attention(asked, k, v)
        x = x + self.cross_out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.feed(self.norms[2](x))

    def _split(self, x: Float[Tensor, "n token channels"], parts: int) -> tuple[Tensor, ...]:
        return x.unflatten(-1, (parts, self.heads, HEAD_CHANNELS)).permute(2, 0, 3, 1, 4).unbind(0)


class _AttentionHead(nn.Module):
    """One token per joint."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.inputs: ScorerInputs = config.inputs
        self.sees_landmarks = config.sees_landmarks
        width = config.width
        self.joint = nn.Parameter(0.02 * torch.randn(NUM_ALL_JOINTS, width))
        self.embed = nn.Linear(token_channels(config.inputs), width)
        self.seen = nn.Linear(4, width)
        self.keypoint = nn.Parameter(0.02 * torch.randn(NUM_KEYPOINTS, width))
        self.local_mix = nn.Parameter(0.1 * torch.randn(NUM_ALL_JOINTS, NUM_KEYPOINTS))
        self.local = nn.Linear(6 if config.sees_landmarks else 4, width)
        self.context = nn.Linear(config.context_width, width)
        self.blocks = nn.ModuleList(_AttentionBlock(width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.outputs)

    def forward(self, x: ScorerInput, token: Tensor) -> Float[Tensor, "person hyp outputs"]:
        observed = x.observation.vector[..., : NUM_KEYPOINTS * 4].unflatten(-1, (NUM_KEYPOINTS, 4))  # (B, 27, 4)
        keys = self.seen(observed) + self.keypoint  # (B, 27, W)
        keys = torch.cat([self.context(nn.functional.silu(token))[:, None], keys], dim=1)  # (B, 28, W)
        source = x.landmarks if self.sees_landmarks else observed[:, None]
        local = self.local_mix @ nn.functional.silu(self.local(source) + self.keypoint)  # (B, N or 1, 29, W)
        tokens = self.embed(joint_tokens(x, self.inputs)) + self.joint + local  # (B, N, 29, W)
        for block in self.blocks:
            tokens = block(tokens, keys)
        return self.head(self.norm(tokens.mean(-2)))


class Scorer(nn.Module):
    """One or several networks whose outputs are averaged (Lakshminarayanan et al. 2017, deep ensembles)."""

    def __init__(self, config: ScorerConfig, members: int = 1) -> None:
        super().__init__()
        if members < 1:
            raise InputError(f"a scorer has at least 1 member, got {members}")
        self.config = config
        self.members = nn.ModuleList(ScorerNetwork(config) for _ in range(members))

    def forward(self, x: ScorerInput) -> Float[Tensor, "person hyp outputs"]:
        """Uncalibrated outputs, higher is better, one per metric unless the scorer has one for all."""
        return torch.stack([member(x) for member in self.members]).mean(0)


class ScorerNetwork(nn.Module):
    """One network."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.encoder = PixelEncoder(reader_of(config)) if config.pixels else KeypointEncoder(*_sizes(config))
        self.judge = _MlpHead(config) if config.architecture == "mlp" else _AttentionHead(config)

    def forward(self, x: ScorerInput) -> Float[Tensor, "person hyp outputs"]:
        """Score hypotheses of persons."""
        return self.judge(x, self._context(x).global_tokens[..., 0, :])

    def _context(self, x: ScorerInput) -> Context:
        if not isinstance(self.encoder, PixelEncoder):
            return self.encoder(x.observation)
        if x.patches is None:
            raise InputError("the scorer looks at pixels, but its input was made without")
        return self.encoder(PixelFeatures(x.observation, x.patches))


def reader_of(config: ScorerConfig) -> PixelConfig:
    """The pixel model whose encoder a scorer has; one of the same context sizes can start it."""
    width, depth = _sizes(config)
    return PixelConfig(LiteConfig(context_width=width, context_depth=depth))


def _sizes(config: ScorerConfig) -> tuple[int, int]:
    return config.context_width, config.context_depth
