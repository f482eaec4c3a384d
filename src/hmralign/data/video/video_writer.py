"""Pictures into an mp4 file (H.264), each with its own moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmralign.data.video.video_file import pyav
from hmralign.storage.whole_file import whole_file
from hmralign.structures import InputError

_TICKS = 90_000
"""Ticks of a second; the usual ones of mp4."""


class VideoWriter:
    """Takes pictures one by one; made by `video_writer`."""

    def __init__(self, container: Any, stream: Any, size: tuple[int, int]):
        self._container, self._stream, self._size = container, stream, size

    def write(self, time: float, rgb: UInt8[np.ndarray, "height width 3"]) -> None:
        """Add a picture of the size (width, height) that was said, shown from `time` seconds on."""
        if (rgb.shape[1], rgb.shape[0]) != self._size:
            raise InputError(f"a picture of {rgb.shape[1]} x {rgb.shape[0]} pixels in a film of {self._size}")
        frame = pyav().VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base = round(time * _TICKS), Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))


@contextmanager
def video_writer(path: Path, size: tuple[int, int], fps: float) -> Iterator[VideoWriter]:
    """Write an mp4 file, whole or not at all; `size` is (width, height), both even, `fps` the usual rate.

    Raises InputError where PyAV, or an encoder for H.264 in it, is missing.
    """
    av = pyav()
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"pictures of {size[0]} x {size[1]} pixels; H.264 wants even numbers")
    with whole_file(path) as part, av.open(str(part), "w", format="mp4") as container:
        try:
            stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1000))
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError("PyAV here has no encoder for H.264; expected one from PyPI") from error
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.options = {"crf": "23", "preset": "veryfast"}
        yield VideoWriter(container, stream, size)
        container.mux(stream.encode(None))
