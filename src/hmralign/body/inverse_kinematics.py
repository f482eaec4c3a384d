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


_LEVELS = tuple(joints for joints, _ in joint_levels(PARENTS))
"""Non-root joints by depth, so that one level is one batched operation."""


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
    local: list[Tensor] = [root] * NUM_JOINTS
    world: list[Tensor] = [root] * NUM_JOINTS
    for level in _LEVELS:
        index = torch.tensor(level)
        bone = bones[..., index - 1, :]
        child = torch.tensor([BONE_CHILD[j - 1] for j in level])
        parent_world = torch.stack([world[PARENTS[j]] for j in level], dim=-3)
        direction = (parent_world.mT @ (joints[..., child, :] - joints[..., index, :])[..., None])[..., 0]
        rotmat = swing_between(bone, unit_or(direction, bone)) @ twist_about(bone, twist_cos_sin[..., index - 1, :])
        for slot, joint in enumerate(level):
            local[joint] = rotmat[..., slot, :, :]
            world[joint] = parent_world[..., slot, :, :] @ rotmat[..., slot, :, :]
    return torch.stack(local, dim=-3)


assert len(BONE_CHILD) == NUM_TWISTS
