"""Answered frames on disk, some at a time: what is committed is not done again, however the run ended.

    <work>/plan.json          what the frames are answered from and how; another plan starts anew
    <work>/chunk_00000.npz    the frames 0 to n - 1, written whole or not at all
    <work>/frames.json        how many frames and chunks there are, and what was said; written last

What lies in a chunk depends on its own frames alone (and, for cuts, on the frame before it), never on how many runs it
took, so an interrupted run and a straight one end with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.body.npz_file import read_npz, write_npz
from hmralign.storage.folder_lock import held_folder
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import remove_parts, write_json
from hmralign.structures import InputError


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames, and the sightings in them.

    Of frames: `time` seconds, `size` (width, height), `cut` whether the frame begins another scene, `K`. Of sightings:
    `frame` counts from the chunk's first frame; keypoints are pixels of the upright frame; `group`, `betas` and
    `misfit` are those of `FrameGroups`. `probability` (sighting, reading) is what the frame itself says of each
    reading, NaN where it says nothing; `other` (sighting, kp, 3) are x, y, confidence of another network where it reads
    the sides the other way round, zeros elsewhere.
    `left_out` counts sightings with too few keypoints and frames with too many people, `detector` are its name and the
    file of its noise, empty where there is none.
    """

    time: np.ndarray
    size: np.ndarray
    cut: np.ndarray
    K: np.ndarray
    frame: np.ndarray
    box: np.ndarray
    keypoints: np.ndarray
    confidence: np.ndarray
    score: np.ndarray
    group: np.ndarray
    betas: np.ndarray
    misfit: np.ndarray
    probability: np.ndarray
    other: np.ndarray
    left_out: np.ndarray
    detector: np.ndarray


CHUNK_ARRAYS = tuple(field.name for field in fields(Chunk))
SMALL_ARRAYS = tuple(name for name in CHUNK_ARRAYS if name != "group")
"""All but the groups, which are nearly all of the bytes."""


class ChunkFolder:
    """The chunks of one clip in a folder that is held alone."""

    def __init__(self, folder: Path):
        self.folder = folder

    @staticmethod
    @contextmanager
    def held(folder: Path, plan: dict[str, Any]) -> Iterator[ChunkFolder]:
        """Hold a folder for this plan; what another plan left there is removed.

        Raises HeldElsewhereError where another process answers the same clip into it, and InputError where something
        else lies there.
        """
        with held_folder(folder, "answering this clip"):
            chunks = ChunkFolder(folder)
            remove_parts(folder)
            if not chunks._is_of(plan):
                chunks._clear()
                write_json(folder / "plan.json", plan)
            yield chunks

    def has(self, number: int) -> bool:
        """Whether a chunk is committed."""
        return self._path(number).is_file()

    def commit(self, number: int, chunk: Chunk) -> None:
        """Write a chunk, whole or not at all."""
        write_npz(self._path(number), {name: getattr(chunk, name) for name in CHUNK_ARRAYS}, compressed=False)

    def read(self, number: int, names: tuple[str, ...] = CHUNK_ARRAYS) -> dict[str, np.ndarray]:
        """Arrays of a committed chunk by name."""
        return read_npz(self._path(number), names)

    def chunk(self, number: int) -> Chunk:
        """A committed chunk."""
        return Chunk(**self.read(number))

    def finish(self, record: dict[str, Any]) -> None:
        """Say that all chunks are there, and what was met."""
        write_json(self.folder / "frames.json", record)

    def finished(self) -> dict[str, Any] | None:
        """What `finish` said, or None where frames are still missing."""
        path = self.folder / "frames.json"
        return read_json(path, "the record of answered frames") if path.is_file() else None

    def remove(self) -> None:
        """Remove everything but the lock and the folder."""
        self._clear()

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk_{number:05d}.npz"

    def _is_of(self, plan: dict[str, Any]) -> bool:
        path = self.folder / "plan.json"
        if not path.is_file():
            return False
        try:
            return read_json(path, "the plan of a clip") == plan
        except InputError:  # not ours to trust: frames are answered anew
            return False

    def _clear(self) -> None:
        for file in [*self.folder.glob("chunk_*.npz"), self.folder / "frames.json", self.folder / "plan.json"]:
            file.unlink(missing_ok=True)
