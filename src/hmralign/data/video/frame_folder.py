"""A folder of pictures as a clip, in the order of the numbers in their names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from hmralign.data.images import expand_inputs, load_image
from hmralign.data.video.clip import Frame, VideoBudget
from hmralign.structures import InputError


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
                notes.append(f"only the first {number} of {len(self._files)} frames are used, as the budget allows")
                break
            rgb, problem = None, ""
            try:
                rgb = load_image(file).rgb
            except InputError as error:
                problem = str(error)
            if rgb is not None and rgb.shape[0] * rgb.shape[1] > budget.max_pixels:
                raise InputError(
                    f"'{file}' has {rgb.shape[1]} x {rgb.shape[0]} pixels; expected at most "
                    f"{budget.max_pixels / 1e6:g} megapixels"
                )
            if problem:
                notes.append(f"frame {number} cannot be read and counts as one without people: {problem}")
            read += rgb is not None
            yield Frame(number, time, rgb, file.name)
        if read == 0:
            raise InputError(f"no frame of '{self._folder}' can be read; {notes[-1]}")
        self._notes = notes


def natural_order(file: Path) -> tuple[tuple[int, int, str], ...]:
    """A key by which 2.png comes before 10.png.

    >>> sorted([Path("10.png"), Path("2.png")], key=natural_order)[0].name
    '2.png'
    """
    parts = re.split(r"([0-9]+)", file.name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)
