"""Video files as frames: upright, by their own time, until what is damaged, within the budget."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from hmralign.data.video.clip import VideoBudget, rate_of
from hmralign.data.video.frame_folder import FrameFolder
from hmralign.data.video.video_file import VideoFile
from hmralign.data.video.video_writer import video_writer
from hmralign.structures import InputError
from support.clips import plain_pictures, require_av, write_clip, write_sound

av = require_av()


def corners(rgb):
    """Which of the four corners is red: top left, top right, bottom right, bottom left."""
    parts = [rgb[:8, :8], rgb[:8, -8:], rgb[-8:, -8:], rgb[-8:, :8]]
    return [bool(p[..., 0].mean() > 150 and p[..., 2].mean() < 100) for p in parts]


def marked(size=(64, 48)):
    picture = np.full((size[1], size[0], 3), 60, np.uint8)
    picture[:16, :16] = (250, 20, 20)
    return picture


def test_frames_come_in_order_with_their_times_and_pixels(tmp_path):
    pictures = plain_pictures(12)
    clip = VideoFile(write_clip(tmp_path / "a.mp4", pictures))
    frames = list(clip.frames())
    assert [f.number for f in frames] == list(range(12)) and clip.notes == []
    assert np.allclose([f.time for f in frames], np.arange(12) / 30, atol=1e-3)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.rgb.astype(int) - picture).mean() < 12
    again = list(clip.frames())
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, again, strict=True))


def test_a_varying_rate_keeps_its_time_stamps(tmp_path):
    times = [0.0, 0.03, 0.06, 0.2, 0.21, 0.5]
    clip = VideoFile(write_clip(tmp_path / "vfr.mp4", plain_pictures(6), times))
    read = [f.time for f in clip.frames()]
    assert np.allclose(read, times, atol=2e-3)
    assert rate_of(read)[1] and not rate_of([0.0, 0.0333, 0.0667, 0.1])[1]


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_phone_held_upright_gives_upright_frames(tmp_path, rotation):
    path = write_clip(tmp_path / "phone.mp4", [marked()] * 3, rotation=rotation)
    rgb = next(VideoFile(path).frames()).rgb
    expected = np.rot90(marked(), rotation // 90)  # the file asks to be turned counter-clockwise by that much
    assert rgb.shape == expected.shape
    assert corners(rgb) == corners(expected)


def test_a_truncated_file_gives_the_frames_until_then_and_says_so(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4", plain_pictures(60), options={"crf": "20", "g": "10", "bf": "0"},
        container_options={"movflags": "faststart"},
    )  # fmt: skip
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * 0.7)])
    clip = VideoFile(cut)
    count = len(list(clip.frames()))
    assert 5 < count < 60
    assert len(clip.notes) == 1 and str(count) in clip.notes[0]


def test_a_damaged_file_gives_what_is_before_the_damage(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", plain_pictures(40), codec="mpeg4")
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle:] = b"\0" * (len(data) - middle)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(bytes(data))
    clip = VideoFile(broken)
    count = len(list(clip.frames()))
    assert 0 < count < 40 and clip.notes


@pytest.mark.parametrize("kind", ["nothing", "text", "sound", "no_frames", "missing", "folder", "header"])
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, kind):
    path = tmp_path / "x.mp4"
    if kind == "nothing":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no film\n" * 100)
    elif kind == "sound":
        write_sound(path)
    elif kind == "header":
        path.write_bytes(write_clip(tmp_path / "w.mp4", plain_pictures(20)).read_bytes()[:600])
    elif kind == "no_frames":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.start_encoding()
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InputError) as caught:
        list(VideoFile(path).frames())
    assert "x.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_the_budget_ends_a_clip_and_says_so(tmp_path):
    path = write_clip(tmp_path / "a.mp4", plain_pictures(30))
    few = VideoFile(path, VideoBudget(max_frames=7))
    assert len(list(few.frames())) == 7 and "first 7 frames" in few.notes[0]
    short = VideoFile(path, VideoBudget(max_seconds=0.5))
    assert len(list(short.frames())) == 16 and "0.5 s" in short.notes[0]
    exact = VideoFile(path, VideoBudget(max_frames=30))
    assert len(list(exact.frames())) == 30 and exact.notes == []
    with pytest.raises(InputError, match="64 x 48 pixels"):
        list(VideoFile(path, VideoBudget(max_pixels=1000)).frames())
    with pytest.raises(InputError, match="positive"):
        VideoBudget(max_frames=0)


def test_4k_frames_are_read(tmp_path):
    pictures = plain_pictures(2, (3840, 2160))
    path = write_clip(tmp_path / "4k.mp4", pictures, options={"preset": "ultrafast", "crf": "30"})
    assert [f.rgb.shape for f in VideoFile(path).frames()] == [(2160, 3840, 3)] * 2


def test_a_still_image_is_a_clip_of_one_frame(tmp_path):
    Image.fromarray(marked()).save(tmp_path / "still.jpg")
    frames = list(VideoFile(tmp_path / "still.jpg").frames())
    assert len(frames) == 1 and frames[0].rgb.shape == (48, 64, 3)


def test_a_playlist_opens_no_other_file(tmp_path):
    write_clip(tmp_path / "secret.ts", plain_pictures(5))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        list(VideoFile(playlist).frames())
    concat = tmp_path / "concat.mp4"
    concat.write_text(f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n")
    with pytest.raises(InputError):
        list(VideoFile(concat).frames())


def test_without_pyav_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", plain_pictures(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'hmralign\[video\]'"):
        VideoFile(path)


def test_what_is_written_is_read_with_its_times(tmp_path):
    pictures, times = plain_pictures(5), [0.0, 0.04, 0.1, 0.3, 0.35]
    with video_writer(tmp_path / "film.mp4", (64, 48), 25.0) as writer:
        for time, picture in zip(times, pictures, strict=True):
            writer.write(time, picture)
        with pytest.raises(InputError, match="32 x 48"):
            writer.write(0.4, pictures[0][:, :32])
    frames = list(VideoFile(tmp_path / "film.mp4").frames())
    assert np.allclose([f.time for f in frames], times, atol=2e-3)
    assert np.abs(frames[4].rgb.astype(int) - pictures[4]).mean() < 20
    with pytest.raises(InputError, match="even"), video_writer(tmp_path / "odd.mp4", (63, 48), 25.0):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4"]


def test_a_film_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), video_writer(tmp_path / "film.mp4", (64, 48), 25.0) as writer:
        writer.write(0.0, plain_pictures(1)[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def folder_of(tmp_path, names, size=(40, 32)):
    folder = tmp_path / "frames"
    folder.mkdir()
    for k, name in enumerate(names):
        Image.fromarray(np.full((size[1], size[0], 3), 10 * k, np.uint8)).save(folder / name)
    return folder


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    folder = folder_of(tmp_path, ["f_1.png", "f_2.png", "f_10.png"])
    clip = FrameFolder(folder, fps=10.0)
    frames = list(clip.frames())
    assert [f.name for f in frames] == ["f_1.png", "f_2.png", "f_10.png"]
    assert [f.time for f in frames] == [0.0, 0.1, 0.2] and [int(f.rgb.mean()) for f in frames] == [0, 10, 20]
    assert clip.notes == ["the frames are taken to be 1/10 s apart, as pictures carry no time"]


def test_a_frame_that_cannot_be_read_keeps_its_moment_and_is_said(tmp_path):
    folder = folder_of(tmp_path, ["1.png", "2.png", "3.png"])
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)).save(file, "PNG")
    (folder / "2.png").write_bytes(file.getvalue()[:200])
    clip = FrameFolder(folder)
    frames = list(clip.frames())
    assert [f.rgb is None for f in frames] == [False, True, False]
    assert "frame 1 cannot be read" in clip.notes[1] and "2.png" in clip.notes[1]


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        FrameFolder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="matches no image"):
        FrameFolder(tmp_path / "empty")
    folder = folder_of(tmp_path, ["1.png"])
    with pytest.raises(InputError, match="positive"):
        FrameFolder(folder, fps=0.0)
    with pytest.raises(InputError, match="40 x 32 pixels"):
        list(FrameFolder(folder, budget=VideoBudget(max_pixels=100)).frames())
    (folder / "1.png").write_bytes(b"x")
    with pytest.raises(InputError, match="no frame of"):
        list(FrameFolder(folder).frames())


def test_the_hash_of_a_folder_knows_its_pictures_names_and_rate(tmp_path):
    folder = folder_of(tmp_path, ["1.png", "2.png"])
    first = FrameFolder(folder).sha256
    assert FrameFolder(folder).sha256 == first != FrameFolder(folder, fps=25.0).sha256
    (folder / "2.png").rename(folder / "3.png")
    assert FrameFolder(folder).sha256 != first
