"""A folder of pictures as a clip, in the order of the numbers in their names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hmralign.data.images import DOWNSCALE_PIXELS, expand_inputs, load_image
from hmralign.data.video.clip import Frame, VideoBudget
from hmralign.structures import InputError
from hmralign.structures.counted import counted


class FrameFolder:
    """Pictures of one folder at a fixed rate; see `Clip`.

    A picture that cannot be read keeps its moment, and nobody is seen in it; a note says so.
    """

    def __init__(self, folder: str | Path, fps: float = 30.0, budget: VideoBudget | None = None):
        """Raises InputError for a folder without pictures, and a rate that is not positive."""
        if not 0 < fps < 100_000:
            raise InputError(f"{fps} frames per second; expected a positive number")
        if not Path(folder).is_dir():
            raise InputError(f"'{folder}' is no folder; expected a folder of frames")
        self._folder, self._fps, self._budget = Path(folder), fps, budget or VideoBudget()
        self._files = sorted(expand_inputs([self._folder]), key=natural_order)
        self._notes: list[str] = []

    @property
    def name(self) -> str:
        """Path, as it was given."""
        return str(self._folder)

    @property
    def sha256(self) -> str:
        """Hash of the pictures' names and bytes, and of the rate."""
        digest = hashlib.sha256(repr(self._fps).encode())
        for file in self._files:
            digest.update(file.name.encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def notes(self) -> list[str]:
        """What the reading met."""
        return list(self._notes)

    def frames(self) -> Iterator[Frame]:
        """The pictures in order. Raises InputError where none can be read, or one is beyond the budget."""
        notes = [f"the frames are taken to be 1/{self._fps:g} s apart, as pictures carry no time"]
        read, budget = 0, self._budget
        for number, file in enumerate(self._files):
            time = number / self._fps
            if number >= budget.max_frames or time > budget.max_seconds:
                there = counted(len(self._files), "frame")
                notes.append(f"only the first {number} of {there} are used, as the budget allows")
                break
            rgb = None
            try:
                rgb = self._loaded(file)
            except _TooLarge as error:
                raise InputError(str(error)) from error
            except InputError as error:
                notes.append(f"frame {number} cannot be read and counts as one without people: {error}")
            read += rgb is not None
            yield Frame(number, time, rgb, file.name)
        if read == 0:
            raise InputError(f"no frame of '{self._folder}' can be read; {notes[-1]}")
        self._notes = notes

    def _loaded(self, file: Path) -> UInt8[np.ndarray, "height width 3"]:
        image = load_image(file)
        width, height = image.original_size
        if width * height > self._budget.max_pixels or image.scale != (1.0, 1.0):
            raise _TooLarge(
                f"'{file}' has {width} x {height} pixels; expected at most "
                f"{min(self._budget.max_pixels, DOWNSCALE_PIXELS) / 1e6:g} megapixels for a frame"
            )
        return image.rgb


class _TooLarge(Exception):
    """A frame is beyond the budget: the whole clip is refused, as the others are hardly smaller."""


def natural_order(file: Path) -> tuple[tuple[int, int, str], ...]:
    """A key by which 2.png comes before 10.png.

    >>> sorted([Path("10.png"), Path("2.png")], key=natural_order)[0].name
    '2.png'
    """
    parts = re.split(r"([0-9]+)", file.name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)
