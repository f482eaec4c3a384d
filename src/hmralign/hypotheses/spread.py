"""How much the hypotheses of a group disagree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def joint_spread(joints: Float[Tensor, "*batch hyp joints 3"]) -> Float[Tensor, "*batch joints"]:
    """Root mean square distance (metres) of each joint from its mean over the group, pelvis-relative.

    Zero for a group of one: a single hypothesis knows no doubt.
    """
    relative = joints - joints[..., :1, :]  # (*B, N, J, 3)
    return (relative - relative.mean(-3, keepdim=True)).square().sum(-1).mean(-2).sqrt()


def surface_spread(
    joints: Float[Tensor, "hyp joints 3"], vertices: Float[Tensor, "hyp vert 3"]
) -> Float[Tensor, " vert"]:
    """The same at each vertex (metres), relative to the pelvis, which is the first of the joints."""
    return joint_spread(torch.cat([joints[:, :1], vertices], dim=1))[1:]
