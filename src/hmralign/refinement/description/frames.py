"""Which frames of a video are described, and for which frames a description stands.

Source: VL-feedback (paper 003), sec. V-B: a person hardly moves in a short time, so the 30th frame of every 60 speaks
for all 60.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmralign.structures import InputError

FRAMES_PER_DESCRIPTION = 60
"""At 30 frames per second, two seconds."""


@dataclass(frozen=True)
class DescribedFrame:
    """A frame to be described, and the frames `first` to `last` (included) that its description stands for."""

    frame: int
    first: int
    last: int


def described_frames(count: int, every: int = FRAMES_PER_DESCRIPTION) -> tuple[DescribedFrame, ...]:
    """The frames of a video of `count`, counted from 0: number `every` / 2 of each stretch, counted from 1.

    A last stretch that is shorter is described by its own middle. Raises InputError for a video without frames.

    >>> [(d.frame, d.first, d.last) for d in described_frames(130)]
    [(29, 0, 59), (89, 60, 119), (124, 120, 129)]
    """
    if count < 1 or every < 1:
        raise InputError(f"a video of {count} frames, described every {every}; expected at least 1 of both")
    starts = range(0, count, every)
    lasts = (min(start + every, count) - 1 for start in starts)
    return tuple(
        DescribedFrame(start + max((last - start + 1) // 2 - 1, 0), start, last)
        for start, last in zip(starts, lasts, strict=True)
    )
