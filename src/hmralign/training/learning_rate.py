"""The learning rate over a run: a linear rise, then a fall as a cosine (Loshchilov & Hutter 2017, eq. 5) or none."""

from __future__ import annotations

import math
from collections.abc import Callable


def warm_cosine(
    step: int, done: int | float, of: int | float = 1.0, *, peak: float, warmup: int, floor: float = 0.0,
    falls: bool = True,
) -> float:  # fmt: skip
    """Rate of a step, counted from 0, when `done` of `of` is behind it: steps of all steps, or a share of one.

    It rises over `warmup` steps, and falls to `floor` (a share of the peak) unless told to stay.

    >>> warm_cosine(99, 0.0, peak=1e-3, warmup=100)
    0.001
    >>> round(warm_cosine(500, 500, 1000, peak=1e-3, warmup=100), 6)
    0.0005
    """
    warm = peak * min(1.0, (step + 1) / max(warmup, 1))
    if not falls:
        return warm
    return warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done / of)))


def falling_rate(steps: int, peak: float) -> Callable[[int, float], float]:
    """Rate of a run of so many steps, as `LoopConfig` wants it: 100 of warm-up, then down to 1 % of `peak`."""
    return lambda step, _: warm_cosine(step, step, steps, peak=peak, warmup=100, floor=0.01)
