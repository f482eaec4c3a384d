"""Linear blend skinning of an SMPL-shaped body as stateless functions (Loper et al. 2015, eqs. 2-10).

    name in code            symbol in the paper
    rest_joints             J(beta)
    global_rotmats, joints  rotation and translation of G_k(theta, J)
    vertices                M(beta, theta)

Every function takes any leading batch axes; shapes and poses broadcast over them, so one body in many poses costs its
rest geometry once. The body turns about its pelvis, which stays where the rest pose has it until `transl` is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.structures import BodyParams, InputError

_BODIES_AT_ONCE = 64
"""More than twice as many bodies are skinned in parts of that many: what is blended for them all is too large for the
memory that a process uses again, and new pages at every call cost more than the arithmetic."""


@lru_cache(maxsize=8)
def joint_levels(parents: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Rotating joints by depth: (joints, slot of each one's parent in the level before), without the root."""
    depth = [0]
    for joint in range(1, NUM_JOINTS):
        depth.append(depth[parents[joint]] + 1)
    by_depth = [[j for j in range(NUM_JOINTS) if depth[j] == d] for d in range(max(depth) + 1)]
    return tuple((tuple(level), tuple(above.index(parents[j]) for j in level)) for above, level in pairwise(by_depth))


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is cached must serve autograd too
def _ancestry(parents: tuple[int, ...]) -> Tensor:
    """Row j marks the joints on the way from the root's children to j: summing their bones gives its position."""
    matrix = torch.zeros(len(parents), len(parents), dtype=torch.float64)
    for joint in range(1, len(parents)):
        matrix[joint] = matrix[parents[joint]]
        matrix[joint, joint] = 1.0
    return matrix


def _shaped(model: BodyModel, betas: Tensor, pick: Tensor | slice) -> Tensor:
    """Rest vertices as (*batch, 3, vert): with the vertices last, every product below runs along memory."""
    return model.v_template[pick].mT + _along_vertices(betas, model.shapedirs[pick])


def _along_vertices(coefficients: Tensor, dirs: Tensor) -> Tensor:
    """(*batch, features) times (vert, 3, features) as (*batch, 3, vert)."""
    return (coefficients @ dirs.permute(2, 1, 0).flatten(1)).unflatten(-1, (3, -1))


def rest_joints(model: BodyModel, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch 29 3"]:
    """Rest positions of the 29 joints for each shape, metres."""
    return model.J_template + (betas @ model.J_shapedirs.flatten(0, 1).mT).unflatten(-1, (-1, 3))


def forward_kinematics(
    rest_joints: Float[Tensor, "*#batch 29 3"], rotmats: Float[Tensor, "*#batch 24 3 3"], parents: tuple[int, ...]
) -> tuple[Float[Tensor, "*#batch 24 3 3"], Float[Tensor, "*#batch 29 3"]]:
    """Global rotations of the 24 joints and positions of all 29, before `transl`.

    `rotmats` are parent-relative, the root first. Batch axes broadcast; the rotations keep theirs.
    """
    world = [rotmats[..., :1, :, :]]
    order = [0]
    for joints_here, parent_slot in joint_levels(parents):
        above = world[-1] if len(parent_slot) == 1 else world[-1][..., list(parent_slot), :, :]
        world.append(above @ rotmats[..., list(joints_here), :, :])
        order += joints_here
    inverse = sorted(range(NUM_JOINTS), key=order.__getitem__)
    global_rotmats = torch.cat(world, dim=-3)[..., inverse, :, :]

    above = list(parents[1:])
    bones = rest_joints[..., 1:, :] - rest_joints[..., above, :]
    turned = (global_rotmats[..., above, :, :] @ bones[..., None])[..., 0]
    sums = _ancestry(parents)[:, 1:].to(turned)
    return global_rotmats, rest_joints[..., :1, :] + sums @ turned


def posed_joints(model: BodyModel, body: BodyParams) -> Float[Tensor, "*batch 29 3"]:
    """Positions of the 29 joints, metres, in the frame of `body`."""
    _, joints = forward_kinematics(rest_joints(model, body.betas), body.rotmats, model.parents)
    return joints + body.transl[..., None, :]


@dataclass(frozen=True)
class _KeypointPairs:
    """The P pairs of a keypoint and a joint that carries part of it; offsets are from the joint, times the share."""

    joint: Tensor  # (P,)
    template: Tensor  # (P, 3)
    dirs: Tensor  # (betas, P * 3)
    to_keypoint: Tensor  # (K, P): sums the pairs of each keypoint
    share: Tensor  # (K, J)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _keypoint_pairs(model: BodyModel) -> _KeypointPairs:
    """A posed keypoint is sum_j G_j m_j + w_j (p_j - G_j J_j) = sum_j G_j (m_j - w_j J_j) + w_j p_j."""
    if model.keypoint_moments is None or model.keypoint_moment_dirs is None:
        raise InputError(f"Body {model.name!r} has no surface keypoints; load it with a keypoint regressor.")
    share = model.keypoint_moments[..., 3]  # (K, J)
    offsets = model.keypoint_moments[..., :3] - share[..., None] * model.J_template[:NUM_JOINTS]
    dirs = model.keypoint_moment_dirs[..., :3, :] - share[..., None, None] * model.J_shapedirs[:NUM_JOINTS]
    keypoint, joint = share.nonzero(as_tuple=True)
    return _KeypointPairs(
        joint=joint,
        template=offsets[keypoint, joint],
        dirs=dirs[keypoint, joint].flatten(0, 1).mT.contiguous(),
        to_keypoint=torch.nn.functional.one_hot(keypoint, len(share)).mT.to(share),
        share=share,
    )


def keypoints_from_fk(
    model: BodyModel,
    betas: Float[Tensor, "*#batch betas"],
    global_rotmats: Float[Tensor, "*#batch 24 3 3"],
    joints: Float[Tensor, "*#batch 29 3"],
) -> Float[Tensor, "*#batch 27 3"]:
    """The 27 surface keypoints from forward kinematics already done; they are where `joints` are (transl or not).

    Raises:
        InputError: the body has no keypoint moments.
    """
    pairs = _keypoint_pairs(model)
    local = pairs.template + (betas @ pairs.dirs).unflatten(-1, (-1, 3))
    turned = (global_rotmats[..., pairs.joint, :, :] @ local[..., None])[..., 0]
    return pairs.to_keypoint @ turned + pairs.share @ joints[..., :NUM_JOINTS, :]


def posed_keypoints(model: BodyModel, body: BodyParams) -> Float[Tensor, "*batch 27 3"]:
    """The 27 surface keypoints (`skeleton.KEYPOINT_NAMES`), metres, in the frame of `body`."""
    global_rotmats, joints = forward_kinematics(rest_joints(model, body.betas), body.rotmats, model.parents)
    return keypoints_from_fk(model, body.betas, global_rotmats, joints + body.transl[..., None, :])


def vertices_from_fk(
    model: BodyModel,
    betas: Float[Tensor, "*#batch betas"],
    body_pose: Float[Tensor, "*#batch 23 3 3"],
    global_rotmats: Float[Tensor, "*#batch 24 3 3"],
    joints: Float[Tensor, "*#batch 29 3"],
    vertex_ids: Int[Tensor, " vert"] | None = None,
) -> Float[Tensor, "*#batch vert 3"]:
    """Skinned vertices from forward kinematics already done; only those of `vertex_ids` are computed.

    `body_pose` matters only for a body with pose correctives.
    """
    pick = slice(None) if vertex_ids is None else vertex_ids
    shaped = _shaped(model, betas, pick)
    if model.posedirs is not None:
        feature = (body_pose - torch.eye(3, dtype=body_pose.dtype, device=body_pose.device)).flatten(-3)
        shaped = shaped + _along_vertices(feature, model.posedirs[pick])
    rest = rest_joints(model, betas)[..., :NUM_JOINTS, :]
    shift = joints[..., :NUM_JOINTS, :] - (global_rotmats @ rest[..., None])[..., 0]
    transforms = torch.cat([global_rotmats, shift[..., None]], dim=-1).movedim(-3, -1)  # (B, 3, 4, J)
    blended = transforms @ model.weights[pick].mT  # (B, 3, 4, V)
    skinned = blended[..., 3, :]
    for axis in range(3):
        skinned = torch.addcmul(skinned, blended[..., axis, :], shaped[..., axis, None, :])
    return skinned.mT.contiguous()


def vertices(
    model: BodyModel, body: BodyParams, vertex_ids: Int[Tensor, " vert"] | None = None
) -> Float[Tensor, "*batch vert 3"]:
    """Skinned vertices, metres, in the frame of `body`; only those of `vertex_ids` are computed."""
    axes = len(body.batch_shape)
    if math.prod(body.batch_shape) <= 2 * _BODIES_AT_ONCE:
        return _vertices(model, body, vertex_ids)
    bodies = body.map(lambda part: part.flatten(0, axes - 1))
    starts = range(0, len(bodies.transl), _BODIES_AT_ONCE)
    parts = [_vertices(model, bodies[start : start + _BODIES_AT_ONCE], vertex_ids) for start in starts]
    return torch.cat(parts).unflatten(0, body.batch_shape)


def _vertices(model: BodyModel, body: BodyParams, vertex_ids: Tensor | None) -> Float[Tensor, "*batch vert 3"]:
    global_rotmats, joints = forward_kinematics(rest_joints(model, body.betas), body.rotmats, model.parents)
    joints = joints + body.transl[..., None, :]
    return vertices_from_fk(model, body.betas, body.body_pose, global_rotmats, joints, vertex_ids)
