"""Pose, shape and place of an SMPL-shaped body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures.tensor_record import TensorRecord


@dataclass(frozen=True)
class BodyParams(TensorRecord):
    """Parameters of an SMPL-shaped body; all leading axes are batch axes.

    Rotations are matrices, parent-relative. The body turns about its pelvis, then `transl` (metres) is added, so in
    the `cam` frame (x right, y down, z forward) an upright person has a `global_orient` near `diag(1, -1, -1)`.
    """

    global_orient: Float[Tensor, "*batch 3 3"]
    body_pose: Float[Tensor, "*batch body_joints 3 3"]
    betas: Float[Tensor, "*batch betas"]
    transl: Float[Tensor, "*batch 3"]

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.transl.shape[:-1]

    @property
    def rotmats(self) -> Float[Tensor, "*batch joints 3 3"]:
        """All parent-relative rotations, the root first."""
        return torch.cat([self.global_orient[..., None, :, :], self.body_pose], dim=-3)

    def with_transl(self, transl: Float[Tensor, "*batch 3"]) -> BodyParams:
        """The same body at another place."""
        return replace(self, transl=transl)
