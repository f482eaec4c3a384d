"""Motions of any source that the package reads: files and folders -> poses of clips in a y-up world.

    file                                             is                                       up
    .npz with `poses` (n, 24, 3) and `split`         a pose file (`data.pose_file`)           y
    .npz with `poses` of 24, 52 or 55 joints         AMASS, SMPL-X, our exports               z with a rate, else y
    .npy (T, 322)                                    Motion-X: root, 21 joints of the body    y
                                                     (columns 0 to 65), hands, face, place
    .bvh                                             our exports and Mixamo's (`data.bvh_file`)   y

Motions are thinned to a frame rate. A file that is named has to be right; those that a folder holds and that cannot be
read are left out and named.  Source of the columns: Lin et al. 2023 (Motion-X), its notes on loading motions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.bvh_file import read_bvh
from hmralign.data.pose_file import MAX_POSES, Split
from hmralign.data.pose_parameters import NUM_BODY_JOINTS, read_pose_parameters
from hmralign.geometry.frames import Y_UP_TO_Z_UP
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.storage.limited_file import require_regular
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

logger = logging.getLogger("hmralign.multiview")

Up = Literal["y", "z"]

MAX_FILES = 200_000
MOTION_X_NUMBERS = 322
MOTION_X_FPS = 30.0
_ENDINGS = (".npz", ".npy", ".bvh")
_RATES = ("mocap_framerate", "mocap_frame_rate")
_NO_MOTION = ("shape", "neutral_stagei", "male_stagei", "female_stagei")
_SPLITS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}
_AT_ONCE = 50_000
_MOST_RADIANS = 13.0


@dataclass(frozen=True)
class MotionPoses:
    """Poses of clips, frames of a clip one after the other."""

    rotvecs: Float[Tensor, "pose 24 3"]
    """Radians, parent-relative, the root first, in a world with y up; single precision."""
    clip: Int[Tensor, " pose"]
    """Numbers in `clip_names`."""
    frame: Int[Tensor, " pose"]
    """Within the clip, after thinning; neighbours differ by one."""
    clip_names: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()
    """Name and SHA-256 of each file."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Files of folders that could not be read, and why."""

    def __len__(self) -> int:
        return len(self.rotvecs)


@dataclass(frozen=True)
class _Clip:
    name: str
    rotvecs: Float[Tensor, "frame 24 3"]
    frame: Int[Tensor, " frame"]


def read_motions(
    sources: Iterable[str | Path], *, fps: float = 30.0, split: Split | None = None, up: Up | None = None
) -> MotionPoses:
    """Poses of files and of all files below folders, in the order of their names.

    `split` chooses among the poses of pose files, which have been thinned already; `up` replaces the axis that the
    layout implies. Raises InputError for sources without a readable motion, more than `MAX_POSES` poses, and as the
    readers do for a file that is named.
    """
    if not fps > 0:
        raise InputError(f"motions are thinned to {fps:g} frames per second, expected a positive number")
    clips: list[_Clip] = []
    read, left_out = [], []
    for path, name, named in _files([Path(s) for s in sources]):
        try:
            found = _clips(path, name, fps, split, up)
        except InputError as error:
            if named:
                raise
            left_out.append((name, str(error).removeprefix(f"{path}: ")))
            logger.warning("left out: %s", error)
            continue
        clips += found
        read.append((name, _sha256(path)))
        if (count := sum(len(clip.rotvecs) for clip in clips)) > MAX_POSES:
            raise InputError(f"{path}: with it there are {count} poses, expected at most {MAX_POSES}; use fewer --fps")
    if not clips:
        why = f"; the first: {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise InputError(f"no motion can be read from {', '.join(map(str, sources)) or 'nothing'}{why}")
    return MotionPoses(
        torch.cat([clip.rotvecs for clip in clips]),
        torch.cat([torch.full((len(clip.rotvecs),), number) for number, clip in enumerate(clips)]),
        torch.cat([clip.frame for clip in clips]),
        tuple(clip.name for clip in clips),
        tuple(read),
        tuple(left_out),
    )


def _files(sources: list[Path]) -> Iterable[tuple[Path, str, bool]]:
    """Path, name to show, and whether it was named itself."""
    count = 0
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: there is no such file or folder of motions")
        if not source.is_dir():
            yield source, source.name, True
            continue
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in _ENDINGS and path.stem not in _NO_MOTION and path.is_file():
                count += 1
                if count > MAX_FILES:
                    raise InputError(f"{source}: has more than {counted(MAX_FILES, 'motion')}, expected fewer")
                yield path, path.relative_to(source).as_posix(), False


def _clips(path: Path, name: str, fps: float, split: Split | None, up: Up | None) -> list[_Clip]:
    ending = path.suffix.lower()
    if ending == ".bvh":
        motion = read_bvh(path)
        return [_thinned(name, torch.from_numpy(motion.rotmats.copy()), motion.fps, fps, up or "y")]
    if ending == ".npy":
        return [_thinned(name, _motion_x(path), MOTION_X_FPS, fps, up or "y")]
    if ending != ".npz":
        raise InputError(f"{path}: ends in '{shown(ending)}', expected a motion as {', '.join(_ENDINGS)}")
    there = npz_sizes(path)
    if "split" in there:
        return _pose_file(path, name, split, set(there))
    rate = next((key for key in _RATES if key in there), None)
    parameters = read_pose_parameters(path)
    if rate is None:
        return [_thinned(name, parameters.rotmats, fps, fps, up or "y")]
    own = np.asarray(read_npz(path, (rate,))[rate]).reshape(-1)
    if own.size != 1 or own.dtype.kind not in "iuf" or not 1 <= float(own[0]) <= 1000:
        raise InputError(f"{path}: '{rate}' is {shown(own.tolist())}, expected 1 to 1000 frames per second")
    return [_thinned(name, parameters.rotmats, float(own[0]), fps, up or "z")]


def _thinned(name: str, rotmats: Float[Tensor, "frame 24 3 3"], own: float, fps: float, up: Up) -> _Clip:
    """Every so-manieth frame, so that at most `fps` are left of a second."""
    rotmats = rotmats[:: max(1, round(own / fps))].to(torch.float64)
    if up == "z":
        root = torch.tensor(Y_UP_TO_Z_UP, dtype=torch.float64).mT @ rotmats[:, 0]
        rotmats = torch.cat([root[:, None], rotmats[:, 1:]], 1)
    return _Clip(name, rotmat_to_rotvec(rotmats).float(), torch.arange(len(rotmats)))


def _motion_x(path: Path) -> Float[Tensor, "frame 24 3 3"]:
    require_regular(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # the size in its header is held against the file's
    except Exception as error:  # numpy has a class for every damage
        raise InputError(f"{path}: no array of numbers that numpy reads ({shown(str(error), 120)})") from error
    if array.ndim != 2 or array.shape[1] != MOTION_X_NUMBERS or array.dtype.kind != "f":
        raise InputError(
            f"{path}: has shape {array.shape} of {array.dtype}, expected Motion-X's (T, {MOTION_X_NUMBERS})"
        )
    if not 1 <= len(array) <= MAX_POSES:
        raise InputError(f"{path}: has {counted(len(array), 'pose')}, expected 1 to {MAX_POSES}")
    values = torch.from_numpy(np.array(array[:, : 3 * NUM_BODY_JOINTS], np.float64)).unflatten(1, (NUM_BODY_JOINTS, 3))
    _require_angles(path, values)
    return rotvec_to_rotmat(torch.nn.functional.pad(values, (0, 0, 0, NUM_JOINTS - NUM_BODY_JOINTS)))


def _pose_file(path: Path, name: str, split: Split | None, there: set[str]) -> list[_Clip]:
    """Clips of a pose file; one that does not say which clips it has is one clip."""
    marks = [key for key in ("clip", "frame", "clip_names") if key in there]
    arrays = read_npz(path, ("poses", "split", *marks))
    poses = arrays["poses"]
    if poses.ndim != 3 or poses.shape[1:] != (NUM_JOINTS, 3) or arrays["split"].shape != poses.shape[:1]:
        raise InputError(
            f"{path}: expected 'poses' (n, 24, 3) and 'split' (n,), got {poses.shape} and {arrays['split'].shape}"
        )
    clip, frame = (arrays.get(key, default) for key, default in (
        ("clip", np.zeros(len(poses), np.int64)), ("frame", np.arange(len(poses)))))  # fmt: skip
    for key, values in (("clip", clip), ("frame", frame)):
        if values.shape != poses.shape[:1] or values.dtype.kind not in "iu":
            raise InputError(f"{path}: '{key}' has shape {values.shape}, expected a whole number for each pose")
    kept = np.ones(len(poses), bool) if split is None else arrays["split"] == _SPLITS[split]
    if not kept.any():
        raise InputError(f"{path}: split '{split}' is empty")
    rotvecs = torch.from_numpy(poses[kept].astype(np.float32))
    _require_angles(path, rotvecs)
    clip, frame = (torch.from_numpy(v[kept].astype(np.int64)) for v in (clip, frame))
    names = [str(n) for n in arrays["clip_names"]] if "clip_names" in arrays else []
    clips = []
    for number in torch.unique(clip).tolist():
        rows = (clip == number).nonzero()[:, 0]
        rows = rows[frame[rows].argsort(stable=True)]
        own = names[number] if 0 <= number < len(names) else str(number)
        clips.append(_Clip(f"{name}:{own}", rotvecs[rows], frame[rows]))
    return clips


def _require_angles(path: Path, rotvecs: Tensor) -> None:
    if not bool(torch.isfinite(rotvecs).all()):
        raise InputError(f"{path}: has angles that are not finite")
    if (largest := float(rotvecs.abs().max())) > _MOST_RADIANS:
        raise InputError(f"{path}: turns a joint by {largest:.0f}, expected radians, not degrees")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
