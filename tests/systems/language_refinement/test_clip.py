"""Stretches of a clip: a seen frame stands for each; offsets change slowly, and frames without one follow."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.structures import InputError
from hmralign.systems.language_refinement.clip import Stretch, _moved, stretches_of
from hmralign.systems.video.people import body_params
from hmralign.systems.video.stored import StoredClip, StoredTrack
from hmralign.tracking.person_track import PersonTrack

BODY = load_free_body("3k5")


def track(interpolated):
    count = len(interpolated)
    return PersonTrack(
        first=5, time=np.arange(count) / 30, rotmats=np.tile(np.eye(3, dtype=np.float32), (count, 24, 1, 1)),
        betas=np.zeros(BODY.num_betas, np.float32), transl=np.tile(np.float32([0, 0, 4]), (count, 1)),
        joints=np.zeros((count, 29, 3), np.float32), spread=np.zeros((count, 29), np.float32),
        interpolated=np.asarray(interpolated), exchanged=np.zeros(count, bool),
        keypoints=np.zeros((count, 27, 3), np.float32), box=np.zeros((count, 4), np.float32), score=np.zeros(count),
        K=np.tile(np.eye(3), (count, 1, 1)), size=np.tile([64, 48], (count, 1)),
    )  # fmt: skip


def stored(*tracks):
    return StoredClip(Path("clip"), {}, tuple(StoredTrack(f"track_{n}", t, {}) for n, t in enumerate(tracks)))


def test_the_30th_of_every_60_frames_is_described_or_the_seen_one_that_is_nearest():
    seen = np.zeros(150, bool)
    assert stretches_of(stored(track(seen)), [0]) == [
        Stretch(0, 29, 0, 59), Stretch(0, 89, 60, 119), Stretch(0, 134, 120, 149)
    ]  # fmt: skip
    gap = seen.copy()
    gap[25:36], gap[60:120] = True, True
    assert stretches_of(stored(track(gap)), [0]) == [Stretch(0, 24, 0, 59), Stretch(0, 134, 120, 149)]
    both = stored(track(seen[:10]), track(seen[:4]))
    assert [s.track for s in stretches_of(both, [1])] == [1] and len(stretches_of(both, both.numbers(()))) == 2
    assert both.numbers(("track_1", "1")) == (1,)
    with pytest.raises(InputError, match="no person 'track_7'"):
        both.numbers(("track_7",))


def test_offsets_are_smoothed_and_frames_without_one_follow_their_neighbours():
    before = track(np.zeros(120, bool))
    turn = torch.zeros(24, 3)
    turn[16, 2] = math.radians(40)

    def bodies(row, share):
        one = body_params(before, slice(row, row + 1))[0]
        return replace(one, body_pose=one.body_pose @ rotvec_to_rotmat(share * turn[1:]), transl=one.transl + share)

    refined = {row: bodies(row, 1.0 if row < 60 else 0.0) for row in range(120) if not 20 <= row < 26}
    after = _moved(before, refined, BODY)
    angle = rotmat_to_rotvec(torch.from_numpy(after.rotmats[:, 16]))[:, 2].rad2deg().numpy()
    assert angle[:30] == pytest.approx(40, abs=2.0), "the gap from 20 to 25 too"
    assert angle[100:] == pytest.approx(0, abs=2.0) and np.abs(np.diff(angle)).max() < 8, "no jump of 40 degrees"
    assert after.transl[:20] == pytest.approx(before.transl[:20] + 1, abs=0.05)
    assert np.abs(after.joints).max() > 0.1 and np.array_equal(after.betas, before.betas)
    assert _moved(before, {}, BODY) is before
