"""Motion-capture poses from a file: disk -> parent-relative rotations and the up direction.

Format (npz, no pickles): `poses` (n, 24, 3) axis-angles in radians, joint 0 the orientation in a y-up world;
`split` (n,) with 0 train, 1 validation, 2 test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.npz_file import read_npz
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import InputError
from hmralign.structures.counted import counted

Split = Literal["train", "val", "test"]

MAX_POSES = 2_000_000
"""In one file, 18 hours at 30 per second: more would take more than 4 GB of memory."""

_POSES_AT_ONCE = 50_000
SPLIT_CODE = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class PoseSet:
    """Poses of one split. `up_in_pelvis` is the world's up direction (unit) seen from the pelvis."""

    body_pose: Float[Tensor, "n 23 3 3"]
    up_in_pelvis: Float[Tensor, "n 3"]
    rotvecs: Float[Tensor, "n 24 3"]
    sha256: str


def load_pose_file(path: str | Path, split: Split) -> PoseSet:
    """Read one split. Raises InputError for a missing file, wrong arrays, NaN, or an empty split."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such pose file")
    poses, code = _arrays(path)
    if poses.ndim != 3 or poses.shape[1:] != (24, 3) or code.shape != poses.shape[:1]:
        raise InputError(f"{path}: expected 'poses' (n, 24, 3) and 'split' (n,), got {poses.shape} and {code.shape}")
    if len(poses) > MAX_POSES:
        raise InputError(
            f"{path}: has {counted(len(poses), 'pose')}, expected at most {MAX_POSES}; keep fewer per second"
        )
    chosen = poses[code == SPLIT_CODE[split]]
    if len(chosen) == 0:
        raise InputError(f"{path}: split '{split}' is empty")
    if not np.isfinite(chosen).all():
        raise InputError(f"{path}: split '{split}' contains NaN or infinite angles")
    rotvecs = torch.from_numpy(chosen)
    rotmats = torch.empty(*rotvecs.shape, 3)
    for some, into in zip(rotvecs.split(_POSES_AT_ONCE), rotmats.split(_POSES_AT_ONCE), strict=True):
        into.copy_(rotvec_to_rotmat(some))
    # The second row of the root matrix is what y (up) looks like from the pelvis.
    return PoseSet(rotmats[:, 1:], rotmats[:, 0, 1, :], rotvecs, hashlib.sha256(path.read_bytes()).hexdigest())


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, unpickled never."""
    try:
        arrays = read_npz(path, ("poses", "split"))
    except InputError as error:
        raise InputError(f"not a pose file with arrays 'poses' and 'split': {error}") from error
    if (kind := arrays["poses"].dtype).kind not in "iuf":
        raise InputError(f"{path}: 'poses' are of type {kind}, expected numbers")
    return arrays["poses"].astype(np.float32), arrays["split"]
