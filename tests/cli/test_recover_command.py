"""`hmralign recover` from arguments to files, on keypoint files and a tiny random checkpoint."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from hmralign.cli import ctrl_c
from hmralign.cli import recover as recover_module
from hmralign.cli.main import main
from hmralign.cli.terminal import Terminal
from hmralign.detection.find_people import people_from_array
from hmralign.systems.recover import outputs
from support import forked
from support.recover_example import example_photo

PERSON_FILES = {
    "summary.json", "hypotheses.npz", "fused.glb", "fused.obj", "best.glb", "best.obj", "overlay.png",
    "contact_sheet.png",
}  # fmt: skip


def test_one_photo_gives_all_files_and_one_line(example, capsys):
    assert example.recover() == 0
    folder = example.out / "photo"
    assert {p.name for p in folder.iterdir()} == {"report.html", "overlay.png", "photo.json", "person_0"}
    assert {p.name for p in (folder / "person_0").iterdir()} == PERSON_FILES
    out, err = capsys.readouterr()
    assert out == f"1 person in 1 photo: see {folder / 'report.html'}\n" and err == ""
    assert {p.name for p in example.out.iterdir()} == {"photo", "run.yaml"}  # nothing half done is left


def test_the_report_of_a_single_photo_leads_nowhere(example):
    assert example.recover() == 0
    assert "href" not in (example.out / "photo/report.html").read_text().split("</header>")[0].split("</style>")[1]


def test_no_pictures_leaves_numbers_and_no_report_leaves_the_rest(example, capsys):
    assert example.recover(no_pictures=True) == 0
    folder = example.out / "photo"
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "photo.json", "person_0/summary.json", "person_0/hypotheses.npz",
    }  # fmt: skip
    assert capsys.readouterr().out == f"1 person in 1 photo: see {folder}\n"
    assert example.recover(no_report=True, overwrite=True) == 0
    assert {p.name for p in folder.iterdir()} == {"overlay.png", "photo.json", "person_0"}
    assert example.recover(no_pictures=True, keep=2, overwrite=True) == 2
    assert "--no-pictures" in capsys.readouterr().err


def test_a_name_that_is_no_utf8_is_shown_with_a_substitute_sign(example, capsys):
    for name in (b"caf\xe9.png", b"na\xefve.jpg", b"a.png"):
        path = os.path.join(os.fsencode(example.folder), b"photos", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(example.photo.read_bytes() if name.endswith(b"png") else b"no picture")
    box = example.folder / "box.json"
    box.write_text("[[20, 10, 140, 190]]")
    photos, options = str(example.folder / "photos"), ["--boxes", str(box), "--detector", "none"]
    options += ["--out", str(example.out), "--checkpoint", str(example.checkpoint), "--num-hypotheses", "2"]
    assert main(["recover", photos, *options]) == 3
    page = (example.out / "report.html").read_text(encoding="utf-8")
    assert "caf\ufffd.png" in page and 'href="caf%E9/report.html"' in page and "na\ufffdve.jpg" in page
    (failed,) = [json.loads(line) for line in (example.out / "failures.jsonl").read_text().splitlines()]
    assert failed["file"].endswith("na\ufffdve.jpg")
    made = {os.fsencode(p.name) for p in example.out.iterdir() if p.is_dir()}
    assert made == {b"caf\xe9", b"a"} and "2 people in 2 photos, 1 failed" in capsys.readouterr().out


def test_of_a_folder_what_is_not_used_is_counted(example, capsys):
    folder = example.folder / "photos"
    folder.mkdir()
    shutil.copy(example.photo, folder / example.photo.name)
    for name in ("IMG_0001.CR2", "IMG_0002.CR2", "clip.mov", "list.txt"):
        (folder / name).touch()
    assert example.recover(folder) == 0
    err = capsys.readouterr().err
    assert err.count("warning:") == 1 and "not used: 2 RAW photos, 1 text file, 1 video (" in err


def test_a_mistyped_checkpoint_loads_nothing(example, tmp_path):
    script = """
import sys
from hmralign.cli.main import main
code = main(["recover", "photo.jpg", "--checkpoint", "lte"])
print(code, *(name for name in ("torch", "numpy", "PIL") if name in sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert run.stdout == "2\n" and "lte: no such checkpoint (shipped: lite, lite-lab, pixel" in run.stderr


def test_the_package_runs_as_a_module(tmp_path):
    run = subprocess.run([sys.executable, "-m", "hmralign", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("hmralign ")


def test_the_bar_counts_people(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Terminal().steps(2, "recovering people") as steps:
        steps.more(2)
        steps.done(3)
        steps.done()
        one = steps.of_one()
        one.more(2)
        one.done()
        one.over()
    assert (one.finished, one.added) == (3, 2) and (steps.finished, steps.added) == (7, 4)


def folder_of(example, count):
    photos = example.folder / "photos"
    photos.mkdir()
    for number in range(count):
        Image.fromarray(np.roll(example.rgb, number, axis=1)).save(photos / f"{number}.png")
    return photos, example.write_keypoints(*(f"{n}.png" for n in range(count)))


def files_of(folder):
    """Content of what is the same on every run: numbers, pictures and meshes."""
    kinds = {".npz", ".png", ".obj", ".glb"}
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.suffix in kinds}


def test_photos_side_by_side_give_the_files_of_one_after_the_other(example, tmp_path, monkeypatch):
    photos, keypoints = folder_of(example, 7)
    (photos / "bad.png").write_text("no image")
    monkeypatch.setattr(recover_module, "_at_once", lambda photos, options: 3)
    assert example.recover(photos, keypoints=keypoints) == 3
    monkeypatch.setattr(recover_module, "_at_once", lambda photos, options: 1)
    assert example.recover(photos, keypoints=keypoints, out=tmp_path / "one") == 3
    there = files_of(example.out)
    assert len(there) == 7 * 8 and there == files_of(tmp_path / "one")
    assert "bad.png" in (example.out / "failures.jsonl").read_text()


def test_photos_are_alone_where_an_error_stops_or_the_model_is_somebody_elses():
    two = ["a.jpg", "b.jpg"]
    alone = [recover_module.RecoverOptions(skip_bad=False), recover_module.RecoverOptions(checkpoint="mine.py:make")]
    assert [recover_module._at_once(two, o) for o in alone] == [1, 1]
    assert recover_module._at_once(two[:1], recover_module.RecoverOptions()) == 1
    assert recover_module._at_once(two, recover_module.RecoverOptions()) > 1


def ended_in_a_folder(words, number):
    """A signal while the third photo is drawn; Ctrl-C reaches the main thread alone, and the others have to see it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctrl_c.notice()
    drawn, write = [], outputs.write_report

    def end(*arguments):
        drawn.append(1)
        if len(drawn) == 3:
            os.kill(os.getpid(), number)
        return write(*arguments)

    outputs.write_report = end
    return main(words)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_folder_that_was_ended_has_whole_photos_alone_and_goes_on(example, monkeypatch, number, code):
    photos, keypoints = folder_of(example, 12)
    monkeypatch.setattr(recover_module, "_at_once", lambda photos, options: 3)
    words = ["recover", photos, "--checkpoint", example.checkpoint, "--keypoints", keypoints, "--out", example.out,
             "--num-hypotheses", "2", "--quiet"]  # fmt: skip
    assert forked.run(lambda: ended_in_a_folder([str(w) for w in words], number)) == code
    left = [p for p in example.out.iterdir() if p.is_dir()]
    drafts = [p for p in left if p.name.startswith(".hmralign-part-")]
    assert len(drafts) <= (3 if number == signal.SIGKILL else 0) and len(left) < 12
    assert all((p / "photo.json").is_file() for p in left if p not in drafts)
    assert main([str(w) for w in words]) == 0
    assert {p.name for p in example.out.iterdir() if p.is_dir()} == {str(n) for n in range(12)}


def test_keep_writes_more_meshes(example):
    assert example.recover(num_hypotheses=4, keep="all") == 0
    names = {p.name for p in (example.out / "photo" / "person_0").iterdir()}
    more = {name for name in names - PERSON_FILES if name.startswith("rank_00")}
    assert len(more) == 6 and names == PERSON_FILES | more


def test_json_is_the_only_thing_on_stdout(example, capsys):
    assert example.recover(json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["photos"][0]["people"][0]["selected_index"] in (0, 1)
    assert document["photos"][0]["image"]["size"] == [160, 200] and document["failures"] == []


def test_quiet_says_nothing(example, capsys):
    assert example.recover(quiet=True) == 0
    assert capsys.readouterr() == ("", "")


def test_the_run_file_repeats_the_run(example, tmp_path):
    assert example.recover(seed=7, refine=None) == 0
    run = yaml.safe_load((example.out / "run.yaml").read_text())
    assert run["options"]["seed"] == 7 and len(run["made_by"]["checkpoint"]["sha256"]) == 64
    assert main(["recover", "--config", str(example.out / "run.yaml"), "--out", str(tmp_path / "again")]) == 0
    first, second = (np.load(o / "photo" / "person_0" / "hypotheses.npz", allow_pickle=False)
                     for o in (example.out, tmp_path / "again"))  # fmt: skip
    for name in first.files:
        assert np.array_equal(first[name], second[name]), name


def test_a_finished_photo_is_skipped_and_other_settings_are_refused(example, capsys, monkeypatch):
    assert example.recover() == 0
    before = (example.out / "photo" / "photo.json").stat().st_mtime_ns
    assert example.recover() == 0
    assert "1 done before" in capsys.readouterr().out
    assert example.recover(seed=1) == 2
    assert "overwrite" in capsys.readouterr().err
    assert (example.out / "photo" / "photo.json").stat().st_mtime_ns == before
    assert example.recover(seed=1, overwrite=True) == 0
    assert json.loads((example.out / "photo" / "person_0" / "summary.json").read_text())["seed"] == 1
    assert {p.name for p in example.out.iterdir()} == {"photo", "run.yaml"}


def test_a_changed_keypoint_file_is_another_run(example):
    assert example.recover() == 0
    example.write_keypoints("photo.png", points=example.points + np.array([1.0, 0, 0]))
    assert example.recover() == 2


def test_foreign_files_are_never_replaced(example, capsys):
    (example.out / "photo").mkdir(parents=True)
    (example.out / "photo" / "diary.txt").write_text("mine")
    assert example.recover(overwrite=True) == 2
    assert "no earlier output" in capsys.readouterr().err
    assert (example.out / "photo" / "diary.txt").read_text() == "mine"


def test_a_folder_goes_on_past_bad_photos(example, capsys):
    photos = example.folder / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(example.photo, photos / name)
    (photos / "b.jpg").write_text("no image")
    keypoints = example.write_keypoints("a.png", "b.jpg", "c.png")
    assert example.recover(photos, keypoints=keypoints) == 3
    lines = [json.loads(line) for line in (example.out / "failures.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [str(photos / "b.jpg")] and "not an image" in lines[0]["error"]
    assert {p.name for p in example.out.iterdir()} == {"a", "c", "run.yaml", "failures.jsonl", "report.html"}
    page = (example.out / "report.html").read_text()
    assert 'href="a/report.html"' in page and 'href="c/report.html"' in page and "b.jpg" in page
    assert '<a href="../report.html">All photos</a>' in (example.out / "a/report.html").read_text()
    out, err = capsys.readouterr()
    assert "2 people in 2 photos, 1 failed" in out and "b.jpg" in err

    # A second run does only what is missing, and forgets failures that are mended.
    shutil.copy(example.photo, photos / "b.jpg")
    assert example.recover(photos, keypoints=keypoints) == 0
    assert "2 done before" in capsys.readouterr().out and not (example.out / "failures.jsonl").exists()


def test_no_skip_bad_stops_at_the_first(example, capsys):
    photos = example.folder / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("no image")
    shutil.copy(example.photo, photos / "b.png")
    keypoints = example.write_keypoints("a.jpg", "b.png")
    assert example.recover(photos, keypoints=keypoints, no_skip_bad=True) == 2
    assert "a.jpg" in capsys.readouterr().err and not (example.out / "b").exists()


def test_when_all_photos_fail_it_is_wrong_input(example, capsys):
    (example.folder / "x.jpg").write_text("no image")
    (example.folder / "y.jpg").write_text("no image")
    assert example.recover(example.folder / "x.jpg", example.folder / "y.jpg") == 2
    assert "all 2 photos failed" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (RuntimeError, 1), (OSError, 2)])
def test_what_ends_a_run_leaves_nothing_half_done(example, capsys, monkeypatch, error, code):
    def fail(*args, **kwargs):
        raise error("disk")

    monkeypatch.setattr("hmralign.systems.recover.outputs.person_summary", fail)
    monkeypatch.delenv("HMRALIGN_DEBUG", raising=False)
    assert example.recover() == code
    err = capsys.readouterr().err
    assert "Traceback" not in err and err.count("\n") == 1
    assert {p.name for p in example.out.iterdir()} == {"run.yaml"}


def test_debug_shows_the_traceback(example, capsys, monkeypatch):
    monkeypatch.setenv("HMRALIGN_DEBUG", "1")
    (example.folder / "x.jpg").write_text("no image")
    assert example.recover(example.folder / "x.jpg") == 2
    assert "Traceback" in capsys.readouterr().err


def test_several_people_of_one_photo(example):
    two = example.points.copy()
    two[:, 0] += 10
    file = example.folder / "two.json"
    recover_file = json.loads(example.keypoints.read_text())
    from support.recover_example import alphapose_entry

    file.write_text(json.dumps([*recover_file, alphapose_entry("photo.png", two)]))
    assert example.recover(keypoints=file) == 0
    summaries = [json.loads((example.out / "photo" / f"person_{n}" / "summary.json").read_text()) for n in (0, 1)]
    assert [s["person"] for s in summaries] == [0, 1]
    assert summaries[1]["box"][0] == pytest.approx(summaries[0]["box"][0] + 10, abs=0.02)


class OneReader:
    """A detector that reads the example's person in boxes of its size, and nobody in others."""

    versions: dict = {}  # noqa: RUF012

    def __call__(self, image):
        return []

    def detect_in_box(self, image, box):
        person = people_from_array(example_photo()[1])[0]
        return person if np.abs(person.box - box).max() < 1 else None

    def close(self):
        pass


def boxes_run(example, boxes, *arguments):
    file = example.folder / "boxes.json"
    file.write_text(json.dumps({"boxes": {"photo.png": boxes}}))
    return main(["recover", str(example.photo), "--boxes", str(file), "--checkpoint", str(example.checkpoint),
                 "--num-hypotheses", "2", "--out", str(example.out), *arguments])  # fmt: skip


def strict(text):
    """JSON as the standard has it: no NaN."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(word))


def test_everybody_in_a_box_is_recovered_whether_the_detector_reads_them_or_not(example, capsys, monkeypatch):
    monkeypatch.setattr("hmralign.detection.mediapipe_detector.MediapipeDetector", OneReader)
    seen = [float(v) for v in people_from_array(example.points)[0].box]
    assert boxes_run(example, [[100, 20, 150, 180], seen], "--json") == 0
    out, err = capsys.readouterr()
    people = strict(out)["photos"][0]["people"]
    assert [person["box_only"] for person in people] == [True, False]
    assert (
        people[0]["box"] == [100, 20, 150, 180]
        and "known only by a box (nobody was read in it)" in err
        and "person 0\n" in err
    )
    assert people[0]["fused"] == dict.fromkeys(people[0]["fused"]) and people[1]["fused"]["reprojection_px"] > 0
    for number, box_only in enumerate((True, False)):
        folder = example.out / "photo" / f"person_{number}"
        summary = strict((folder / "summary.json").read_text())
        assert summary["box_only"] is box_only and (summary["detection_score"] is None) is box_only
        assert bool(np.load(folder / "hypotheses.npz", allow_pickle=False)["box_only"]) is box_only
    page = (example.out / "photo" / "report.html").read_text(encoding="utf-8")
    assert "Person 0: known only by a box" in page and "no confident keypoints to compare with" in page


def test_boxes_without_a_detector(example, capsys):
    assert boxes_run(example, [[10, 20, 60, 120], [-20, 90, 30, 230]], "--detector", "none") == 0
    out, err = capsys.readouterr()
    assert (
        "2 people in 1 photo" in out and err.count("warning") == 1 and "no detector, which would read it better" in err
    )
    again = boxes_run(example, [[10, 20, 60, 120], [-20, 90, 30, 230]], "--detector", "none")
    assert again == 0 and "1 done before" in capsys.readouterr().out


def test_given_intrinsics_reach_the_summary(example):
    assert main(["recover", str(example.photo), "--keypoints", str(example.keypoints), "--checkpoint",
                 str(example.checkpoint), "--out", str(example.out), "--num-hypotheses", "2",
                 "--intrinsics", "275", "275", "79.5", "99.5"]) == 0  # fmt: skip
    camera = json.loads((example.out / "photo" / "photo.json").read_text())["camera"]
    assert camera == {"K": [[275.0, 0.0, 79.5], [0.0, 275.0, 99.5], [0.0, 0.0, 1.0]], "source": "given"}


def test_frames_of_one_stem_do_not_collide(example):
    folders = [example.folder / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        Image.fromarray(example.rgb).save(folder / "frame.png")
    keypoints = example.write_keypoints("frame.png")
    assert example.recover(*folders, keypoints=keypoints) == 0
    assert {p.name for p in example.out.iterdir() if p.is_dir()} == {"one_frame_png", "two_frame_png"}


def test_an_unexpected_error_in_one_photo_is_recorded_as_one(example, monkeypatch):
    photos = example.folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(example.photo, photos / name)
    whole = recover_module.recover_photo

    def fail(recoverer, photo, *rest):
        if photo.name == "a.png":
            raise ZeroDivisionError("defect")
        return whole(recoverer, photo, *rest)

    monkeypatch.setattr(recover_module, "recover_photo", fail)
    assert example.recover(photos, keypoints=example.write_keypoints("a.png", "b.png")) == 3
    line = json.loads((example.out / "failures.jsonl").read_text())
    assert line["kind"] == "unexpected" and "ZeroDivisionError" in line["error"]


def test_a_full_disk_is_no_fault_of_a_photo(example, capsys, monkeypatch):
    """It ends the run of several photos with one sentence that names what could not be written."""
    photos = example.folder / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(example.photo, photos / name)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hmralign.systems.recover.outputs.person_summary", full)
    assert example.recover(photos, keypoints=example.write_keypoints("a.png", "b.png")) == 2
    assert capsys.readouterr().err == f"hmralign: {example.out / 'a'}: No space left on device\n"
    assert {p.name for p in example.out.iterdir()} == {"run.yaml"}


def killed_command(words):
    outputs.write_report = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    return main(words)


def test_the_next_run_removes_what_a_killed_one_left(example):
    arguments = ["recover", example.photo, "--checkpoint", example.checkpoint, "--keypoints", example.keypoints,
                 "--out", example.out, "--num-hypotheses", "2", "--quiet"]  # fmt: skip
    assert forked.run(lambda: killed_command([str(a) for a in arguments])) == -signal.SIGKILL
    assert [p.name[:15] for p in example.out.iterdir() if p.is_dir()] == [".hmralign-part-"]
    assert main([str(a) for a in arguments]) == 0
    assert {p.name for p in example.out.iterdir()} == {"photo", "run.yaml"}
