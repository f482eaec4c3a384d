"""The refiner: a transformer that predicts how a body differs from the initial one, told by gradients where to look.

    x_0 = refiner(x_t, t; estimate of x_0, initial body, c),    c = concat(context, G_keyp, G_text)

Source: VL feedback, sec. II-D and fig. 7 (adaptive norms from time, noisy parameters and observations). One token per
part of the body and one for the shape. Choices that the paper leaves open: x_0 is predicted, not the noise; gradients
are taken at the last estimate of x_0, which the network is shown (Chen et al. 2023, *Analog Bits*, self-conditioning);
magnitudes of gradients are squashed by asinh, for they span orders. The context is that of the lite model's keypoint
encoder, frozen, in place of the paper's picture features.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.skeleton import JOINT_NAMES, NUM_BETAS, NUM_JOINTS
from hmralign.diffusion.schedule import Schedule, ScheduleConfig, make_schedule
from hmralign.geometry.rotations import rotmat_to_rot6d
from hmralign.models.context import KeypointEncoder
from hmralign.models.denoiser import HEAD_CHANNELS, time_embedding
from hmralign.models.language.body_offset import OFFSET_DIM
from hmralign.models.transformer_denoiser import AdaptiveBlock
from hmralign.structures import InputError, TensorRecord


def _limb(side: str, *names: str) -> tuple[int, ...]:
    return tuple(JOINT_NAMES.index(f"{side}_{name}") for name in names)


PARTS: tuple[tuple[int, ...], ...] = (
    (0, 3, 6, 9),
    (12, 15),
    *(_limb(side, "collar", "shoulder", "elbow", "wrist", "hand") for side in ("left", "right")),
    *(_limb(side, "hip", "knee", "ankle", "foot") for side in ("left", "right")),
)
"""Rotating joints of trunk, head, arms and legs: a token each."""

CONDITIONS = ("context", "keypoints", "text")
"""What can be shown to the refiner or hidden from it, in the order of `RefinerCondition.shown`."""

_POSE = NUM_JOINTS * 6


@dataclass(frozen=True)
class RefinerConfig:
    """Size of a refiner."""

    width: int = 128
    """Channels of a token."""
    hidden: int = 256
    """Channels inside each block."""
    depth: int = 4
    """Blocks."""
    context_width: int = 384
    """Channels of the keypoint encoder."""
    context_depth: int = 2
    """Blocks of the keypoint encoder."""
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(num_steps=100))
    """Noise schedule."""

    def __post_init__(self) -> None:
        """Raise InputError for a width that is not a whole number of heads."""
        if self.width % HEAD_CHANNELS:
            raise InputError(f"width of a refiner must be a multiple of {HEAD_CHANNELS}, got {self.width}")


@dataclass(frozen=True)
class RefinerCondition(TensorRecord):
    """What a refiner sees of persons. `shown` is 1 or 0 for each of `CONDITIONS`.

    Gradients: of the keypoints by 3D points (eq. 6, nats per metre) and of the text by turns of joints (eq. 7).
    """

    initial_rotmats: Float[Tensor, "*batch 24 3 3"]
    initial_betas: Float[Tensor, "*batch betas"]
    context: Float[Tensor, "*batch channels"]
    keypoint_gradient: Float[Tensor, "*batch 27 3"]
    text_gradient: Float[Tensor, "*batch 24 3"]
    shown: Float[Tensor, "*batch 3"]


class Refiner(nn.Module):
    """Predicts x_0, the standardised offset from the initial body."""

    scale: Tensor
    gradient_scale: Tensor
    mean_rotmats: Tensor
    """Mean body of its training, person frame: where one that is given no first answer starts."""
    mean_betas: Tensor

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.schedule: Schedule = make_schedule(config.schedule)
        width = config.width
        self.encoder = KeypointEncoder(config.context_width, config.context_depth)
        self.register_buffer("scale", torch.ones(OFFSET_DIM))
        self.register_buffer("gradient_scale", torch.ones(2))
        self.register_buffer("mean_rotmats", torch.eye(3).repeat(NUM_JOINTS, 1, 1))
        self.register_buffer("mean_betas", torch.zeros(NUM_BETAS))
        self.embed = nn.ModuleList([*(nn.Linear(21 * len(part), width) for part in PARTS), nn.Linear(30, width)])
        self.token = nn.Parameter(0.02 * torch.randn(len(PARTS) + 1, width))
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Sequential(
            nn.Linear(config.context_width + 81 + 72 + 3, config.hidden), nn.SiLU(), nn.Linear(config.hidden, width)
        )
        self.modulation = nn.Linear(width, config.depth * 6 * width)
        self.blocks = nn.ModuleList(AdaptiveBlock(width, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.ModuleList([*(nn.Linear(width, 6 * len(part)) for part in PARTS), nn.Linear(width, NUM_BETAS)])
        for zero in (self.modulation, *self.head):
            assert isinstance(zero, nn.Linear)
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(
        self,
        x_t: Float[Tensor, "n 154"],
        t: Int[Tensor, " n"],
        estimate: Float[Tensor, "n 154"],
        condition: RefinerCondition,
    ) -> Float[Tensor, "n 154"]:
        """x_0 of each sample."""
        context, keypoints, text = (shown[:, None] for shown in condition.shown.unbind(-1))
        pull = self._squashed(condition.keypoint_gradient, 0).flatten(-2) * keypoints  # (B, 81)
        wish = self._squashed(condition.text_gradient, 1) * text[..., None]  # (B, 24, 3)
        seen = torch.cat([condition.context * context, pull, wish.flatten(-2), condition.shown], dim=-1)
        c = nn.functional.silu(self.time(time_embedding(t)) + self.condition(seen))  # (B, W)
        modulation = self.modulation(c).unflatten(-1, (len(self.blocks), -1))
        tokens = self._tokens(x_t, estimate, condition, wish)
        for k, block in enumerate(self.blocks):
            tokens = block(tokens, modulation[:, k])
        # A share of x_t that is best where nothing is known, so that the network has to learn the rest alone.
        return self.schedule.at(t).sqrt()[:, None] * x_t + self._offsets(self.norm(tokens))

    def _squashed(self, gradient: Tensor, which: int) -> Tensor:
        """The same direction, a length that grows as a logarithm."""
        length = gradient.norm(dim=-1, keepdim=True) / self.gradient_scale[which]
        return gradient / self.gradient_scale[which] * torch.asinh(length) / length.clamp(min=1e-6)

    def _tokens(self, x_t: Tensor, estimate: Tensor, condition: RefinerCondition, wish: Tensor) -> Tensor:
        by_joint = [v[..., :_POSE].unflatten(-1, (NUM_JOINTS, 6)) for v in (x_t, estimate)]
        joints = torch.cat([*by_joint, rotmat_to_rot6d(condition.initial_rotmats), wish], dim=-1)  # (B, 24, 21)
        shape = torch.cat([x_t[..., _POSE:], estimate[..., _POSE:], condition.initial_betas], dim=-1)  # (B, 30)
        parts = [joints[:, list(part)].flatten(-2) for part in PARTS]
        embedded = [embed(part) for embed, part in zip(self.embed, [*parts, shape], strict=True)]
        return torch.stack(embedded, dim=1) + self.token  # (B, 7, W)

    def _offsets(self, tokens: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n 154"]:
        pose = tokens.new_zeros(len(tokens), NUM_JOINTS, 6)
        for k, part in enumerate(PARTS):
            pose[:, list(part)] = self.head[k](tokens[:, k]).unflatten(-1, (len(part), 6))
        return torch.cat([pose.flatten(-2), self.head[-1](tokens[:, -1])], dim=-1)
