"""Swing-twist annotations of poses: 29 joints and 23 twists, from which the pose comes back.

Source: Li et al. 2021 (HybrIK), sec. 3.2; ScoreHypo (Xu et al. 2024) trains on such annotations. Twist k belongs to
joint k + 1 of `JOINT_NAMES`, and turns about its bone at rest, which leads to `BONE_CHILD[k]`.

Written (npz, no pickles), N frames:

    array                      shape           meaning
    twist_cos_sin              (N, 23, 2)      cosine and sine of each twist
    twist_angle                (N, 23)         the same as an angle, radians, -pi to pi
    valid                      (23,)           false for the hands of files that have none
    twist_joint, bone_child    (23,) texts     whose rotation is split, and where its bone leads
    joints                     (N, 29, 3)      metres, pelvis at the origin, in the frame of the poses
    rest_joints                (1 or N, 29, 3) the shaped body at rest, pelvis at the origin
    trans                      (N, 3)          as it was in the file, where it was
    joint_names                (29,) texts     order of the joints
    body_name, skeleton_hash   texts           the body whose rest joints these are
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import BONE_CHILD, joints_twists_to_pose, twists
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, NUM_BETAS, NUM_JOINTS, NUM_TWISTS, PARENTS
from hmralign.data.pose_parameters import NUM_BODY_JOINTS, PoseParameters
from hmralign.geometry.rotations import rotmat_angle

FORMAT_VERSION = 1
_FRAMES_AT_ONCE = 20_000


@dataclass(frozen=True)
class TwistAnnotation:
    """Joints (metres, pelvis at the origin) and twists of poses, double precision."""

    twist_cos_sin: Float[Tensor, "frame 23 2"]
    joints: Float[Tensor, "frame 29 3"]
    rest_joints: Float[Tensor, "shape 29 3"]
    shaped: bool
    """Whether the file's betas were used; else the body has its mean shape."""
    largest_error: float
    """Radians between a rotation and what comes back of it, at most."""

    def __len__(self) -> int:
        return len(self.joints)


def annotate_twists(parameters: PoseParameters, body: BodyModel) -> TwistAnnotation:
    """Split each rotation at the bones of a body. Betas are used where they are the body's.

    They are the body's own where the file says its skeleton, and where it says none and the body is not the free one,
    whose shapes no other program knows.
    """
    shaped = parameters.betas is not None and _own_betas(parameters, body)
    betas = parameters.betas if shaped and parameters.betas is not None else torch.zeros(1, NUM_BETAS).double()
    rest = _rest_joints(body, betas)
    parts, largest = [], 0.0
    for first in range(0, len(parameters), _FRAMES_AT_ONCE):
        some = slice(first, first + _FRAMES_AT_ONCE)
        rotmats = parameters.rotmats[some]
        bones = rest.expand(len(parameters), -1, -1)[some]  # (F, 29, 3)
        cos_sin = twists(rotmats[:, 1:], bones)
        _, joints = forward_kinematics(bones, rotmats, PARENTS)
        again = joints_twists_to_pose(joints, cos_sin, bones)
        largest = max(largest, float(rotmat_angle(again, rotmats).max()))
        parts.append((cos_sin, joints))
    cos_sin, joints = (torch.cat(column) for column in zip(*parts, strict=True))
    return TwistAnnotation(cos_sin, joints, rest, shaped, largest)


def write_twists(path: Path, annotation: TwistAnnotation, parameters: PoseParameters, body: BodyModel) -> Path:
    """Write the archive of an annotation, single precision, whole or not at all."""
    cos_sin = annotation.twist_cos_sin
    valid = np.ones(NUM_TWISTS, bool)
    valid[NUM_BODY_JOINTS - 1 :] = parameters.has_hands
    arrays = {
        "format_version": np.array(FORMAT_VERSION),
        "twist_cos_sin": cos_sin.float().numpy(),
        "twist_angle": torch.atan2(cos_sin[..., 1], cos_sin[..., 0]).float().numpy(),
        "valid": valid,
        "twist_joint": np.array(JOINT_NAMES[1:NUM_JOINTS]),
        "bone_child": np.array([JOINT_NAMES[child] for child in BONE_CHILD]),
        "joints": annotation.joints.float().numpy(),
        "rest_joints": annotation.rest_joints.float().numpy(),
        "joint_names": np.array(JOINT_NAMES),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
    }
    if parameters.trans is not None:
        arrays["trans"] = parameters.trans.float().numpy()
    return write_npz(path, arrays)


def largest_degrees(annotation: TwistAnnotation) -> float:
    """How far a rotation is from what comes back of it, at most, in degrees."""
    return math.degrees(annotation.largest_error)


def _own_betas(parameters: PoseParameters, body: BodyModel) -> bool:
    if parameters.skeleton_hash:
        return parameters.skeleton_hash == body.skeleton_hash
    return body.skeleton_hash != load_free_body("3k5").skeleton_hash


def _rest_joints(body: BodyModel, betas: Float[Tensor, "shape 10"]) -> Float[Tensor, "shape 29 3"]:
    """Rest joints of shapes about the pelvis, double precision."""
    joints = rest_joints(body.to(torch.float64), betas)
    return joints - joints[:, :1]
