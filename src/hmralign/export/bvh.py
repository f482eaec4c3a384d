"""A motion as BVH, Biovision's text format, which every animation tool reads.

    unit      metres and degrees; one BVH unit is a metre (tools that count in centimetres import it at scale 100)
    axes      y up, the person's zero pose is a T-pose facing +z, as the format has it
    skeleton  the 24 joints of the body in the person's own lengths, and its 5 leaves as end sites
    channels  root: position, then rotation; other joints: rotation. Order Z X Y: R = R_z R_x R_y

Euler angles have two solutions and repeat: those nearest to the frame before are taken, so that a tool which
interpolates between frames does not spin a limb.  Source: Meredith and Maddock 2001, "Motion capture file formats
explained", sec. 2.1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.export.motion import Motion, shaped_joints
from hmralign.storage.whole_file import write_whole

_ROTATION_CHANNELS = "Zrotation Xrotation Yrotation"


def write_bvh(path: Path, model: BodyModel, motion: Motion) -> Path:
    """Write a BVH file, whole or not at all; see `bvh_text`."""
    return write_whole(path, bvh_text(model, motion))


def bvh_text(model: BodyModel, motion: Motion) -> str:
    """The motion of one person as the text of a BVH file: metres, y up."""
    upright = motion.y_up(model)
    rest = shaped_joints(model, upright.betas).numpy()
    order = _depth_first(model.parents)
    place = upright.transl.numpy() + rest[0]
    angles = zxy_angles(upright.rotmats.numpy())[:, order]  # (T, 24, 3), in the order of the hierarchy
    rows = np.concatenate([place, angles.reshape(len(angles), -1)], axis=1)
    lines = ["HIERARCHY", *_hierarchy(0, model.parents, rest, 0), "MOTION"]
    lines += [f"Frames: {upright.num_frames}", f"Frame Time: {1 / upright.fps:.8f}"]
    lines += [" ".join(f"{x:.6f}" for x in row) for row in rows]
    return "\n".join(lines) + "\n"


def zxy_angles(rotmats: Float[np.ndarray, "frames joints 3 3"]) -> Float[np.ndarray, "frames joints 3"]:
    """Degrees about z, x, y with R = R_z R_x R_y; of the equal descriptions the one nearest to the frame before."""
    z = np.arctan2(-rotmats[..., 0, 1], rotmats[..., 1, 1])
    x = np.arctan2(rotmats[..., 2, 1], np.hypot(rotmats[..., 2, 0], rotmats[..., 2, 2]))
    y = np.arctan2(-rotmats[..., 2, 0], rotmats[..., 2, 2])
    # Where x is a right angle only the sum or difference of z and y is known: give it all to z.
    locked = np.hypot(rotmats[..., 2, 0], rotmats[..., 2, 2]) < 1e-8
    z = np.where(locked, np.arctan2(rotmats[..., 1, 0], rotmats[..., 0, 0]), z)
    angles = np.degrees(np.stack([z, x, np.where(locked, 0.0, y)], axis=-1))
    for now in range(1, len(angles)):
        angles[now] = _nearest_description(angles[now], angles[now - 1])
    return angles


def _nearest_description(angles: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The nearest to `before` of (z, x, y) and (z + 180, 180 - x, y + 180), plus whole turns; (joints, 3)."""
    other = np.stack([angles[:, 0] + 180, 180 - angles[:, 1], angles[:, 2] + 180], axis=-1)
    both = [a + 360 * np.round((before - a) / 360) for a in (angles, other)]
    far = [np.abs(a - before).sum(axis=-1, keepdims=True) for a in both]
    return np.where(far[0] <= far[1], both[0], both[1])


def _children(joint: int, parents: tuple[int, ...]) -> list[int]:
    return [child for child, parent in enumerate(parents) if parent == joint]


def _depth_first(parents: tuple[int, ...], joint: int = 0) -> list[int]:
    """Rotating joints in the order in which the hierarchy names them, which is that of the numbers of a frame."""
    below = [j for child in _children(joint, parents) if child < NUM_JOINTS for j in _depth_first(parents, child)]
    return [joint, *below]


def _hierarchy(joint: int, parents: tuple[int, ...], rest: np.ndarray, depth: int) -> list[str]:
    """The lines of a joint and of what hangs on it; the root's place is in its channels."""
    offset = np.zeros(3) if joint == 0 else rest[joint] - rest[parents[joint]]
    words = "ROOT" if joint == 0 else "JOINT"
    head = "End Site" if joint >= NUM_JOINTS else f"{words} {JOINT_NAMES[joint]}"
    inside = [f"OFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}"]
    if joint == 0:
        inside.append(f"CHANNELS 6 Xposition Yposition Zposition {_ROTATION_CHANNELS}")
    elif joint < NUM_JOINTS:
        inside.append(f"CHANNELS 3 {_ROTATION_CHANNELS}")
    pad = "  " * depth
    lines = [f"{pad}{head}", f"{pad}{{", *(f"{pad}  {line}" for line in inside)]
    for child in _children(joint, parents):
        lines += _hierarchy(child, parents, rest, depth + 1)
    return [*lines, f"{pad}}}"]
