"""The diffused sample: 28 joint positions and 23 twists in one standardised vector of 130 numbers.

    x = ((p_1 - p_0, ..., p_28 - p_0), (cos, sin)_1..23), each coordinate minus its mean, over its standard deviation

Source: ScoreHypo (Xu et al. 2024) diffuses the same 29 joints and 23 twists, but pixels for the first two coordinates
of a joint; here joints are metric and pelvis-relative in the person frame, which needs no depth to undo. The body is
recovered by analytic inverse kinematics, so bone lengths always come from the shape.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.inverse_kinematics import joints_twists_to_pose
from hmralign.body.skeleton import MIRROR_JOINTS, NUM_ALL_JOINTS, NUM_JOINTS, NUM_TWISTS

POSE_DIM = (NUM_ALL_JOINTS - 1) * 3 + NUM_TWISTS * 2


def pack(
    joints: Float[Tensor, "*batch 29 3"], twist_cos_sin: Float[Tensor, "*batch 23 2"]
) -> Float[Tensor, "*batch 130"]:
    """Raw vector of joints (any place, person frame, metres) and twists."""
    relative = joints[..., 1:, :] - joints[..., :1, :]  # (*B, 28, 3)
    return torch.cat([relative.flatten(-2), twist_cos_sin.flatten(-2)], dim=-1)


def unpack(
    vector: Float[Tensor, "*batch 130"],
) -> tuple[Float[Tensor, "*batch 29 3"], Float[Tensor, "*batch 23 2"]]:
    """Joints with the pelvis at the origin, and twists (not normalised)."""
    split = (NUM_ALL_JOINTS - 1) * 3
    joints = vector[..., :split].unflatten(-1, (NUM_ALL_JOINTS - 1, 3))  # (*B, 28, 3)
    joints = torch.cat([torch.zeros_like(joints[..., :1, :]), joints], dim=-2)  # (*B, 29, 3)
    return joints, vector[..., split:].unflatten(-1, (NUM_TWISTS, 2))


def mirror(vector: Float[Tensor, "*batch 130"]) -> Float[Tensor, "*batch 130"]:
    """The vector of the person mirrored in x: sides swapped, x and the twists' sines negated."""
    joints, twist = unpack(vector)
    joints = joints[..., list(MIRROR_JOINTS), :] * torch.tensor([-1.0, 1.0, 1.0], device=vector.device)
    swap = [j - 1 for j in MIRROR_JOINTS[1:NUM_JOINTS]]
    twist = twist[..., swap, :] * torch.tensor([1.0, -1.0], device=vector.device)
    return pack(joints, twist)


class PoseCodec(nn.Module):
    """Standardises pose vectors and turns them into rotations. Statistics are fitted once and saved as buffers.

    The statistics are made symmetric, so that mirroring commutes with standardising.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(POSE_DIM))
        self.register_buffer("std", torch.ones(POSE_DIM))

    def fit(self, vectors: Float[Tensor, "n 130"]) -> None:
        """Measure mean and spread on raw vectors and their mirror images; spreads are at least 0.05."""
        both = torch.cat([vectors, mirror(vectors)])
        self.mean.copy_(both.mean(0))
        self.std.copy_(both.std(0).clamp(min=0.05))

    def encode(self, vectors: Float[Tensor, "*batch 130"]) -> Float[Tensor, "*batch 130"]:
        """Raw to standardised."""
        return (vectors - self.mean) / self.std

    def decode(self, x: Float[Tensor, "*batch 130"]) -> Float[Tensor, "*batch 130"]:
        """Standardised to raw."""
        return x * self.std + self.mean

    def mirror(self, x: Float[Tensor, "*batch 130"]) -> Float[Tensor, "*batch 130"]:
        """Mirror a standardised vector. For pure noise this is a relabelling that keeps its distribution."""
        return self.encode(mirror(self.decode(x)))

    def to_rotmats(
        self, x: Float[Tensor, "*batch 130"], rest_joints: Float[Tensor, "*batch 29 3"]
    ) -> Float[Tensor, "*batch 24 3 3"]:
        """Parent-relative rotations (root first, in the person frame) of a standardised vector."""
        joints, twist = unpack(self.decode(x))
        return joints_twists_to_pose(joints, twist, rest_joints)
