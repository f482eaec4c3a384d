"""Ten thousand frames take no more memory than a thousand (minutes: asked for by HMRALIGN_SLOW_TESTS=1)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "speed"))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_memory_is_flat_over_ten_thousand_frames(tmp_path):
    from support.video_example import tiny_recoverer
    from video_speed import run

    recoverer = tiny_recoverer(tmp_path)
    run(recoverer, 64)
    found = run(recoverer, 10_000)
    assert found["frames"] == 10_000 and sum(found["tracks"]) == 10_000
    # The tracks themselves are the answer: 10,000 frames of rotations, joints and doubt, twice while they are made.
    assert found["rss_mb_most"] - found["rss_mb_after_a_tenth"] < 150
