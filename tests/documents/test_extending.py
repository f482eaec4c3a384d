"""The examples of docs/extending.md work as they stand, from a folder outside of the package."""

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.cli.main import main
from hmralign.geometry.rotations import rotmat_to_rotvec
from support.recover_example import example_photo, write_keypoints
from support.synthetic_persons import persons
from support.toy_policy import shard_folder

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/extending.md").read_text()


@pytest.fixture()
def outside(tmp_path, monkeypatch):
    """A folder with the files of the document, in which commands are run."""
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)```", TEXT, re.S):
        (tmp_path / code[0]).write_text(code[1])
    return tmp_path


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *words: str) -> Ended:
    """A command in the folder; one that begins anew finds the files as they are then, as a process of its own would."""
    assert Path.cwd() == folder
    for name in [name for name in sys.modules if name.startswith("hmralign_extension_")]:
        del sys.modules[name]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Ended(code, out.getvalue(), err.getvalue())


def test_a_critic_from_outside_scores_groups_and_its_scores_are_kept(outside):
    shard_folder(outside / "shards", 6)
    words = ["groups", "shards", "--critic", "upright.py:make", "reprojection", "--out", "groups", "--group-size", "4"]
    found = run(outside, *words, "--checkpoint", "lite", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["critics"] == ["reprojection", "upright.make"]
    again = run(outside, "groups", "groups", "--critic", "upright.py:make", "--json")
    assert again.returncode == 0, again.stderr
    (outside / "upright.py").write_text((outside / "upright.py").read_text().replace("pelvis[..., 1] -", "-"))
    other = run(outside, "groups", "groups", "--critic", "upright.py:make", "--json")
    assert other.returncode == 2 and "other settings" in other.stderr, "another code is another critic"


def test_a_method_from_outside_aligns_by_its_own_settings(outside):
    shard_folder(outside / "shards", 6)
    words = ["groups", "shards", "--critic", "reprojection", "--out", "groups", "--group-size", "4"]
    assert run(outside, *words, "--checkpoint", "lite").returncode == 0
    words = ["align", "--groups", "groups", "--config", "settings.yaml", "--critic", "reprojection", "--out", "run"]
    found = run(outside, *words, "squared.py:make")
    assert found.returncode == 0, found.stderr
    assert "Aligning by squared.py:make, following reprojection." in found.stdout + found.stderr
    record = (outside / "run/run.yaml").read_text()
    assert "method: squared.py:make" in record and "target: 0.1" in record and "dpo" not in record
    (outside / "squared.py").write_text((outside / "squared.py").read_text().replace(".square()", ".abs()"))
    other = run(outside, *words, "squared.py:make")
    assert other.returncode == 2 and "was made with made_by.method_sha256" in other.stderr, (
        "another code is another method"
    )
    (outside / "settings.yaml").write_text("method: squared.py:make\n")
    named = run(outside, *words)
    assert named.returncode == 2 and "on the command line" in named.stderr, "a file never names code"


def test_a_policy_from_outside_recovers_people(outside):
    rgb, keypoints = example_photo()
    Image.fromarray(rgb).save(outside / "photo.png")
    write_keypoints(outside / "people.json", {"photo.png": [keypoints]})
    words = ["recover", "photo.png", "--keypoints", "people.json", "--num-hypotheses", "5", "--out", "out"]
    found = run(outside, *words, "--checkpoint", "resting.py:make")
    assert found.returncode == 0, found.stderr
    with np.load(next((outside / "out").rglob("hypotheses.npz"))) as arrays:
        assert any(arrays[name].shape[:1] == (5,) or arrays[name].shape[1:2] == (5,) for name in arrays.files)


@pytest.mark.parametrize(
    ("name", "said"),
    [("nobody.py:make", "no such file"), ("upright.py:other", "has no 'other'"), ("upright.py:make", "is no policy")],
)
def test_what_is_no_policy_is_said_in_a_sentence(name, said, outside):
    rgb, keypoints = example_photo()
    Image.fromarray(rgb).save(outside / "photo.png")
    write_keypoints(outside / "people.json", {"photo.png": [keypoints]})
    found = run(outside, "recover", "photo.png", "--keypoints", "people.json", "--checkpoint", name, "--out", "out")
    assert found.returncode == 2 and said in found.stderr and "Traceback" not in found.stderr


def labelled_file(path: Path, n: int = 6) -> None:
    """Persons as the data set of the document keeps them: y up, centimetres."""
    example = persons(n, known=1.0)
    turn, body = torch.diag(torch.tensor([1.0, -1.0, -1.0])), example.annotation.body
    rotmats = torch.cat([(turn @ body.global_orient)[:, None], body.body_pose], 1)
    coco = torch.cat([example.observation.keypoints, example.observation.confidence[..., None]], -1)[:, :17]
    place = 100 * (turn @ body.transl[..., None])[..., 0]
    arrays = {"pose": rotmat_to_rotvec(rotmats), "betas": body.betas, "place_cm": place, "coco": coco,
              "K": example.observation.K}  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{name: value.numpy() for name, value in arrays.items()})


def test_a_data_set_from_outside_is_evaluated_on_and_gives_groups(outside):
    labelled_file(outside / "DIR/val.npz")
    given = ["--data", "DIR", "--dataset", "labelled.py:make", "--split", "val"]
    found = run(outside, "evaluate", "lite", *given, "--out", "evaluation", "--num-hypotheses", "12", "--json")
    assert found.returncode == 0, found.stderr
    record = json.loads(found.stdout)["predictors"]["lite"]
    assert record["protocol"]["split"] == "labelled/val" and record["protocol"]["persons"] == 6
    assert record["protocol"]["benchmark"] == "made up for this page"
    words = ["groups", *given, "--critic", "oracle", "--with-truth", "--group-size", "4", "--out", "groups"]
    made = run(outside, *words, "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert document["source"] == "labelled/val" and document["groups"] == 6


def test_what_is_no_data_set_is_said_in_a_sentence(outside):
    given = ["evaluate", "lite", "--data", "DIR", "--out", "evaluation", "--dataset"]
    for name, said in (
        ("upright.py:make", "cannot be called with (folder, split, setting)"),
        ("4dpw", "there is no data set '4dpw'; expected one of"),
    ):
        found = run(outside, *given, name, "--split", "val")
        assert found.returncode == 2 and said in found.stderr and "Traceback" not in found.stderr


def test_a_detector_from_outside_finds_people(outside):
    Image.fromarray(example_photo()[0]).save(outside / "photo.png")
    words = ["recover", "photo.png", "--detector", "standing.py:make", "--num-hypotheses", "5", "--out", "out"]
    found = run(outside, *words, "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["photos"][0]["people"]) == 1
    record = (outside / "out/run.yaml").read_text()
    assert "name: standing-" in record, "another file is another detector"
    made = run(outside, "groups", "photo.png", "--detector", "standing.py:make", "--critic", "reprojection",
               "--group-size", "4", "--out", "groups", "--json")  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["groups"] == 1


def test_what_is_no_detector_is_said_in_a_sentence(outside):
    Image.fromarray(example_photo()[0]).save(outside / "photo.png")
    for name, said in (("openpose", "expected 'mediapipe', 'vitpose'"), ("upright.py:make", "no detector")):
        found = run(outside, "recover", "photo.png", "--detector", name, "--out", "out")
        assert found.returncode == 2 and said in found.stderr and "Traceback" not in found.stderr
