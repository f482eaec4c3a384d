"""Surface keypoints for a body that comes without them, after those of the free body.

No annotation says where a detector's shoulder or ear lies on another mesh. Each keypoint is therefore fixed to one
joint, the nearest on the free body at rest (the shoulder keypoint to the shoulder, nose and ears to the head), and
keeps its offset from it, scaled by the length of that joint's own bone. Which joints carry it when the body moves, and
in which shares, stays as it is. No other joint has a say in where it lies: the pelvis and the spine of two skeletons
are not the same points of a body.

This is a stand-in. It has not been measured on a licensed body; the face, whose features vary more than bones, is its
least certain part.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.inverse_kinematics import BONE_CHILD
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS


def transfer_keypoints(
    source: BodyModel, J_template: Float[Tensor, "29 3"], J_shapedirs: Float[Tensor, "29 3 betas"]
) -> tuple[Float[Tensor, "27 24 4"], Float[Tensor, "27 24 4 betas"]]:
    """Moments of the keypoints on a body with these rest joints, and their shape directions (`BodyModel`).

    With the rest joint `J` of the anchor and `s` the growth of its bone, `m' - w J' = s (m - w J)` for every share `w`.
    """
    assert source.keypoint_moments is not None
    moments = source.keypoint_moments.to(J_template)
    points = moments[..., :3].sum(1)
    own_joints = source.J_template.to(J_template)
    anchor = torch.cdist(points, own_joints[1:NUM_JOINTS]).argmin(1) + 1  # the pelvis has no bone of its own
    child = torch.tensor(BONE_CHILD)[anchor - 1]

    bone, bone_dirs = J_template[child] - J_template[anchor], J_shapedirs[child] - J_shapedirs[anchor]
    length = bone.norm(dim=-1)
    source_length = (own_joints[child] - own_joints[anchor]).norm(dim=-1)
    growth = length / source_length
    growth_dirs = ((bone / length[:, None])[..., None] * bone_dirs).sum(-2) / source_length[:, None]

    share = moments[..., 3:]
    offset = moments[..., :3] - share * own_joints[anchor][:, None]
    placed = share * J_template[anchor][:, None] + growth[:, None, None] * offset
    dirs = share[..., None] * J_shapedirs[anchor][:, None] + growth_dirs[:, None, None] * offset[..., None]
    return torch.cat([placed, share], dim=-1), torch.cat([dirs, torch.zeros_like(dirs[..., :1, :])], dim=-2)
