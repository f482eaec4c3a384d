"""What `hmralign recover` wrote of a clip, read again: its record, and its tracks as they were answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.body.model import BodyModel
from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown
from hmralign.systems.video.outputs import CLIP_RECORD, read_clip_record
from hmralign.tracking.person_track import PersonTrack

MOST_TRACKS = 1000

_SHAPES: dict[str, tuple[int, ...]] = {
    "time": (), "rotmats": (24, 3, 3), "transl": (3,), "joints": (29, 3), "spread": (29,), "interpolated": (),
    "exchanged": (), "keypoints": (NUM_KEYPOINTS, 3), "box": (4,), "score": (), "K": (3, 3), "size": (2,),
}  # fmt: skip
"""Arrays with an axis of frames, and what follows it."""


@dataclass(frozen=True)
class StoredTrack:
    """One person of a stored clip. `arrays` are all that `frames.npz` holds."""

    name: str
    track: PersonTrack
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class StoredClip:
    """A stored clip. `record` is its `video.json`."""

    folder: Path
    record: dict[str, Any]
    tracks: tuple[StoredTrack, ...]

    @property
    def detector(self) -> str:
        """Whose keypoints these are."""
        return str(self.record.get("detector", ""))

    @property
    def fps(self) -> float:
        """Usual frames per second."""
        return float(self.record["clip"]["fps"])

    def numbers(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Which tracks are meant, all where nobody is named. Raises InputError for one there is not."""
        known = {name: number for number, track in enumerate(self.tracks) for name in (str(number), track.name)}
        if wrong := [name for name in names if name not in known]:
            there = ", ".join(t.name for t in self.tracks[:8])
            raise InputError(f"there is no person '{shown(wrong[0])}' in '{self.folder}'; there are {there}")
        return tuple(sorted({known[name] for name in names})) or tuple(range(len(self.tracks)))


def is_clip_folder(path: Path) -> bool:
    """Whether a folder is that of a recovered clip."""
    return path.is_dir() and read_clip_record(path) is not None


def read_clip_folder(folder: Path, body: BodyModel) -> StoredClip:
    """Everybody in a clip's folder.

    Raises InputError, naming the file, for a record or arrays that are missing, damaged or of another form, for nobody,
    and for bodies of another skeleton.
    """
    record = read_clip_record(folder)
    path = folder / CLIP_RECORD
    if record is None:
        raise InputError(f"{path} cannot be read; expected the folder that `hmralign recover` wrote of a clip")
    clip, rows = record.get("clip"), record.get("tracks")
    if not isinstance(clip, dict) or not isinstance(clip.get("fps"), int | float) or not 0 < clip["fps"] < 1e5:
        raise InputError(f"{path}: says nothing usable of the clip's frame rate")
    if not isinstance(rows, list) or len(rows) > MOST_TRACKS:
        raise InputError(f"{path}: expected a list of at most {MOST_TRACKS} tracks")
    if not rows:
        raise InputError(f"'{folder}' holds nobody to refine")
    return StoredClip(folder, record, tuple(_track(folder, row, number, body) for number, row in enumerate(rows)))


def _track(folder: Path, row: Any, number: int, body: BodyModel) -> StoredTrack:
    name = f"track_{number}"
    if not isinstance(row, dict) or row.get("folder") != name:
        raise InputError(f"{folder / CLIP_RECORD}: track {number} is not in a folder '{name}'")
    path = folder / name / "frames.npz"
    arrays = read_npz(path)
    wanted = {"frame", "betas", "skeleton_hash", "body_name", *_SHAPES}
    if missing := sorted(wanted - set(arrays)):
        raise InputError(f"{path}: lacks the arrays {missing}; expected what `hmralign recover` writes of a clip")
    if str(arrays["skeleton_hash"]) != body.skeleton_hash:
        raise InputError(
            f"{path} holds a person with the skeleton of body {str(arrays['body_name'])!r}, not of {body.name!r}; "
            "expected the body that the clip was recovered with (--body FILE)"
        )
    _require_shapes(path, arrays, body)
    first = int(arrays["frame"][0])
    values = {name: arrays[name] for name in _SHAPES}
    return StoredTrack(name, PersonTrack(first=first, betas=arrays["betas"], **values), arrays)


def _require_shapes(path: Path, arrays: dict[str, np.ndarray], body: BodyModel) -> None:
    count = len(np.atleast_1d(arrays["frame"]))
    shapes = {"frame": (count,), "betas": (body.num_betas,), **{n: (count, *rest) for n, rest in _SHAPES.items()}}
    for name, shape in shapes.items():
        kind = arrays[name].dtype
        if arrays[name].shape != shape or not (np.issubdtype(kind, np.number) or kind == np.bool_):
            raise InputError(f"{path}: '{name}' is {kind} {arrays[name].shape}, expected numbers {shape}")
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: '{name}' is not finite; expected numbers")
    if count == 0 or (np.diff(arrays["frame"]) != 1).any() or int(arrays["frame"][0]) < 0:
        raise InputError(f"{path}: holds {counted(count, 'frame')} that do not follow one another")
