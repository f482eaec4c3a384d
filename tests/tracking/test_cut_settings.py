"""Each bar of a cut has its say: a change above the others is none where one bar is not reached."""

import numpy as np
import pytest

from hmralign.tracking.cuts import CutConfig, CutDetector

DARK, BRIGHT = (np.full((32, 32, 3), value, np.uint8) for value in (20, 230))


def cuts(frames, config=None):
    detector = CutDetector(config)
    return [detector.is_cut(frame) for frame in frames]


@pytest.mark.parametrize("bar", [{"histogram": 1.1}, {"pixels": 1.1}])
def test_a_bar_that_cannot_be_reached_finds_nothing(bar):
    assert cuts([DARK, BRIGHT]) == [False, True]
    assert cuts([DARK, BRIGHT], CutConfig(**bar)) == [False, False]


def partly(share):
    """Dark, and bright in its upper rows."""
    frame = DARK.copy()
    frame[: int(32 * share)] = 230
    return frame


def test_what_is_usual_raises_the_bar():
    restless = [partly(0.25 * (number % 2)) for number in range(9)]  # a quarter of the picture changes each time
    frames = [*restless, partly(0.5)]  # then half of it
    assert cuts(frames, CutConfig(times_usual=3.0))[-1] is False
    assert cuts(frames, CutConfig(times_usual=1.5))[-1] is True
