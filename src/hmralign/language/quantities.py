"""What statements measure: angles, distances, components along axes; differentiable functions of joints.

| kind | points | value |
| --- | --- | --- |
| `bend` | a, b, c | angle at b by which a-b-c departs from a straight line, radians |
| `distance` | a, b | metres |
| `beside` | a, b | metres, level with the ground |
| `along` | axis, a, b | component of b - a on the axis, metres |
| `toward` | axis, a, b | cosine of the angle between b - a and the axis |
| `axes` | axis, axis | cosine of the angle between two axes |
| `lift` | a | height above the lowest joint of the rest of the body, metres |
| `head` | turn, nod or tilt | angle of the head against the chest, radians; it needs rotations |

`left` and `right` are the person's own, so an axis may be the person's: `chest_left` leaves the chest through the left
shoulder. `up` is away from the ground, `camera` points from the body back to the camera, `chest_front` is where the
chest faces: a hand may be in front of the chest and yet behind it as the camera sees it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.structures import InputError

UP = (0.0, -1.0, 0.0)
"""Up in the frame `cam` (y points down) of a camera that is held level."""

_TINY = 1e-6
_HEAD_CENTRE = 0.10
"""Metres from the head joint, which is at the skull's base, to the middle of the head."""
_SKIN = 0.10
"""Metres from the spine to the skin of the belly, chest and back."""

_MIDDLES = {
    "left_upper_arm": ("left_shoulder", "left_elbow"),
    "right_upper_arm": ("right_shoulder", "right_elbow"),
    "left_forearm": ("left_elbow", "left_wrist"),
    "right_forearm": ("right_elbow", "right_wrist"),
    "left_thigh": ("left_hip", "left_knee"),
    "right_thigh": ("right_hip", "right_knee"),
    "left_shin": ("left_knee", "left_ankle"),
    "right_shin": ("right_knee", "right_ankle"),
    "ankles": ("left_ankle", "right_ankle"),
}
_TOGETHER = tuple(
    {f"{side}_{joint}" for joint in joints}
    for side in ("left", "right")
    for joints in (("wrist", "hand"), ("ankle", "foot"))
)
"""Joints that go up and down together."""
_TRUNK = {"chest": ("spine3", 1.0), "belly": ("spine1", 1.0), "back": ("spine1", -1.0)}
"""Points of the skin: a joint of the spine, moved forwards or backwards."""
POINTS = (*JOINT_NAMES[:NUM_JOINTS], *_MIDDLES, *_TRUNK, "head_centre")
"""Joints, the middles of limbs, and points of the skin, left and right being the person's own."""

AXES = ("up", "camera", "torso_up", "chest_left", "chest_front", "hip_left", "hip_front")
"""Unit vectors; the others are their opposites."""
_OPPOSITE = {"chest_right": "chest_left", "chest_back": "chest_front", "hip_right": "hip_left", "hip_back": "hip_front"}
_HEAD_ANGLES = ("left_turn", "nod", "left_tilt")

SCALE = {
    "bend": 0.17, "distance": 0.05, "beside": 0.05, "along": 0.05, "toward": 0.1, "axes": 0.1, "lift": 0.05,
    "head": 0.17,
}  # fmt: skip
"""How soft a bound is, by kind, in the kind's unit: about what two careful observers would disagree by."""


class Quantity(NamedTuple):
    """One number measured on a body; see the module's table for its kinds."""

    kind: str
    points: tuple[str, ...] = ()

    @property
    def gravity(self) -> bool:
        """Whether it depends on which way is up."""
        return "up" in self.points or self.kind in ("beside", "lift")

    @property
    def camera(self) -> bool:
        """Whether it depends on where the camera is."""
        return "camera" in self.points


def canonical(quantity: Quantity) -> tuple[Quantity, float]:
    """The quantity that is measured in place of another, and the sign with which: left - right is -(right - left).

    Raises InputError for a point or an axis that there is not.
    """
    kind, points = quantity
    sign = 1.0
    axes = {"along": 1, "toward": 1, "axes": 2}.get(kind, 0)
    named = []
    for axis in points[:axes]:
        sign = -sign if axis in _OPPOSITE else sign
        named.append(_OPPOSITE.get(axis, axis))
    rest = points[axes:]
    if kind in ("along", "toward") and rest[0] > rest[1]:
        sign, rest = -sign, rest[::-1]
    if kind in ("distance", "beside"):
        rest = tuple(sorted(rest))
    if kind == "bend" and rest[0] > rest[2]:
        rest = rest[::-1]
    if kind == "head":
        side, _, angle = rest[0].rpartition("_")
        sign, rest = (-sign if side == "right" else sign), (f"left_{angle}" if side else angle,)
    _require_known(kind, tuple(named), rest)
    if kind == "axes":
        named.sort(key=AXES.index)
    return Quantity(kind, (*named, *rest)), sign


def _require_known(kind: str, axes: tuple[str, ...], points: tuple[str, ...]) -> None:
    known = _HEAD_ANGLES if kind == "head" else POINTS
    wrong = [a for a in axes if a not in AXES] + [p for p in points if p not in known]
    if kind not in SCALE or wrong:
        raise InputError(f"there is no quantity {kind} {' '.join((*axes, *points))}")


def measured(
    which: tuple[Quantity, ...],
    joints: Float[Tensor, "n joints 3"],
    rotmats: Float[Tensor, "persons rotations 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "n quantities"]:
    """Values of canonical quantities; NaN for angles of the head where no rotations are given.

    `joints` are the 24 joints in metres in the frame `cam`, anywhere; `rotmats` are parent-relative; `up` is the
    direction away from the ground in the same frame, `UP` unless given.
    Raises InputError for another skeleton, joints that are not finite, or an `up` without a length.
    """
    _require_bodies(joints, rotmats)
    points = _points(joints)
    axes = _axes(joints, _unit_up(joints, up))
    parts, order = [joints.new_empty(len(joints), 0)], []
    for kind, rows in _by_kind(which).items():
        parts.append(_KINDS[kind](points, axes, rotmats, [which[row].points for row in rows]))
        order += rows
    return torch.cat(parts, -1)[:, torch.tensor(order).argsort()]


@lru_cache
def _by_kind(which: tuple[Quantity, ...]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, quantity in enumerate(which):
        rows.setdefault(quantity.kind, []).append(row)
    return rows


def _require_bodies(joints: Tensor, rotmats: Tensor | None) -> None:
    if joints.shape[1] != NUM_JOINTS or (rotmats is not None and rotmats.shape[:2] != joints.shape[:2]):
        shapes = tuple(joints.shape) if rotmats is None else (tuple(joints.shape), tuple(rotmats.shape))
        raise InputError(f"statements are measured on bodies of {NUM_JOINTS} joints; got {shapes}")
    if not bool(joints.isfinite().all()) or (rotmats is not None and not bool(rotmats.isfinite().all())):
        raise InputError("statements are measured on finite bodies; got NaN or infinite numbers")


def _unit_up(joints: Tensor, up: Tensor | None) -> Tensor:
    given = joints.new_tensor(UP) if up is None else up.to(joints)
    length = given.norm(dim=-1, keepdim=True)
    if not bool((length.isfinite() & (length > _TINY)).all()):
        raise InputError(f"up is {given.tolist()}; expected a direction")
    return (given / length).expand(len(joints), 3)


def _length(vector: Tensor) -> Tensor:
    """Lengths whose gradient at zero is zero."""
    return (vector.square().sum(-1) + _TINY**2).sqrt()


def _unit(vector: Tensor) -> Tensor:
    return vector / _length(vector)[..., None]


def _frame(left: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions to the person's left and front, perpendicular to each other; left x up = front."""
    front = _unit(torch.linalg.cross(left, up))
    return _unit(left), front


def _axes(joints: Tensor, up: Tensor) -> Tensor:
    at = {name: joints[:, i] for i, name in enumerate(JOINT_NAMES[:NUM_JOINTS])}
    chest_left, chest_front = _frame(at["left_shoulder"] - at["right_shoulder"], at["neck"] - at["spine1"])
    hip_left, hip_front = _frame(at["left_hip"] - at["right_hip"], at["spine2"] - at["pelvis"])
    camera = joints.new_tensor([0.0, 0.0, -1.0]).expand_as(up)
    torso_up = _unit(at["neck"] - at["pelvis"])
    return torch.stack([up, camera, torso_up, chest_left, chest_front, hip_left, hip_front], 1)  # (n, axes, 3)


def _points(joints: Tensor) -> Tensor:
    at = {name: joints[:, i] for i, name in enumerate(JOINT_NAMES[:NUM_JOINTS])}
    middles = [(at[a] + at[b]) / 2 for a, b in _MIDDLES.values()]
    _, front = _frame(at["left_shoulder"] - at["right_shoulder"], at["neck"] - at["spine1"])
    trunk = [at[joint] + sign * _SKIN * front for joint, sign in _TRUNK.values()]
    head = at["head"] + _HEAD_CENTRE * _unit(at["head"] - at["neck"])
    return torch.cat([joints, torch.stack([*middles, *trunk, head], 1)], 1)  # (n, points, 3)


def _pick(points: Tensor, names: list[tuple[str, ...]], position: int) -> Tensor:
    return points[:, [POINTS.index(n[position]) for n in names]]


def _pick_axis(axes: Tensor, names: list[tuple[str, ...]], position: int) -> Tensor:
    return axes[:, [AXES.index(n[position]) for n in names]]


def _bend(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    a, b, c = (_pick(points, names, i) for i in range(3))
    first, second = b - a, c - b
    return torch.atan2(_length(torch.linalg.cross(first, second)), (first * second).sum(-1))


def _distance(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    return _length(_pick(points, names, 1) - _pick(points, names, 0))


def _beside(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    apart, up = _pick(points, names, 1) - _pick(points, names, 0), axes[:, :1]
    return _length(apart - (apart * up).sum(-1, keepdim=True) * up)


def _along(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    return ((_pick(points, names, 2) - _pick(points, names, 1)) * _pick_axis(axes, names, 0)).sum(-1)


def _toward(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    return (_unit(_pick(points, names, 2) - _pick(points, names, 1)) * _pick_axis(axes, names, 0)).sum(-1)


def _between_axes(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    return (_pick_axis(axes, names, 0) * _pick_axis(axes, names, 1)).sum(-1)


def _heights(points: Tensor, axes: Tensor) -> Tensor:
    return (points * axes[:, :1]).sum(-1)  # (n, points), along up


def _lift(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    """Against the rest of the body: a foot that is itself the lowest would be 0 above the lowest wherever it went."""
    heights = _heights(points, axes)
    own = torch.tensor([[joint in _moving_with(n[0]) for joint in JOINT_NAMES[:NUM_JOINTS]] for n in names])
    lowest = heights[:, None, :NUM_JOINTS].masked_fill(own.to(points.device), torch.inf).amin(-1)  # (n, quantities)
    return heights[:, [POINTS.index(n[0]) for n in names]] - lowest


def _moving_with(joint: str) -> set[str]:
    return next((joints for joints in _TOGETHER if joint in joints), {joint})


def _head(points: Tensor, axes: Tensor, rotmats: Tensor | None, names: list[tuple[str, ...]]) -> Tensor:
    if rotmats is None:
        return points.new_full((len(points), len(names)), torch.nan)
    neck, head = JOINT_NAMES.index("neck"), JOINT_NAMES.index("head")
    turn = rotmats[:, neck] @ rotmats[:, head]  # the head seen from the chest: x left, y up, z where the chest faces
    face, left = turn[:, :, 2], turn[:, :, 0]
    flat = (face[:, [0, 2]].square().sum(-1) + _TINY**2).sqrt()
    angles = {
        "left_turn": torch.atan2(face[:, 0], face[:, 2]),
        "nod": torch.atan2(-face[:, 1], flat),
        "left_tilt": torch.atan2(-left[:, 1], (left[:, [0, 2]].square().sum(-1) + _TINY**2).sqrt()),
    }
    return torch.stack([angles[n[0]] for n in names], -1)


_KINDS = {
    "bend": _bend, "distance": _distance, "beside": _beside, "along": _along, "toward": _toward, "axes": _between_axes,
    "lift": _lift, "head": _head,
}  # fmt: skip
