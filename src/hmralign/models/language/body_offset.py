"""The diffused sample of refinement: how a body differs from an initial one, in one standardised vector.

    x = ((6D of R_1..24) - (6D of R_1..24 of the initial body), betas - initial betas), each over its scale

Source: Adapting Human Mesh Recovery with Vision-Language Feedback, sec. II-D.1, "a Gaussian distribution with the
initial prediction as the mean and sigma as the standard deviation"; rotations in 6 numbers (Zhou et al. 2019).
Departure: the translation is not diffused; bodies are placed by their keypoints in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS
from hmralign.geometry.rotations import rot6d_to_rotmat, rotmat_to_rot6d
from hmralign.structures import TensorRecord

OFFSET_DIM = NUM_JOINTS * 6 + NUM_BETAS
_POSE = NUM_JOINTS * 6


def default_scale() -> Float[Tensor, " 154"]:
    """Scale of offsets where none was measured: about 10 degrees per joint, half a standard deviation of the shape."""
    return torch.cat([torch.full((_POSE,), 0.15), torch.full((NUM_BETAS,), 0.5)])


@dataclass(frozen=True)
class BodyOffset(TensorRecord):
    """Initial bodies that offsets are counted from, and the scale of each number."""

    rotmats: Float[Tensor, "*batch 24 3 3"]
    betas: Float[Tensor, "*batch betas"]
    scale: Float[Tensor, "*batch 154"]

    def to_body(
        self, x: Float[Tensor, "*batch 154"]
    ) -> tuple[Float[Tensor, "*batch 24 3 3"], Float[Tensor, "*batch betas"]]:
        """Rotations and shapes at an offset; zero gives the initial body. Differentiable."""
        away = x * self.scale
        rot6d = rotmat_to_rot6d(self.rotmats) + away[..., :_POSE].unflatten(-1, (NUM_JOINTS, 6))  # (*B, 24, 6)
        return rot6d_to_rotmat(rot6d), self.betas + away[..., _POSE:]

    def from_body(
        self, rotmats: Float[Tensor, "*batch 24 3 3"], betas: Float[Tensor, "*batch betas"]
    ) -> Float[Tensor, "*batch 154"]:
        """Offset of a body from the initial one."""
        away = rotmat_to_rot6d(rotmats) - rotmat_to_rot6d(self.rotmats)  # (*B, 24, 6)
        return torch.cat([away.flatten(-2), betas - self.betas], dim=-1) / self.scale
