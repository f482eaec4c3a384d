"""Video files, decoded by FFmpeg through PyAV: upright, with square pixels, by their own time stamps.

A video file is foreign input. It is handed to FFmpeg as a stream of bytes, with every protocol shut, so that a playlist
or a reference inside of it opens no other file and no address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmralign.data.images import MIN_SIDE
from hmralign.data.video.clip import Frame, VideoBudget
from hmralign.storage.limited_file import require_regular
from hmralign.structures import InputError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp"})
"""Files that `recover` takes for clips by their names; `--video` says it of any other."""

NEEDS_PYAV = "video files need the package av (PyAV): run `pip install 'hmralign[video]'`, or give a folder of frames"

_DEFAULT_RATE = 30.0
"""Frames a second where a file says nothing at all about time."""


def pyav() -> Any:
    """The module `av`, which says nothing of itself. Raises InputError, in one sentence, where it is missing."""
    try:
        import av
    except ImportError as error:
        raise InputError(NEEDS_PYAV) from error
    return av  # its log stays off, as by default: switched on, decoding threads may wait for Python's lock for ever


class VideoFile:
    """The first picture stream of a file; see `Clip`."""

    def __init__(self, path: str | Path, budget: VideoBudget | None = None):
        """Raises InputError for a file that is missing, no video, or holds no pictures, and without PyAV."""
        self._path, self._budget = Path(path), budget or VideoBudget()
        self._notes: list[str] = []
        self._sha256: str | None = None
        with self._opened():
            pass

    @property
    def name(self) -> str:
        """Path, as it was given."""
        return str(self._path)

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        if self._sha256 is None:
            digest = hashlib.sha256()
            with self._path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            self._sha256 = digest.hexdigest()
        return self._sha256

    @property
    def notes(self) -> list[str]:
        """What the decoding met."""
        return list(self._notes)

    def frames(self) -> Iterator[Frame]:
        """Upright frames in order. Raises InputError where no frame can be decoded, or one is beyond the budget."""
        with self._opened() as (container, stream):
            notes: list[str] = []
            clock = _Clock(stream)
            number, time, promised = 0, 0.0, int(stream.frames or 0)
            for picture in self._decoded(container, stream, notes):
                time = clock.at(picture)
                if self._is_enough(number, time, notes):
                    break
                yield Frame(number, time, self._upright(picture), f"{self._path.name} frame {number}")
                number += 1
            else:
                if not notes:
                    notes += _early_end(container, number, promised, time, clock.usual)
            if number == 0:
                raise InputError(f"'{self._path}': no frame of it can be decoded; expected a video with pictures")
            if clock.repaired:
                notes.append(
                    f"{clock.repaired} frames have no time stamp of their own, or one that does not grow; they are "
                    "taken to follow at the usual distance"
                )
            if self._shape != 1:
                notes.append(f"pixels that are {self._shape:.3g} times as wide as high are made square")
            self._notes = notes

    def _is_enough(self, number: int, time: float, notes: list[str]) -> bool:
        budget = self._budget
        if number >= budget.max_frames:
            notes.append(f"only the first {budget.max_frames} frames are used, as many as the budget allows")
        elif time > budget.max_seconds:
            notes.append(f"only the first {budget.max_seconds:g} s are used, as long as the budget allows")
        else:
            return False
        return True

    def _decoded(self, container: Any, stream: Any, notes: list[str]) -> Iterator[Any]:
        """Pictures until the end, or until what is damaged."""
        av = pyav()
        number = 0
        try:
            for picture in container.decode(stream):
                yield picture
                number += 1
        except av.error.FFmpegError as error:
            notes.append(
                f"the file is damaged behind frame {number} ({_reason(error)}); the frames until then are used"
            )

    def _upright(self, picture: Any) -> UInt8[np.ndarray, "height width 3"]:
        width, height = picture.width, picture.height
        if width * height > self._budget.max_pixels:
            raise InputError(
                f"'{self._path}' has frames of {width} x {height} pixels; expected at most "
                f"{self._budget.max_pixels / 1e6:g} megapixels"
            )
        if min(width, height) < MIN_SIDE:
            raise InputError(
                f"'{self._path}' has frames of {width} x {height} pixels; expected at least {MIN_SIDE} x {MIN_SIDE}"
            )
        square = round(width * self._shape)
        rgb = picture.reformat(width=square, height=height, format="rgb24").to_ndarray()
        quarters = round((picture.rotation or 0) / 90) % 4  # counter-clockwise, as the file asks to be shown
        return np.ascontiguousarray(np.rot90(rgb, quarters))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        av = pyav()
        if not self._path.exists():
            raise InputError(f"'{self._path}' does not exist; expected a video file")
        if self._path.is_dir():
            raise InputError(f"'{self._path}' is a folder; expected a video file")
        require_regular(self._path)
        with self._path.open("rb") as file:
            try:
                container = av.open(file, options={"protocol_whitelist": "none"})
            except (av.error.FFmpegError, OSError, ValueError) as error:
                raise InputError(
                    f"'{self._path}' is no video that can be read ({_reason(error)}); expected a video file"
                ) from error
            with container:
                pictures = [s for s in container.streams.video if not _is_cover(s)]
                if not pictures:
                    raise InputError(f"'{self._path}' holds no pictures, only sound or other data; expected a video")
                stream = pictures[0]
                stream.thread_type = "AUTO"
                self._shape = _pixel_shape(stream)
                yield container, stream


class _Clock:
    """Seconds from the first frame, always growing."""

    def __init__(self, stream: Any):
        rate = stream.average_rate or stream.guessed_rate
        self.usual = float(1 / rate) if rate else 1 / _DEFAULT_RATE
        self._start: float | None = None
        self._last = 0.0
        self.repaired = 0

    def at(self, picture: Any) -> float:
        """The time of the next picture."""
        stamp = None if picture.pts is None or picture.time_base is None else float(picture.pts * picture.time_base)
        if self._start is None:
            self._start = stamp if stamp is not None else 0.0
            return 0.0
        time = None if stamp is None else stamp - self._start
        if time is None or time <= self._last:
            self.repaired += 1
            time = self._last + self.usual
        self._last = time
        return time


def _early_end(container: Any, number: int, promised: int, time: float, usual: float) -> list[str]:
    """What is missing of the frames, or else of the time, that the file announces."""
    if promised:
        missing = number < promised
        return [f"the file ends after {number} of the {promised} frames that it announces"] if missing else []
    announced = (container.duration or 0) / 1e6
    if number and announced - time > max(5 * usual, 0.3):
        return [f"the file ends at {time:.2f} s of the {announced:.2f} s that it announces"]
    return []


def _is_cover(stream: Any) -> bool:
    """Whether a picture stream is the cover of a piece of music."""
    return "attached_pic" in str(stream.disposition)


def _pixel_shape(stream: Any) -> float:
    shape = stream.sample_aspect_ratio
    value = float(shape) if shape else 1.0
    # Encoders write 1.002 for sizes that they rounded; what is beyond reason is nothing that a camera makes.
    return value if 0.1 < value < 10 and abs(value - 1) > 0.02 else 1.0


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())
