"""Postures that walking-and-sports motion capture lacks: standing still, seated, kneeling, crouched, lying.

Each posture is a box of joint angles (degrees, uniform inside) for pelvis tilt, hips, knees, ankles and spine; the
upper body comes from elsewhere. Ranges are typed from anatomy and everyday positions, not fitted.

Three sets: those of training, and others that a benchmark validates and tests with. Nobody of one set is in a posture
of another one: a hip, the spine or the pelvis is turned otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES
from hmralign.geometry.rotations import axis_rotmat, random_rotmat

Range = tuple[int | float, int | float]

PostureSet = Literal["training", "validation", "test"]
"""Which postures are drawn."""


@dataclass(frozen=True)
class Posture:
    """Ranges in degrees. Flexion is positive: hips forward, knees and ankles (toes up) bent, spine forward.

    `pitch` tilts the pelvis: 0 upright, +90 face down, -90 face up; `side` rolls it to a side on top of that.
    `one_sided` draws left and right legs independently; otherwise they share most of the draw.
    """

    name: str
    weight: float
    pitch: Range
    hip_flexion: Range
    knee_flexion: Range
    hip_abduction: Range = (-5.0, 25.0)
    hip_rotation: Range = (-20.0, 35.0)
    ankle: Range = (-25.0, 20.0)
    spine: Range = (-5.0, 30.0)
    side: Range = (-8.0, 8.0)
    one_sided: bool = False


POSTURES = (
    Posture("stand", 0.24, (-6, 8), (-8, 10), (0, 8), (-3, 12), (-10, 25), (-8, 8), (-5, 12), side=(-4, 4)),
    Posture(
        "weight_on_one_leg", 0.10, (-6, 8), (-10, 30), (0, 40), (-5, 15), (-10, 30), (-15, 15), (-5, 12), one_sided=True
    ),
    Posture("chair", 0.18, (-25, 15), (60, 110), (55, 115)),
    Posture("legs_apart_seat", 0.06, (-25, 10), (70, 110), (50, 120), hip_abduction=(15, 45)),
    Posture("floor_seat", 0.06, (-40, 5), (60, 125), (0, 140), hip_abduction=(5, 45), hip_rotation=(0, 60)),
    Posture("crouch", 0.08, (0, 45), (85, 130), (90, 145), ankle=(5, 35)),
    Posture("half_squat", 0.06, (5, 55), (30, 95), (25, 100), ankle=(0, 30)),
    Posture("kneel", 0.05, (-10, 30), (-10, 90), (80, 145), ankle=(-50, 10), one_sided=True),
    Posture("lunge", 0.05, (-10, 30), (-25, 95), (5, 100), one_sided=True),
    Posture("all_fours", 0.04, (60, 105), (60, 110), (60, 110), ankle=(-50, 0)),
    Posture("lying", 0.08, (-110, -70), (-10, 70), (0, 90), side=(-100, 100), one_sided=True),
)

VALIDATION_POSTURES = (
    Posture("forward_fold", 0.35, (25, 60), (95, 125), (0, 20), spine=(35, 60)),
    Posture("wide_squat", 0.35, (0, 35), (35, 65), (50, 100), hip_abduction=(45, 65), hip_rotation=(20, 50)),
    Posture("curled_up", 0.30, (-110, -60), (95, 130), (110, 145), spine=(35, 60), side=(-100, 100)),
)

TEST_POSTURES = (
    Posture("bridge", 0.25, (-95, -60), (-25, 5), (55, 100), spine=(-60, -25)),
    Posture("wide_stance", 0.25, (-5, 30), (-10, 15), (0, 12), hip_abduction=(45, 70), hip_rotation=(0, 30)),
    Posture("handstand", 0.25, (150, 200), (-10, 35), (0, 30), ankle=(-45, 0)),
    Posture("prone_arch", 0.25, (75, 105), (-25, 0), (0, 30), ankle=(-50, -10), spine=(-50, -20)),
)

POSTURE_SETS: Mapping[PostureSet, tuple[Posture, ...]] = {
    "training": POSTURES, "validation": VALIDATION_POSTURES, "test": TEST_POSTURES,
}  # fmt: skip


def _uniform(n: int, bounds: Range, generator: torch.Generator) -> Float[Tensor, " n"]:
    return math.radians(bounds[0]) + math.radians(bounds[1] - bounds[0]) * torch.rand(n, generator=generator)


def _two_sides(n: int, bounds: Range, one_sided: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    left, right, shared = (_uniform(n, bounds, generator) for _ in range(3))
    mix = 0.0 if one_sided else 0.75
    return mix * shared + (1 - mix) * left, mix * shared + (1 - mix) * right


def apply_posture(
    posture: Posture, body_pose: Float[Tensor, "n 23 3 3"], generator: torch.Generator
) -> tuple[Float[Tensor, "n 23 3 3"], Float[Tensor, "n 3"]]:
    """Put a posture on upper bodies taken from `body_pose`; returns poses and the up direction in the pelvis frame.

    Conventions of the zero pose: hips flex about -x, knees about +x, the spine bends forward about +x.
    """
    n = len(body_pose)
    out = body_pose.clone()
    hip = _two_sides(n, posture.hip_flexion, posture.one_sided, generator)
    knee = _two_sides(n, posture.knee_flexion, posture.one_sided, generator)
    abduct = _two_sides(n, posture.hip_abduction, posture.one_sided, generator)
    rotate = _two_sides(n, posture.hip_rotation, posture.one_sided, generator)
    ankle = _two_sides(n, posture.ankle, posture.one_sided, generator)
    for k, (side, sign) in enumerate((("left", 1.0), ("right", -1.0))):
        j = {name: JOINT_NAMES.index(f"{side}_{name}") - 1 for name in ("hip", "knee", "ankle", "foot")}
        out[:, j["hip"]] = (
            axis_rotmat("z", sign * abduct[k]) @ axis_rotmat("x", -hip[k]) @ axis_rotmat("y", sign * rotate[k])
        )
        out[:, j["knee"]] = axis_rotmat("x", knee[k])
        out[:, j["ankle"]] = axis_rotmat("x", -ankle[k])
        out[:, j["foot"]] = torch.eye(3)
    spine = _uniform(n, posture.spine, generator) / 3
    for name in ("spine1", "spine2", "spine3"):
        index = JOINT_NAMES.index(name) - 1
        out[:, index] = axis_rotmat("x", spine) @ out[:, index]
    pelvis = axis_rotmat("z", _uniform(n, posture.side, generator)) @ axis_rotmat(
        "x", _uniform(n, posture.pitch, generator)
    )
    return out, pelvis[:, 1, :]


def sample_postures(
    body_pose: Float[Tensor, "n 23 3 3"], generator: torch.Generator, among: PostureSet = "training"
) -> tuple[Float[Tensor, "n 23 3 3"], Float[Tensor, "n 3"]]:
    """Give every upper body a posture drawn by weight; one in four lying bodies is turned face down."""
    if len(body_pose) == 0:
        return body_pose, torch.zeros(0, 3)
    postures = POSTURE_SETS[among]
    weights = torch.tensor([p.weight for p in postures])
    choice = torch.multinomial(weights, len(body_pose), replacement=True, generator=generator)
    out, up = body_pose.clone(), torch.zeros(len(body_pose), 3)
    for k, posture in enumerate(postures):
        index = (choice == k).nonzero()[:, 0]
        if len(index):
            out[index], up[index] = apply_posture(posture, body_pose[index], generator)
            if posture.name == "lying":
                prone = index[torch.rand(len(index), generator=generator) < 0.25]
                up[prone] = up[prone] * torch.tensor([1.0, 1.0, -1.0])
    return out, up


def any_orientation(n: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Up directions uniform on the sphere: tumbling, diving, hanging."""
    return random_rotmat((n,), generator)[:, 1, :]
