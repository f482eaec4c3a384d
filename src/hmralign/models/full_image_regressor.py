"""The deterministic regressor: one body per person, placed in the full image.

    what was observed, code of the box -> trunk -> 24 rotations (6 numbers each), shape, camera of the crop

Source: VL-feedback (paper 003), sec. III-A, which names HMR2.0 (Goel et al. 2023) for the network and CLIFF (Li et al.
2022) for the box. The trunk is one of two: `pixels` is the paper's ViT with a transformer decoder, `keypoints` a small
one that reads what a detector found, which is what trains on synthetic persons without rendering them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS
from hmralign.geometry.cameras import CROP_MARGIN
from hmralign.geometry.crop_camera import box_code, crop_translation
from hmralign.geometry.rotations import rot6d_to_rotmat, rotmat_to_rot6d
from hmralign.models.context import KeypointEncoder, ResidualMlp, keypoint_features
from hmralign.models.paper.vit_trunk import VitTrunk, VitTrunkConfig
from hmralign.models.person_frame import person_frame
from hmralign.structures import BodyParams, Observation, TensorRecord

ROT6D_DIM = NUM_JOINTS * 6
_CAMERA_DIM = 3
_USUAL_SCALE = 0.94
"""A standing 1.7 m person in a crop of 1.25 boxes: half the crop is 1.06 m."""


@dataclass(frozen=True)
class KeypointTrunkConfig:
    """Size of the small trunk."""

    width: int = 384
    depth: int = 3
    """Residual blocks after the code of the box is known."""
    encoder_depth: int = 2
    """Residual blocks before."""


@dataclass(frozen=True)
class FullImageConfig:
    """A regressor: which trunk, and its size."""

    trunk: Literal["keypoints", "pixels"] = "keypoints"
    keypoints: KeypointTrunkConfig = field(default_factory=KeypointTrunkConfig)
    """Used where the trunk is `keypoints`."""
    pixels: VitTrunkConfig = field(default_factory=VitTrunkConfig)
    """Used where the trunk is `pixels`."""


@dataclass(frozen=True)
class RegressedBody(TensorRecord):
    """One body of each person. Rotations are those of the `cam` frame, the root first; `camera` is that of the crop."""

    rotmats: Float[Tensor, "person 24 3 3"]
    betas: Float[Tensor, "person betas"]
    camera: Float[Tensor, "person 3"]
    """Weak perspective: scale and shift (s, tx, ty) of the square crop."""


class KeypointTrunk(nn.Module):
    """Observed keypoints and box codes to one feature per person."""

    def __init__(self, config: KeypointTrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = KeypointEncoder(config.width, config.encoder_depth)
        del self.encoder.betas  # the head reads the shape
        self.place = nn.Linear(3, config.width)
        self.blocks = nn.Sequential(*(ResidualMlp(config.width, 2 * config.width) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, observation: Observation, code: Float[Tensor, "person 3"]) -> Float[Tensor, "person width"]:
        """The feature."""
        encoder = self.encoder
        x = encoder.embedded(keypoint_features(observation, person_frame(observation)))  # (B, W)
        return self.norm(self.blocks(encoder.norm(encoder.blocks(x)) + self.place(code)))


class FullImageRegressor(nn.Module):
    """Observed persons (one axis) to one body each."""

    upright: Tensor

    def __init__(self, config: FullImageConfig) -> None:
        super().__init__()
        self.config = config
        pixels = config.trunk == "pixels"
        self.trunk = VitTrunk(config.pixels) if pixels else KeypointTrunk(config.keypoints)
        width = config.pixels.width if pixels else config.keypoints.width
        self.head = nn.Linear(width, ROT6D_DIM + NUM_BETAS + _CAMERA_DIM)
        nn.init.xavier_uniform_(self.head.weight, gain=0.01)  # begins with an upright body that faces the camera
        nn.init.zeros_(self.head.bias)
        turns = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
        turns[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        self.register_buffer("upright", rotmat_to_rot6d(turns).flatten(), persistent=False)

    def forward(self, observation: Observation) -> RegressedBody:
        """The bodies. Raises InputError for persons without pixels where the trunk looks at them."""
        said = self.head(self.trunk(observation, observed_box_code(observation)))
        rot6d, betas, camera = said.float().split([ROT6D_DIM, NUM_BETAS, _CAMERA_DIM], dim=-1)
        rotmats = rot6d_to_rotmat((rot6d + self.upright).unflatten(-1, (NUM_JOINTS, 6)))  # (B, 24, 3, 3)
        scale = _USUAL_SCALE * torch.exp(camera[:, :1].clamp(-3, 3))
        return RegressedBody(rotmats, betas, torch.cat([scale, camera[:, 1:]], dim=-1))


def observed_box_code(observation: Observation) -> Float[Tensor, "person 3"]:
    """Where the crops of persons lie in their images, by intrinsics that are known or guessed."""
    center, side, focal, principal = _crop(observation)
    return box_code(center, side, focal, principal)


def placed_body(body: BodyModel, regressed: RegressedBody, observation: Observation) -> BodyParams:
    """The bodies in the `cam` frame of the full image, the pelvis where the crop's camera puts it; differentiable."""
    center, side, focal, principal = _crop(observation)
    pelvis = crop_translation(regressed.camera, center, side, focal, principal)
    transl = pelvis - rest_joints(body, regressed.betas)[:, 0]
    return BodyParams(regressed.rotmats[:, 0], regressed.rotmats[:, 1:], regressed.betas, transl)


def _crop(observation: Observation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre and side of each crop, focal length and principal point, pixels."""
    box, K = observation.box, observation.K
    side = CROP_MARGIN * (box[:, 2:] - box[:, :2]).amax(-1)
    focal = (K[:, 0, 0] + K[:, 1, 1]) / 2
    return (box[:, :2] + box[:, 2:]) / 2, side, focal, K[:, :2, 2]
