"""A run that is killed between two chunks goes on, and ends with the same bytes as a straight one."""

import os
import signal
import time

import numpy as np
import pytest

from hmralign.storage.folder_lock import HeldElsewhereError, held_folder
from support import forked
from support.clips import moving_keypoints, person_pictures, require_av, write_clip
from support.video_example import SMALL_CHUNKS, tiny_recoverer

require_av()


@pytest.fixture
def folder(tmp_path):
    write_clip(tmp_path / "walk.mp4", person_pictures(24))
    return tmp_path


def test_a_killed_run_goes_on_and_ends_the_same(folder):
    def answer():
        tiny_recoverer(folder).video(
            folder / "walk.mp4", keypoints=moving_keypoints(24), config=SMALL_CHUNKS, work=folder / "work"
        )

    process = forked.start(answer)
    while not (folder / "work" / "chunk_00001.npz").exists():
        assert forked.runs(process), "the run ended before it could be killed"
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    assert forked.end(process) == -signal.SIGKILL
    committed = {p.name: p.stat().st_mtime_ns for p in (folder / "work").glob("chunk_*.npz")}
    assert 2 <= len(committed) < 6 and not (folder / "work" / "frames.json").exists()

    recoverer = tiny_recoverer(folder)
    straight = recoverer.video(folder / "walk.mp4", keypoints=moving_keypoints(24), config=SMALL_CHUNKS)
    resumed = recoverer.video(
        folder / "walk.mp4", keypoints=moving_keypoints(24), config=SMALL_CHUNKS, work=folder / "work"
    )
    for name, when in committed.items():
        assert (folder / "work" / name).stat().st_mtime_ns == when
    assert np.array_equal(resumed[0].joints, straight[0].joints) and resumed.notes == straight.notes
    assert np.array_equal(resumed[0].spread, straight[0].spread)


def test_answered_frames_are_not_answered_again(folder, monkeypatch):
    recoverer = tiny_recoverer(folder)
    given = {"keypoints": moving_keypoints(24), "config": SMALL_CHUNKS, "work": folder / "work"}
    first = recoverer.video(folder / "walk.mp4", **given)
    monkeypatch.setattr("hmralign.systems.video.answer_frames.frame_groups", lambda *_: pytest.fail("answered again"))
    again = recoverer.video(folder / "walk.mp4", **given)
    assert np.array_equal(first[0].joints, again[0].joints)


def test_other_settings_begin_anew(folder):
    recoverer = tiny_recoverer(folder)
    given = {"config": SMALL_CHUNKS, "work": folder / "work"}
    first = recoverer.video(folder / "walk.mp4", keypoints=moving_keypoints(24), **given)
    second = recoverer.video(folder / "walk.mp4", keypoints=moving_keypoints(24, 2.0), **given)
    assert not np.array_equal(first[0].joints, second[0].joints)
    assert len(list((folder / "work").glob("chunk_*.npz"))) == 6


def test_two_runs_do_not_answer_the_same_clip_at_once(folder):
    with held_folder(folder / "work", "answering this clip"), pytest.raises(HeldElsewhereError, match="answering"):
        tiny_recoverer(folder).video(
            folder / "walk.mp4", keypoints=moving_keypoints(24), config=SMALL_CHUNKS, work=folder / "work"
        )
