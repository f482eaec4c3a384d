"""What a clip is to the rest of the package: upright frames with times, one after the other, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from hmralign.structures import InputError

NOMINAL_TOLERANCE = 0.1
"""Share of the usual distance of frames by which a distance may differ before the rate counts as variable: containers
round time stamps to their own ticks."""


@dataclass(frozen=True)
class Frame:
    """One frame: `number` counts from 0 within the clip, `time` is seconds from the first frame, `name` a file's.

    `rgb` is None for a picture of a folder that could not be read: its moment counts, and nobody is seen in it.
    """

    number: int
    time: float
    rgb: UInt8[np.ndarray, "height width 3"] | None
    name: str


@dataclass(frozen=True)
class VideoBudget:
    """How much of a clip is decoded. A frame that is too large is refused; a clip that is too long is used until then,
    and that is said."""

    max_pixels: int = 36_000_000
    """Pixels of one frame at most; 8K has 33 million."""
    max_frames: int = 36_000
    """Ten minutes at 60 frames a second."""
    max_seconds: float = 1800.0
    """Seconds of the clip at most, by its time stamps."""

    def __post_init__(self) -> None:
        """Raise InputError for a budget that leaves nothing."""
        if min(self.max_pixels, self.max_frames) < 1 or not self.max_seconds > 0:
            raise InputError(
                f"the budget of {self.max_pixels} pixels, {self.max_frames} frames and {self.max_seconds:g} s leaves "
                "nothing to decode; expected positive numbers"
            )


@runtime_checkable
class Clip(Protocol):
    """A clip that can be read from its beginning as often as one likes; each time gives the same frames."""

    @property
    def name(self) -> str:
        """Path, as it was given."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of all bytes that decide the frames."""
        ...

    @property
    def notes(self) -> list[str]:
        """What a reader must know about the frames, in sentences; complete once the frames were read to the end."""
        ...

    def frames(self) -> Iterator[Frame]:
        """The frames in order. Raises InputError where there is none, or one is beyond the budget."""
        ...


def rate_of(times: list[float] | np.ndarray) -> tuple[float, bool]:
    """Frames per second by the median distance of frames, and whether the distances vary.

    One frame alone has no rate: 1, not varying.

    >>> rate_of([0.0, 0.5, 1.0])
    (2.0, False)
    >>> rate_of([0.0, 0.5, 1.0, 3.0])
    (2.0, True)
    """
    steps = np.diff(np.asarray(times, np.float64))
    if len(steps) == 0:
        return 1.0, False
    usual = float(np.median(steps))
    return 1 / usual, bool((np.abs(steps - usual) > NOMINAL_TOLERANCE * usual).any())
