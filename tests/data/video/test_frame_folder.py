"""A folder of pictures as a clip: in the order of their numbers, broken ones keep their moment, budgets are said."""

import numpy as np
import pytest
from PIL import Image

from hmralign.data.video.clip import VideoBudget
from hmralign.data.video.frame_folder import FrameFolder
from hmralign.structures import InputError


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 10):
        Image.fromarray(np.full((64, 48, 3), number, np.uint8)).save(tmp_path / f"frame_{number}.png")
    return tmp_path


def test_frames_come_in_the_order_of_their_numbers(folder):
    clip = FrameFolder(folder, fps=10.0)
    frames = list(clip.frames())
    assert [int(f.rgb[0, 0, 0]) for f in frames] == [1, 2, 10]
    assert [f.time for f in frames] == pytest.approx([0, 0.1, 0.2])
    assert len(clip.notes) == 1 and "1/10 s" in clip.notes[0]


def test_a_broken_picture_keeps_its_moment(folder):
    (folder / "frame_2.png").write_bytes(b"no picture")
    clip = FrameFolder(folder)
    assert [f.rgb is None for f in clip.frames()] == [False, True, False]
    assert any("frame 1 cannot be read" in note for note in clip.notes)


@pytest.mark.parametrize("budget", [VideoBudget(max_frames=2), VideoBudget(max_seconds=0.05)])
def test_what_the_budget_leaves_out_is_said(folder, budget):
    clip = FrameFolder(folder, fps=30.0, budget=budget)
    assert len(list(clip.frames())) == 2
    assert any("only the first 2 of 3 frames" in note for note in clip.notes)


def test_a_frame_beyond_the_budget_refuses_the_clip(folder):
    with pytest.raises(InputError, match="48 x 64 pixels"):
        list(FrameFolder(folder, budget=VideoBudget(max_pixels=3000)).frames())


def test_the_hash_knows_names_contents_and_rate(folder):
    first = FrameFolder(folder, fps=10.0).sha256
    assert first == FrameFolder(folder, fps=10.0).sha256 != FrameFolder(folder, fps=11.0).sha256
    (folder / "frame_2.png").rename(folder / "frame_3.png")
    assert FrameFolder(folder, fps=10.0).sha256 != first


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e6])
def test_a_rate_that_is_none_is_refused(folder, fps):
    with pytest.raises(InputError, match="frames per second"):
        FrameFolder(folder, fps=fps)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        FrameFolder(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="no frame of"):
        list(FrameFolder(tmp_path).frames())
