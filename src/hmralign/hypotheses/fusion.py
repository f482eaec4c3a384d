"""One answer from a group."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import mean_rotmat


def fuse_rotations(
    rotmats: Float[Tensor, "*batch hyp 24 3 3"], weights: Float[Tensor, "*batch hyp"] | None = None
) -> Float[Tensor, "*batch 24 3 3"]:
    """Mean of parent-relative rotations on the rotation manifold, joint by joint (chordal), optionally weighted."""
    spread_weights = None if weights is None else weights[..., None, :].expand(*weights.shape[:-1], 24, -1)
    return mean_rotmat(rotmats.transpose(-4, -3), spread_weights)
