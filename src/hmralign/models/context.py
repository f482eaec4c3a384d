"""Encoders: an observation becomes a `Context`, all that a denoiser sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import MIRROR_KEYPOINTS, NUM_BETAS, NUM_KEYPOINTS
from hmralign.models.joint_features import JointFeatures
from hmralign.models.limb_features import LIMB_FEATURES, limb_features
from hmralign.models.person_frame import PersonFrame
from hmralign.structures import MASK_SIZE, Observation, TensorRecord

FEATURES = NUM_KEYPOINTS * 4 + 4
"""Per keypoint x, y, confidence, seen; then log box angle, whether it is known, box aspect, share of keypoints seen."""

_PLANE_LIMIT = 3.0
"""Keypoints further out than this many half boxes are outliers; their coordinates are clamped."""


@dataclass(frozen=True)
class Context(TensorRecord):
    """What a denoiser may see. `local`: one feature per joint below the pelvis; None where the encoder gives none."""

    global_tokens: Float[Tensor, "*batch tokens channels"]
    local: Float[Tensor, "*batch joint_tokens local_channels"] | None
    betas: Float[Tensor, "*batch betas"]


@dataclass(frozen=True)
class KeypointFeatures(TensorRecord):
    """Network input of the keypoint encoder."""

    vector: Float[Tensor, "*batch features"]
    mask: Float[Tensor, "*batch mask_h mask_w"]
    has_mask: Float[Tensor, "*batch"]


def keypoint_features(observation: Observation, frame: PersonFrame, *, mirrored: bool = False) -> KeypointFeatures:
    """Assemble the input; `mirrored` gives the input of the mirror image."""
    seen = (observation.confidence > 0).float()
    plane = frame.keypoints_plane.clamp(-_PLANE_LIMIT, _PLANE_LIMIT) * seen[..., None]  # (*B, 27, 2)
    per_keypoint = torch.cat([plane, observation.confidence[..., None], seen[..., None]], dim=-1)  # (*B, 27, 4)
    known = frame.known.float()
    extra = torch.stack(
        [
            known * torch.log(frame.tan_half_size / 0.2),
            known,
            torch.log(frame.box_plane[..., 0] / frame.box_plane[..., 1]).clamp(-3, 3),
            seen.mean(-1),
        ],
        dim=-1,
    )
    vector = torch.cat([per_keypoint.flatten(-2), extra], -1)  # (*B, 112)
    found = KeypointFeatures(vector, observation.mask, observation.has_mask.float())
    return mirrored_features(found) if mirrored else found


def mirrored_features(features: KeypointFeatures) -> KeypointFeatures:
    """The input of the mirror image, from the input alone."""
    count = NUM_KEYPOINTS * 4
    per_keypoint = features.vector[..., :count].unflatten(-1, (NUM_KEYPOINTS, 4))
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0], device=per_keypoint.device)
    swapped = (per_keypoint[..., list(MIRROR_KEYPOINTS), :] * flip).flatten(-2)  # (*B, 108)
    vector = torch.cat([swapped, features.vector[..., count:]], -1)
    return KeypointFeatures(vector, features.mask.flip(-1), features.has_mask)


class ResidualMlp(nn.Module):
    """x + W2 silu(W1 norm(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Apply."""
        return x + self.down(nn.functional.silu(self.up(self.norm(x))))


class KeypointEncoder(nn.Module):
    """Keypoints, confidences, box, optional mask -> one global token and the shape coefficients.

    With a `local_width` also one local feature per joint, from the keypoints alone.

    No RGB: it trains on synthetic data and transfers to photos because the detector bridges the gap.
    """

    def __init__(self, width: int = 512, depth: int = 2, local_width: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES + LIMB_FEATURES, width)
        self.mask = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=3, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(32 * (MASK_SIZE // 12) ** 2, width),
        )
        self.blocks = nn.Sequential(*(ResidualMlp(width, 2 * width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.betas = nn.Linear(width, NUM_BETAS)
        self.local = None if local_width is None else JointFeatures(local_width)

    def forward(self, features: KeypointFeatures) -> Context:
        """Encode persons; any leading axes."""
        return self.encoded(self.embedded(features), features)

    def embedded(self, features: KeypointFeatures) -> Float[Tensor, "*batch width"]:
        """Keypoints and mask, before the blocks."""
        per_keypoint = _per_keypoint(features)
        limbs = limb_features(per_keypoint[..., :2], per_keypoint[..., 2])  # (*B, L)
        x = self.embed(torch.cat([features.vector, limbs], dim=-1))  # (*B, W)
        if bool(features.has_mask.any()):
            mask = features.mask.reshape(-1, 1, MASK_SIZE, MASK_SIZE) - 0.5  # (B, 1, 48, 48)
            x = x + features.has_mask[..., None] * self.mask(mask).reshape_as(x)
        return x

    def encoded(self, x: Float[Tensor, "*batch width"], features: KeypointFeatures) -> Context:
        """What the blocks make of an embedding."""
        x = self.norm(self.blocks(x))
        local = None if self.local is None else self.local(_per_keypoint(features))
        return Context(global_tokens=x[..., None, :], local=local, betas=self.betas(x))


def _per_keypoint(features: KeypointFeatures) -> Float[Tensor, "*batch 27 4"]:
    vector = features.vector[..., : NUM_KEYPOINTS * 4]
    return vector.reshape(*vector.shape[:-1], NUM_KEYPOINTS, 4)  # of `unflatten` a trace to ONNX keeps no free axis
