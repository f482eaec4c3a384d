"""Which frames of a video are described: every frame is spoken for once, by a frame in the middle of its stretch."""

import pytest

from hmralign.refinement.description.frames import described_frames
from hmralign.structures import InputError


@pytest.mark.parametrize("count", [1, 2, 59, 60, 61, 89, 130, 600])
def test_every_frame_is_spoken_for_once(count):
    found = described_frames(count)
    spoken = [frame for d in found for frame in range(d.first, d.last + 1)]
    assert spoken == list(range(count))
    assert all(d.first <= d.frame <= d.last for d in found)


def test_the_thirtieth_of_every_sixty():
    assert [d.frame + 1 for d in described_frames(180)] == [30, 90, 150]
    assert [d.frame for d in described_frames(4, every=2)] == [0, 2]


@pytest.mark.parametrize(("count", "every"), [(0, 60), (10, 0)])
def test_no_frames_are_refused(count, every):
    with pytest.raises(InputError, match="at least 1"):
        described_frames(count, every)
