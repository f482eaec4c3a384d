"""Whether left and right bones are equally long."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_ALL_JOINTS, PARENTS

_SIDED = tuple(j for j in range(1, NUM_ALL_JOINTS) if MIRROR_JOINTS[j] > j)
"""The left joint of each pair; a joint stands for the bone from its parent."""


def bone_asymmetry(joints: Float[Tensor, "*batch 29 3"]) -> Float[Tensor, "*batch"]:
    """Mean over the pairs of bones of |log(left / right)|; any unit and frame, bones shorter than 1e-6 count as that.

    0.1 means a tenth longer on one side, on average. Bodies of a parametric model are symmetric in every pose, so this
    says something only of joints that were predicted as points.
    """
    length = (joints[..., 1:, :] - joints[..., list(PARENTS[1:]), :]).norm(dim=-1).clamp(min=1e-6)
    left, right = ([index - 1 for index in side] for side in (_SIDED, [MIRROR_JOINTS[j] for j in _SIDED]))
    return (length[..., left] / length[..., right]).log().abs().mean(-1)
