"""Motions from BVH files, Biovision's text format: disk -> rotations of the 24 joints, y up.

Euler angles of a joint's channels are multiplied in the order in which the file names them.  Source: Meredith and
Maddock 2001, "Motion capture file formats explained", sec. 2.1. Two sets of names are known: the package's own
(`export.bvh` writes them) and Mixamo's. The file's rest pose has to be a T-pose that faces +z, so that its rotations
mean what those of an SMPL-shaped body mean; other joints, such as fingers, pass their turn on to what hangs on them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_BYTES = 256 * 2**20
MAX_JOINTS = 512
MAX_VALUES = 50_000_000
"""Numbers of all frames together; ten hours of 75 channels at 18 frames per second."""

_OWN = {name.replace("_", ""): number for number, name in enumerate(JOINT_NAMES[:NUM_JOINTS])}
_SIDED = {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "ToeBase": "foot", "Shoulder": "collar", "Arm": "shoulder",
          "ForeArm": "elbow", "Hand": "wrist"}  # fmt: skip
_MIXAMO = {
    "hips": "pelvis", "spine": "spine1", "spine1": "spine2", "spine2": "spine3", "neck": "neck", "head": "head",
    **{f"{side}{theirs}".lower(): f"{side}_{ours}" for side in ("left", "right") for theirs, ours in _SIDED.items()},
}  # fmt: skip
_CONVENTIONS = {"pelvis": _OWN, "hips": {name: JOINT_NAMES.index(ours) for name, ours in _MIXAMO.items()}}
"""Name of the root, without case and marks -> numbers of the joints by such names."""

_MAY_LACK = {JOINT_NAMES.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("foot", "hand")}
_T_POSE = (
    ("shoulder", "wrist", {"left": (1.0, 0.0, 0.0), "right": (-1.0, 0.0, 0.0)}),
    ("hip", "ankle", {"left": (0.0, -1.0, 0.0), "right": (0.0, -1.0, 0.0)}),
)
_MOST_DEGREES = 25.0
"""By which an arm or a leg of the rest pose may differ from that of a T-pose."""


@dataclass(frozen=True)
class BvhMotion:
    """Rotations about the axes of a T-pose, parent-relative, the root first; joints that the file lacks do not turn."""

    rotmats: Float[np.ndarray, "frame 24 3 3"]
    fps: float


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[str] = field(default_factory=list)


def read_bvh(path: Path) -> BvhMotion:
    """Read a file.

    Raises InputError, naming it, where it is missing, damaged or too large, has the joints of another skeleton or
    another rest pose, and for numbers that are not finite.
    """
    try:
        words = read_limited(path, MAX_BYTES).decode("utf-8").split()
    except OSError as error:
        raise InputError(f"{path}: cannot be read as BVH ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no BVH file (it is no text)") from error
    joints, at = _hierarchy(path, words)
    values, fps = _frames(path, words, at, sum(len(joint.channels) for joint in joints))
    numbers = _numbers(path, joints)
    _require_t_pose(path, joints, numbers)
    return BvhMotion(_relative(_global_turns(joints, values), numbers), fps)


def _hierarchy(path: Path, words: list[str]) -> tuple[list[_Joint], int]:
    """Joints in the order of their channels, and where the word MOTION stands."""
    if not words or words[0] != "HIERARCHY":
        raise InputError(f"{path}: is no BVH file (it does not begin with HIERARCHY)")
    joints: list[_Joint] = []
    open_: list[int | None] = []  # None stands for an end site
    at = 1
    try:
        while words[at] != "MOTION":
            word = words[at]
            if word in ("ROOT", "JOINT"):
                parent = next((j for j in reversed(open_) if j is not None), -1)
                if (word == "ROOT") != (parent == -1) or (word == "ROOT" and joints):
                    raise InputError(f"{path}: '{shown(words[at + 1])}' is out of place, expected one root")
                joints.append(_Joint(words[at + 1], parent))
                open_.append(len(joints) - 1)
                _require_mark(path, words[at + 2])
                at += 3
            elif word == "End":
                open_.append(None)
                _require_mark(path, words[at + 2])
                at += 3
            elif word == "OFFSET":
                offset = tuple(float(w) for w in words[at + 1 : at + 4])
                if (joint := open_[-1]) is not None:
                    joints[joint].offset = offset
                at += 4
            elif word == "CHANNELS":
                count = int(words[at + 1])
                joint = open_[-1]
                if joint is None or not 0 <= count <= 6:
                    raise InputError(f"{path}: has {counted(count, 'channel')} where none can be")
                joints[joint].channels = words[at + 2 : at + 2 + count]
                at += 2 + count
            elif word == "}":
                open_.pop()
                at += 1
            else:
                raise InputError(f"{path}: '{shown(word)}' in the hierarchy is no word of BVH")
            if len(joints) > MAX_JOINTS or len(open_) > MAX_JOINTS:
                raise InputError(f"{path}: has more than {MAX_JOINTS} joints")
    except InputError:
        raise
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: damaged BVH file (its hierarchy ends or lacks a number near word {at})") from error
    if open_ or not joints:
        raise InputError(f"{path}: damaged BVH file (its hierarchy is not closed)")
    return joints, at


def _require_mark(path: Path, word: str) -> None:
    if word != "{":
        raise InputError(f"{path}: damaged BVH file ('{shown(word)}' where '{{' belongs)")


def _frames(path: Path, words: list[str], at: int, channels: int) -> tuple[np.ndarray, float]:
    """Numbers (frame, channel), and frames per second."""
    head = words[at : at + 6]
    if len(head) < 6 or head[1] != "Frames:" or head[3:5] != ["Frame", "Time:"] or not head[2].isdecimal():
        raise InputError(f"{path}: damaged BVH file (no 'Frames:' and 'Frame Time:' behind MOTION)")
    count, rest = int(head[2][:12]), words[at + 6 :]
    if count < 1 or channels < 1 or count * channels > MAX_VALUES:
        raise InputError(
            f"{path}: has {counted(count, 'frame')} of {counted(channels, 'channel')}, expected 1 to "
            f"{MAX_VALUES} numbers"
        )
    if len(rest) != count * channels:
        raise InputError(f"{path}: has {counted(len(rest), 'number')}, expected {count} x {channels}")
    try:
        values, seconds = np.array(rest, np.float64).reshape(count, channels), float(head[5])
    except ValueError as error:
        raise InputError(f"{path}: damaged BVH file (a value of a frame is no number)") from error
    if not np.isfinite(values).all() or not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{path}: has angles or a frame time that are not finite, or no time at all")
    return values, 1 / seconds


def _numbers(path: Path, joints: list[_Joint]) -> dict[int, int]:
    """Joint of the body -> joint of the file."""
    plain = [re.sub("[^a-z0-9]", "", re.sub("^mixamorig[0-9]*", "", j.name.lower().split(":")[-1])) for j in joints]
    known = _CONVENTIONS.get(plain[0])
    if known is None:
        raise InputError(
            f"{path}: its root is called '{shown(joints[0].name)}', expected a skeleton of this package ('pelvis') "
            "or Mixamo's ('Hips')"
        )
    numbers = {known[name]: number for number, name in reversed(list(enumerate(plain))) if name in known}
    missing = [JOINT_NAMES[j] for j in range(NUM_JOINTS) if j not in numbers and j not in _MAY_LACK]
    if missing:
        raise InputError(f"{path}: has another set of joints (there is none for {', '.join(missing[:6])})")
    return numbers


def _require_t_pose(path: Path, joints: list[_Joint], numbers: dict[int, int]) -> None:
    rest = np.zeros((len(joints), 3))
    for number, joint in enumerate(joints):
        rest[number] = np.array(joint.offset) + (rest[joint.parent] if joint.parent >= 0 else 0)
    if not np.isfinite(rest).all():
        raise InputError(f"{path}: has offsets that are not finite")
    for near, far, directions in _T_POSE:
        for side, direction in directions.items():
            ends = [rest[numbers[JOINT_NAMES.index(f"{side}_{name}")]] for name in (near, far)]
            along = ends[1] - ends[0]
            cosine = along @ np.array(direction) / max(float(np.linalg.norm(along)), 1e-12)
            if (away := math.degrees(math.acos(np.clip(cosine, -1, 1)))) > _MOST_DEGREES:
                raise InputError(
                    f"{path}: its rest pose is no T-pose that faces +z (from {side} {near} to {far} it is "
                    f"{away:.0f} degrees off)"
                )


def _global_turns(joints: list[_Joint], values: np.ndarray) -> list[Float[np.ndarray, "frame 3 3"]]:
    from scipy.spatial.transform import Rotation

    turns: list[np.ndarray] = []
    at = 0
    for joint in joints:
        kinds = [c.lower() for c in joint.channels]
        chosen = [k for k, c in enumerate(kinds) if re.fullmatch("[xyz]rotation", c)]
        own = np.broadcast_to(np.eye(3), (len(values), 3, 3))
        for k in chosen:
            own = own @ Rotation.from_euler(kinds[k][0], values[:, [at + k]], degrees=True).as_matrix()
        turns.append(own if joint.parent < 0 else turns[joint.parent] @ own)
        at += len(kinds)
    return turns


def _relative(turns: list[np.ndarray], numbers: dict[int, int]) -> Float[np.ndarray, "frame 24 3 3"]:
    """Turns of the body's joints about their parents; a joint that is not there goes with its parent."""
    world: list[np.ndarray] = []
    for joint in range(NUM_JOINTS):
        world.append(turns[numbers[joint]] if joint in numbers else world[PARENTS[joint]])
    own = [world[0], *(world[PARENTS[j]].swapaxes(-1, -2) @ world[j] for j in range(1, NUM_JOINTS))]
    return np.stack(own, axis=1)
