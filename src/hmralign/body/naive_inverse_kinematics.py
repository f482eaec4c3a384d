"""HybrIK's naive inverse kinematics: what published HypoNet weights were evaluated with.

Source: Li et al. 2021 (HybrIK), its naive solution, with the small constants of the public evaluation of ScoreHypo.
It differs from `inverse_kinematics` in three things:

| | here | `inverse_kinematics` |
| --- | --- | --- |
| pelvis | rest spine onto the spine, then about it by the middle of the hips | least squares on three children |
| small numbers | 1e-8 added to every length that is divided by | lengths below a limit have no direction |
| a bone turned by exactly 180 degrees | is not turned at all | turns about a fixed perpendicular |

The middle of the hips lies almost on the line of the spine, so the pelvis is ill-conditioned: on the free body, where
it is 1 cm off that line, 10 mm of noise on each joint turn the pelvis by 55 degrees in the mean, with least squares by
6. Nothing but directions is read from the joints, yet the constants matter: with joints in metres instead of twice
their millimetres elements of rotations move by up to 0.01 there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.inverse_kinematics import BONE_CHILD
from hmralign.body.lbs import joint_levels
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from hmralign.geometry.swing_twist import skew

PUBLIC_SCALE = 2000.0
"""From metres to the unit in which the public evaluation hands joints over: twice their millimetres."""

_SMALL = 1e-8
_SPINE = JOINT_NAMES.index("spine1")
_HIPS = [JOINT_NAMES.index("left_hip"), JOINT_NAMES.index("right_hip")]


def naive_joints_twists_to_pose(
    joints: Float[Tensor, "*batch 29 3"],
    twist_cos_sin: Float[Tensor, "*batch 23 2"],
    rest_joints: Float[Tensor, "*batch 29 3"],
    *,
    scale: float = PUBLIC_SCALE,
) -> Float[Tensor, "*batch 24 3 3"]:
    """Parent-relative rotations whose bones point along the given joints with the given twists, metres.

    `scale` multiplies `joints` before anything is divided. Twists need not be of unit length.
    """
    joints, rest_joints = joints * scale, rest_joints.expand_as(joints)
    twist = twist_cos_sin / (twist_cos_sin.norm(dim=-1, keepdim=True) + _SMALL)
    root = _pelvis(joints - joints[..., :1, :], rest_joints - rest_joints[..., :1, :])
    local: list[Tensor] = [root] * NUM_JOINTS
    world: list[Tensor] = [root] * NUM_JOINTS
    for level, _ in joint_levels(PARENTS):
        index, child = list(level), [BONE_CHILD[joint - 1] for joint in level]
        above = torch.stack([world[PARENTS[joint]] for joint in level], dim=-3)
        bone = rest_joints[..., child, :] - rest_joints[..., index, :]
        target = (above.mT @ (joints[..., child, :] - joints[..., index, :])[..., None])[..., 0]
        cos, sin = twist[..., [joint - 1 for joint in level], :].unbind(-1)
        rotmat = _turn_onto(bone, target) @ _turn(bone / _length(bone), cos, sin)
        for slot, joint in enumerate(level):
            local[joint] = rotmat[..., slot, :, :]
            world[joint] = above[..., slot, :, :] @ rotmat[..., slot, :, :]
    return torch.stack(local, dim=-3)


def _pelvis(joints: Float[Tensor, "*batch 29 3"], rest: Float[Tensor, "*batch 29 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rest spine onto the spine, then about the spine so that the middles of the hips lie on the same side."""
    spine, rest_spine = joints[..., _SPINE, :], rest[..., _SPINE, :]
    upright = _turn_onto(rest_spine, spine)
    axis = spine / _length(spine)
    turned = (upright @ rest[..., _HIPS, :].mean(-2)[..., None])[..., 0]
    return _turn_onto(_across(turned, axis), _across(joints[..., _HIPS, :].mean(-2), axis)) @ upright


def _across(vector: Float[Tensor, "*batch 3"], axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """The part of a vector that is perpendicular to a unit axis."""
    return vector - (vector * axis).sum(-1, keepdim=True) * axis


def _turn_onto(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Shortest turn of one direction onto another, of any lengths; none where they are exactly opposite."""
    cross = torch.linalg.cross(a, b)
    across = cross.norm(dim=-1)
    lengths = a.norm(dim=-1) * b.norm(dim=-1) + _SMALL
    return _turn(cross / (across[..., None] + _SMALL), (a * b).sum(-1) / lengths, across / lengths)


def _turn(
    axis: Float[Tensor, "*batch 3"], cos: Float[Tensor, "*batch"], sin: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula."""
    cross = skew(axis)
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + sin[..., None, None] * cross + (1 - cos)[..., None, None] * cross @ cross


def _length(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
    return vector.norm(dim=-1, keepdim=True) + _SMALL
