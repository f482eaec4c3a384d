"""SMPL-style parameters of many frames from a file: disk -> parent-relative rotations of 24 joints.

Format (npz, no pickles), N frames, radians:

    array        shape                            meaning
    poses        (N, 72) | (N, 24, 3)             rotation vectors of SMPL's 24 joints, the root first
                 (N, 24, 3, 3)                    the same as matrices
                 (N, 156) | (N, 52, 3)            SMPL-H's joints, as AMASS has them: 22 of the body, then fingers
                 (N, 165) | (N, 55, 3)            SMPL-X's joints: 22 of the body, then jaw, eyes and fingers
    smpl_poses   (N, 72)                          instead of `poses` where there are both, as in our own exports
    betas        (B,) | (1, B) | (N, B)           optional; the first 10 count
    trans        (N, 3)                           metres, optional
    body_name, skeleton_hash                      optional texts: whose shapes the betas are

Vectors of 69, 66 or 63 numbers are refused by name: they lack the root or the hands, and their joints would be taken
for others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS
from hmralign.data.pose_file import MAX_POSES
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import InputError
from hmralign.structures.counted import counted

NUM_BODY_JOINTS = 22
"""SMPL's joints that SMPL-H and SMPL-X have too; `left_hand` and `right_hand` they have not."""

POSES_WITHOUT = {
    69: "SMPL's 23 body joints without the root",
    66: "the root and 21 body joints, without SMPL's two hand joints",
    63: "21 body joints of SMPL-H or SMPL-X, without the root and the hands",
}
"""Numbers of a pose that lacks some joints -> what it is."""
_JOINT_COUNTS = (24, 52, 55)
_MOST_RADIANS = 4 * math.pi
_NOT_A_ROTATION = 1e-3
_TEXTS = ("body_name", "skeleton_hash")


@dataclass(frozen=True)
class PoseParameters:
    """Poses of a file, double precision. Rotations of hands that the file does not have are identities."""

    path: Path
    rotmats: Float[Tensor, "frame 24 3 3"]
    betas: Float[Tensor, "shape 10"] | None
    """One for all frames, or one for each."""
    trans: Float[Tensor, "frame 3"] | None
    has_hands: bool
    """Whether the joints `left_hand` and `right_hand` are in the file."""
    skeleton_hash: str
    """Hash of the skeleton that the betas belong to; empty where the file does not say."""

    def __len__(self) -> int:
        return len(self.rotmats)


def read_pose_parameters(path: str | Path) -> PoseParameters:
    """Read a file. Raises InputError, naming it, where it is missing or damaged, and for what does not fit."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an npz archive with an array 'poses'")
    there = npz_sizes(path)
    name = next((n for n in ("smpl_poses", "poses") if n in there), None)
    if name is None:
        raise InputError(f"{path}: lacks the array 'poses' (it has {', '.join(sorted(there)[:20]) or 'none'})")
    arrays = read_npz(path, [n for n in (name, "betas", "trans", *_TEXTS) if n in there])
    rotmats, has_hands = _rotations(path, name, arrays[name])
    trans = _numbers(path, "trans", arrays["trans"]) if "trans" in arrays else None
    if trans is not None and trans.shape != (len(rotmats), 3):
        raise InputError(f"{path}: 'trans' has shape {tuple(trans.shape)}, expected ({len(rotmats)}, 3)")
    skeleton_hash = str(arrays["skeleton_hash"]) if "skeleton_hash" in arrays else ""
    return PoseParameters(path, rotmats, _betas(path, arrays, len(rotmats)), trans, has_hands, skeleton_hash)


def _rotations(path: Path, name: str, array: np.ndarray) -> tuple[Tensor, bool]:
    """(N, 24, 3, 3), and whether hands are among them."""
    joints = _joint_count(path, name, array.shape)
    if not 1 <= len(array) <= MAX_POSES:
        raise InputError(f"{path}: has {counted(len(array), 'pose')}, expected 1 to {MAX_POSES}")
    values = _numbers(path, name, array)
    if array.ndim == 4:
        _require_rotations(path, name, values)
        return values, True
    rotvecs = values.reshape(len(values), joints, 3)  # (N, J, 3)
    if (largest := float(rotvecs.norm(dim=-1).max())) > _MOST_RADIANS:
        raise InputError(f"{path}: '{name}' turns a joint by {largest:.0f}, expected radians, not degrees")
    if joints > NUM_JOINTS:
        rotvecs = torch.nn.functional.pad(rotvecs[:, :NUM_BODY_JOINTS], (0, 0, 0, NUM_JOINTS - NUM_BODY_JOINTS))
    return rotvec_to_rotmat(rotvecs), joints == NUM_JOINTS


def _joint_count(path: Path, name: str, shape: tuple[int, ...]) -> int:
    """Joints of an array of rotations. Raises InputError saying what else it is."""
    if len(shape) == 2 and shape[1] in POSES_WITHOUT:
        raise InputError(
            f"{path}: '{name}' has {shape[1]} numbers a frame, which are {POSES_WITHOUT[shape[1]]}; "
            "expected 72, root first"
        )
    if len(shape) == 2 and shape[1] in [3 * count for count in _JOINT_COUNTS]:
        return shape[1] // 3
    if len(shape) == 3 and shape[2] == 3 and shape[1] in _JOINT_COUNTS:
        return shape[1]
    if shape[1:] == (NUM_JOINTS, 3, 3):
        return NUM_JOINTS
    raise InputError(
        f"{path}: '{name}' has shape {shape}, expected (N, 72) or (N, 24, 3) rotation vectors, (N, 24, 3, 3) matrices, "
        "or SMPL-H's (N, 156), SMPL-X's (N, 165)"
    )


def _numbers(path: Path, name: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"{path}: '{name}' is not finite numbers everywhere (it is {array.dtype})")
    return torch.from_numpy(array.astype(np.float64))


def _require_rotations(path: Path, name: str, rotmats: Tensor) -> None:
    away = (rotmats @ rotmats.mT - torch.eye(3, dtype=rotmats.dtype)).abs().amax((-2, -1)) > _NOT_A_ROTATION
    wrong = (away | (torch.linalg.det(rotmats) < 0)).any(-1)
    if bool(wrong.any()):
        frame = int(wrong.nonzero()[0])
        raise InputError(f"{path}: '{name}' of frame {frame} has a matrix that is no rotation")


def _betas(path: Path, arrays: dict[str, np.ndarray], frames: int) -> Tensor | None:
    if "betas" not in arrays:
        return None
    betas = _numbers(path, "betas", arrays["betas"])
    betas = betas[None] if betas.ndim == 1 else betas
    if betas.ndim != 2 or betas.shape[0] not in (1, frames) or betas.shape[1] == 0:
        raise InputError(f"{path}: 'betas' has shape {arrays['betas'].shape}, expected (B,), (1, B) or ({frames}, B)")
    kept = betas[:, :NUM_BETAS]
    return torch.nn.functional.pad(kept, (0, NUM_BETAS - kept.shape[1]))
