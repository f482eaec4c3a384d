"""Pose <-> 29 joints + 23 twists (HybrIK's representation), analytically and without iteration.

    pose_to_joints_twists:  rotations -> joint positions and twist angles
    joints_twists_to_pose:  joint positions and twist angles -> rotations

The round trip is exact up to rounding, except within about 1e-3 rad of a bone that points exactly opposite to its
rest direction, where the shortest swing is not unique.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import joint_levels
from hmralign.body.skeleton import NUM_JOINTS, NUM_TWISTS, PARENTS
from hmralign.geometry.swing_twist import decompose, root_rotation, swing_between, twist_about, unit_or

BONE_CHILD = tuple(
    {9: 12}.get(joint, next(c for c in range(len(PARENTS)) if PARENTS[c] == joint)) for joint in range(1, NUM_JOINTS)
)
"""The child that gives each of the 23 non-root joints its bone: its only child; the neck for the upper spine."""

ROOT_CHILDREN = tuple(c for c in range(NUM_JOINTS) if PARENTS[c] == 0)


_LEVELS = joint_levels(PARENTS)
"""Non-root joints by depth, and where their parents are in the level above: one level is one batched operation."""

_BY_DEPTH = (0, *(joint for joints, _ in _LEVELS for joint in joints))
_PLACES = [_BY_DEPTH.index(joint) for joint in range(NUM_JOINTS)]
"""Where each joint is when all levels are put one after the other."""


def rest_bones(rest_joints: Float[Tensor, "*batch 29 3"]) -> Float[Tensor, "*batch 23 3"]:
    """Unit rest direction of each non-root joint's bone. A bone without length points along y."""
    offset = rest_joints[..., list(BONE_CHILD), :] - rest_joints[..., 1:NUM_JOINTS, :]
    up = torch.tensor([0.0, 1.0, 0.0], dtype=offset.dtype, device=offset.device)
    return unit_or(offset, up.expand_as(offset))


def twists(
    body_pose: Float[Tensor, "*batch 23 3 3"], rest_joints: Float[Tensor, "*batch 29 3"]
) -> Float[Tensor, "*batch 23 2"]:
    """Twist (cosine, sine) of each non-root rotation about its rest bone: the tool for SMPL parameters."""
    bones = rest_bones(rest_joints).expand(*body_pose.shape[:-2], 3)
    return decompose(body_pose, bones)[1]


def joints_twists_to_pose(
    joints: Float[Tensor, "*batch 29 3"],
    twist_cos_sin: Float[Tensor, "*batch 23 2"],
    rest_joints: Float[Tensor, "*batch 29 3"],
) -> Float[Tensor, "*batch 24 3 3"]:
    """Parent-relative rotations whose bones point along the given joints with the given twists.

    Only directions are read from `joints`: bone lengths are those of `rest_joints`. A bone of no length keeps its rest
    direction relative to its parent. Same axes for all inputs after broadcasting; any frame, metres.
    """
    rest_joints = rest_joints.expand_as(joints)
    bones = rest_bones(rest_joints)
    children = list(ROOT_CHILDREN)
    root = root_rotation(
        rest_joints[..., children, :] - rest_joints[..., :1, :], joints[..., children, :] - joints[..., :1, :]
    )
    twist = twist_about(bones, twist_cos_sin)  # (*B, 23, 3, 3): does not depend on the joints above
    own, world = [root[..., None, :, :]], [root[..., None, :, :]]
    for level, above in _LEVELS:
        here = [joint - 1 for joint in level]
        bone, child = bones[..., here, :], [BONE_CHILD[slot] for slot in here]
        parent_world = world[-1] if len(above) == 1 else world[-1][..., list(above), :, :]
        offset = joints[..., child, :] - joints[..., list(level), :]
        direction = (parent_world.mT @ offset[..., None])[..., 0]
        own.append(swing_between(bone, unit_or(direction, bone)) @ twist[..., here, :, :])
        world.append(parent_world @ own[-1])
    return torch.cat(own, dim=-3)[..., _PLACES, :, :]


assert len(BONE_CHILD) == NUM_TWISTS
