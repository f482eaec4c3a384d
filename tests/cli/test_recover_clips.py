"""`hmralign recover clip.mp4`: what it writes, says and refuses."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from hmralign.cli.main import main
from support.clips import alphapose_frames, moving_keypoints, person_pictures, plain_pictures, require_av, write_clip
from support.recover_example import write_keypoints

require_av()


class Clips:
    def __init__(self, folder, checkpoint):
        self.folder, self.checkpoint, self.out = folder, checkpoint, folder / "out"
        self.clip = write_clip(folder / "walk.mp4", person_pictures(6))
        self.keypoints = folder / "k.json"
        self.keypoints.write_text(json.dumps(alphapose_frames(moving_keypoints(6))))

    def recover(self, *inputs, **options):
        chosen = {"checkpoint": self.checkpoint, "keypoints": self.keypoints, "out": self.out, "num_hypotheses": 2}
        arguments = []
        for name, value in (chosen | options).items():
            if value is not None:
                flag = f"--{name.replace('_', '-')}"
                arguments += [flag] if value is True else [flag, str(value)]
        return main(["recover", *(str(i) for i in inputs or [self.clip]), *arguments])


@pytest.fixture
def clips(tmp_path, checkpoint):
    return Clips(tmp_path, checkpoint)


def test_a_clip_becomes_a_folder_and_is_not_done_twice(clips, capsys):
    assert clips.recover() == 0
    said = capsys.readouterr()
    folder = clips.out / "walk"
    assert said.out.strip() == f"1 track in 1 clip: see {folder / 'report.html'}"
    assert sorted(p.name for p in folder.iterdir()) == ["overlay.mp4", "report.html", "track_0", "video.json"]
    assert sorted(p.name for p in clips.out.iterdir()) == ["run.yaml", "walk"]  # no answered frames are left
    when = (folder / "video.json").stat().st_mtime_ns
    assert clips.recover(json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["clips"][0]["skipped"] and document["clips"][0]["tracks"][0]["frames"] == 6
    assert (folder / "video.json").stat().st_mtime_ns == when


def test_another_setting_needs_overwrite(clips, capsys):
    assert clips.recover(no_pictures=True) == 0
    assert clips.recover(no_pictures=True, seed=1) == 2
    assert "other settings" in capsys.readouterr().err
    assert clips.recover(no_pictures=True, seed=1, overwrite=True) == 0
    assert sorted(p.name for p in (clips.out / "walk").iterdir()) == ["track_0", "video.json"]


def test_a_folder_of_frames_with_video_is_one_clip(clips, capsys):
    folder = clips.folder / "frames"
    folder.mkdir()
    for number, picture in enumerate(person_pictures(4)):
        Image.fromarray(picture).save(folder / f"f_{number}.png")
    keypoints = write_keypoints(
        clips.folder / "named.json", {f"f_{n}.png": list(k) for n, k in enumerate(moving_keypoints(4))}
    )
    assert clips.recover(folder, video=True, fps=25, keypoints=keypoints, no_pictures=True) == 0
    record = json.loads((clips.out / "frames" / "video.json").read_text())
    assert record["clip"]["fps"] == 25 and record["tracks"][0]["frames"] == 4
    assert "1/25 s apart" in capsys.readouterr().err


def test_of_several_clips_a_bad_one_is_listed(clips, capsys):
    (clips.folder / "bad.mp4").write_text("no film")
    assert clips.recover(clips.clip, clips.folder / "bad.mp4", no_pictures=True) == 3
    (line,) = (clips.out / "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["file"].endswith("bad.mp4") and "no video that can be read" in json.loads(line)["error"]
    assert "1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"boxes": "k.json", "keypoints": None}, "--boxes says who is in photos"),
        ({"keep": 3}, "--keep is about meshes of photos"),
        ({"weighed_by": "scorer"}, "--weighed-by is about photos"),
        ({"fps": 25}, "a time of its own"),
        ({"max_frames": 0}, "expected positive numbers"),
    ],
)
def test_options_that_do_not_fit_a_clip_are_refused(clips, capsys, options, words, monkeypatch):
    monkeypatch.chdir(clips.folder)
    assert clips.recover(**options) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.parametrize("flag", ["--fps=25", "--max-seconds=2", "--max-frames=3"])
def test_options_of_clips_are_refused_for_photos(clips, capsys, flag):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(clips.folder / "p.png")
    assert main(["recover", str(clips.folder / "p.png"), "--keypoints", str(clips.keypoints), flag]) == 2
    assert "is about clips" in capsys.readouterr().err


def test_photos_and_clips_do_not_mix(clips, capsys):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(clips.folder / "p.png")
    assert clips.recover(clips.clip, clips.folder / "p.png") == 2
    assert "run of its own" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["nowhere.mp4", "*.webm"])
def test_what_is_not_there_is_said(clips, capsys, given):
    assert clips.recover(clips.folder / given) == 2
    assert given in capsys.readouterr().err


def test_a_run_that_was_stopped_leaves_no_result_and_goes_on(clips, capsys, monkeypatch):
    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hmralign.systems.video.clip_answers.write_clip", stopped)
        assert clips.recover() == 130
    assert not (clips.out / "walk").exists() and (clips.out / ".frames-walk" / "frames.json").is_file()
    assert clips.recover() == 0 and not (clips.out / ".frames-walk").exists()


def test_a_clip_nobody_is_in_gives_a_folder_that_says_so(clips, capsys):
    empty = write_clip(clips.folder / "empty.mp4", plain_pictures(3))
    clips.keypoints.write_text(json.dumps(alphapose_frames(moving_keypoints(20))[10:]))
    assert clips.recover(empty) == 0
    assert "nobody was found in any frame" in capsys.readouterr().err
    record = json.loads((clips.out / "empty" / "video.json").read_text())
    assert record["tracks"] == [] and record["clip"]["frames_without_people"] == [[0, 2]]
    shutil.rmtree(clips.out)
