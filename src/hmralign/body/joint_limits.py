"""Anatomical ranges of motion of the 23 joints of an SMPL-shaped body, and how far a pose leaves them.

A parent-relative rotation is split into a twist about the limb and a swing (`geometry.swing_twist`); three angles are
judged, about the x, y and z axes of the T-pose: the twist on the limb's own axis, the two components of the swing's
rotation vector on the others. In a T-pose facing +z: flexing a knee is +x, lifting a thigh forward -x, leaning forward
+x, lowering the left arm -z, bringing it forward -y, flexing the left elbow -y. The right side mirrors y and z.

Ranges are passive ranges of healthy adults as given in textbooks of joint-motion measurement, rounded outwards:
neighbouring joints share a motion in SMPL-shaped bodies (three spine joints, neck and head, collar and shoulder, elbow
and wrist), in proportions that differ between data sets. They reject the impossible, not the unusual.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.geometry.swing_twist import decompose


class JointLimit(NamedTuple):
    """Degrees, (lowest, highest) about each axis, for the left side or the middle; `limb` is the twist axis."""

    limb: str
    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]


LIMITS: dict[str, JointLimit] = {
    # Flexion 125 and extension 30 with pelvis tilt; axial rotation 45 each way; abduction (+z) 45, more when flexed.
    "hip": JointLimit("y", (-135, 30), (-45, 50), (-35, 70)),
    # Flexion 150 passively; a few degrees of hyperextension; axial rotation 30 when bent; hardly any side bending.
    "knee": JointLimit("y", (-8, 155), (-35, 35), (-20, 20)),
    # Plantar flexion 50 (+x), dorsiflexion 30 with the knee bent (-x, plus the definition of the zero pose).
    "ankle": JointLimit("y", (-40, 55), (-40, 40), (-30, 30)),
    # Toes: extension 60 (-x), flexion 45.
    "foot": JointLimit("y", (-65, 50), (-12, 12), (-12, 12)),
    # Trunk as a whole: flexion 100, extension 40, side bending 40, rotation 45, in three joints with room to trade.
    "spine1": JointLimit("y", (-30, 50), (-30, 30), (-30, 30)),
    "spine2": JointLimit("y", (-30, 45), (-30, 30), (-30, 30)),
    "spine3": JointLimit("y", (-30, 40), (-35, 35), (-30, 30)),
    # Cervical spine as a whole: flexion 60, extension 75, side bending 45, rotation 80, in two joints.
    "neck": JointLimit("y", (-45, 50), (-50, 50), (-40, 40)),
    "head": JointLimit("y", (-50, 60), (-60, 60), (-40, 40)),
    # Clavicle: elevation 40 (+z), depression 15, protraction 30 (-y), retraction 25, some roll.
    "collar": JointLimit("x", (-30, 30), (-35, 30), (-20, 40)),
    # Shoulder with the blade: down to the side and slightly across (-z), up to the vertical (+z), horizontally across
    # the chest (-y) 135, behind (+y) 50; rotation about the upper arm 90 each way, more when the arm is across.
    "shoulder": JointLimit("x", (-110, 95), (-135, 55), (-105, 105)),
    # Flexion 150 (-y), hyperextension 8; forearm rotation 90 each way; z takes up a tilted flexion axis.
    "elbow": JointLimit("x", (-90, 90), (-155, 8), (-45, 70)),
    # Flexion 85 (-z: palm down in the T-pose), extension 75, deviation 35 each way; forearm rotation also lands here.
    "wrist": JointLimit("x", (-95, 95), (-50, 50), (-85, 75)),
    # Fingers as one: flexion 100 (-z), extension 40.
    "hand": JointLimit("x", (-25, 25), (-25, 25), (-105, 45)),
}
"""Keyed by the joint's name without its side."""


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # what is cached must serve autograd too
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Limb axes (23, 3) as unit vectors, lowest and highest angles (23, 3) in radians, right sides mirrored."""
    axes, low, high = torch.zeros(NUM_JOINTS - 1, 3), torch.zeros(NUM_JOINTS - 1, 3), torch.zeros(NUM_JOINTS - 1, 3)
    for row, name in enumerate(JOINT_NAMES[1:NUM_JOINTS]):
        side, _, joint = name.rpartition("_")
        limit = LIMITS[joint]
        axes[row, "xyz".index(limit.limb)] = 1.0
        for axis, (lowest, highest) in enumerate((limit.x, limit.y, limit.z)):
            if side == "right" and axis > 0:
                lowest, highest = -highest, -lowest
            low[row, axis], high[row, axis] = lowest, highest
    return axes, low.deg2rad(), high.deg2rad()


def joint_angles(body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch 23 3"]:
    """The three judged angles of each joint, radians in [-pi, pi], about the x, y and z axes of the T-pose."""
    axes = _tables()[0].to(body_pose)
    swing, cos_sin = decompose(body_pose, axes.expand(body_pose.shape[:-1]))
    twist = torch.atan2(cos_sin[..., 1], cos_sin[..., 0])
    return torch.where(axes > 0, twist[..., None], rotmat_to_rotvec(swing))


def limit_violation(body_pose: Float[Tensor, "*batch 23 3 3"]) -> Float[Tensor, "*batch 23"]:
    """How far each joint is beyond its range, radians; 0 inside. Excesses about several axes add as a norm."""
    _, low, high = (t.to(body_pose) for t in _tables())
    angles = joint_angles(body_pose)
    excess = (low - angles).clamp(min=0) + (angles - high).clamp(min=0)
    return torch.linalg.vector_norm(excess, dim=-1)
