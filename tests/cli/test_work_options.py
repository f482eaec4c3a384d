"""`--shard`, `--workers` and `--collect` of the commands: what they write is what one process writes."""

import builtins
import json
import os
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from hmralign.storage.folder_lock import held_folder
from hmralign.vlm import backends
from hmralign.vlm.journal import Journal
from support.batch_answers import request_lines
from support.group_stores import files_of, shard_folder
from support.judged_stores import TruthJudge, judged_store

PERSONS = 5


@pytest.fixture
def groups(tmp_path, checkpoint):
    """Runs `hmralign groups` on five persons in shards of two."""
    source = shard_folder(tmp_path / "shards", PERSONS)

    def run(out, *arguments):
        options = ["--checkpoint", str(checkpoint), "--group-size", "4", "--num-steps", "2", "--shard-size", "2"]
        return main(["groups", str(source), "--out", str(tmp_path / out), *options, *arguments])

    return run


def content_of(folder):
    """All files but the run file, and what that one says beside the folder's own name."""
    files = files_of(folder)
    del files["run.yaml"]
    run = yaml.safe_load((folder / "run.yaml").read_text())
    del run["options"]["out"]
    return files, run


def refused(capsys, code, *words):
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.startswith("hmralign: ") and err.count("\n") == 1, (code, out, err)
    for word in words:
        assert word in err, (word, err)


def test_shares_of_groups_and_their_collection(groups, tmp_path, capsys):
    assert groups("straight", "--critic", "random", "mix") == 0
    capsys.readouterr()
    assert groups("out", "--critic", "random", "mix", "--shard", "2/2", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "format_version": 1, "out": str(tmp_path / "out"), "shard": "2/2", "units": 3, "made": 1, "missing": 2
    }  # fmt: skip
    refused(capsys, groups("out", "--critic", "random", "mix", "--collect", "--quiet"), "2 are missing")
    assert groups("out", "--critic", "random", "mix", "--shard", "1/2") == 0
    assert "2 of 2 units made now, none is missing" in capsys.readouterr().out
    assert groups("out", "--critic", "random", "mix", "--collect") == 0
    assert content_of(tmp_path / "out") == content_of(tmp_path / "straight")
    store = GroupStore.open(tmp_path / "out")
    assert store.content_hash() == GroupStore.open(tmp_path / "straight").content_hash()
    assert store.critics() == ("mix", "random") and len(store) == PERSONS


def test_a_pool_of_processes_for_groups(groups, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert groups("straight", "--critic", "random", "--quiet") == 0
    assert groups("out", "--critic", "random", "--workers", "2", "--quiet") == 0
    assert content_of(tmp_path / "out") == content_of(tmp_path / "straight")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shard", "3/2"), ("share 3 of 2", "K from 1 to N")),
        (("--shard", "one"), ("'one' is no share",)),
        (("--workers", "0"), ("--workers is 0",)),
        (("--shard", "1/2", "--workers", "2"), ("--shard and --workers are given",)),
        (("--collect", "--shard", "1/2"), ("--shard and --collect are given",)),
        (("--engine", "ray"), ("the engine ray needs the library", "hmralign[ray]")),
    ],
)
def test_options_that_are_wrong(groups, capsys, monkeypatch, arguments, words):
    real = builtins.__import__

    def without_ray(name, *rest, **how):
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest, **how)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    refused(capsys, groups("out", *arguments), *words)


def test_what_holds_groups_has_no_shares(groups, tmp_path, capsys):
    assert groups("out", "--quiet") == 0
    refused(capsys, main(["groups", str(tmp_path / "out"), "--shard", "1/2"]), "--shard is given", "holds groups")
    refused(capsys, main(["groups", str(tmp_path / "out"), "--workers", "2"]), "--workers is given", "holds groups")


# -- recover -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(example):
    """Three photos, the second of which is none, and their keypoints."""
    folder = example.folder / "photos"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(example.photo, folder / name)
    (folder / "b.jpg").write_text("no image")
    keypoints = example.write_keypoints("a.png", "b.jpg", "c.png")
    return partial(example.recover, folder, keypoints=keypoints, pictures=None, no_pictures=True)


def arrays_of(folder):
    """All hypotheses of all photos, and the list of failures."""
    found = {}
    for path in sorted(folder.glob("*/person_*/hypotheses.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found |= {(str(path.relative_to(folder)), name): arrays[name].tobytes() for name in arrays.files}
    return found, (folder / "failures.jsonl").read_text()


def test_shares_of_photos_and_their_collection(example, photos, tmp_path, capsys):
    assert photos() == SOME_FAILED and photos(out=tmp_path / "cut", shard="1/2") == 0
    capsys.readouterr()
    refused(capsys, photos(out=tmp_path / "cut", collect=True), "of 3 photos 1 are missing, the first is number 1")
    assert photos(out=tmp_path / "cut", shard="2/2", json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["units"], said["made"], said["missing"]) == (3, 1, 0)
    assert photos(out=tmp_path / "cut", shard="2/3", json=True) == 0  # a photo that failed is no work either
    assert json.loads(capsys.readouterr().out)["made"] == 0
    assert photos(out=tmp_path / "cut", collect=True) == SOME_FAILED
    out, err = capsys.readouterr()
    assert "2 people in 2 photos, 1 failed" in out and "b.jpg" in err
    assert arrays_of(tmp_path / "cut") == arrays_of(example.out) and len(arrays_of(example.out)[0]) > 4
    assert {p.name for p in (tmp_path / "cut").iterdir()} == {p.name for p in example.out.iterdir()}
    runs = [yaml.safe_load((folder / "run.yaml").read_text()) for folder in (tmp_path / "cut", example.out)]
    assert [run["options"].pop("out") for run in runs] and runs[0] == runs[1]


def test_what_shares_of_photos_refuse(example, photos, tmp_path, capsys):
    refused(capsys, photos(shard="1/2", overwrite=True), "--overwrite is for one process")
    assert photos(shard="2/2", seed=1) == 0
    capsys.readouterr()
    refused(capsys, photos(shard="2/2", seed=2), "facts.seed", "remove that folder to start over")
    clips = ["recover", str(tmp_path), "--video", "--shard", "1/2"]
    refused(capsys, main(clips), "--shard is given, but clips")


# -- clean -------------------------------------------------------------------------------------------------------------


def test_shares_of_labels(tmp_path, capsys):
    source = shard_folder(tmp_path / "shards", PERSONS)

    def clean(out, *arguments):
        chosen = ["--critic", "random", "--keep-share", "0.5", "--chunk-size", "2", "--sheet-items", "0", "--quiet"]
        return main(["clean", str(source), "--out", str(tmp_path / out), *chosen, *arguments])

    assert clean("straight") == 0
    assert clean("cut", "--shard", "2/2") == 0 and not (tmp_path / "cut/summary.json").exists()
    assert {p.name for p in (tmp_path / "cut/scores").iterdir()} == {"scores_00001.safetensors"}
    assert clean("cut", "--shard", "1/2") == 0 and clean("cut") == 0
    assert content_of(tmp_path / "cut") == content_of(tmp_path / "straight")
    assert clean("cut", "--shard", "1/2") == 0 and clean("cut") == 0  # nothing is left to do
    refused(capsys, clean("cut", "--shard", "1/2", "--seed", "4"), "seed")
    refused(capsys, clean("new", "--scores-from", "old", "--shard", "1/2"), "--shard is given, but --scores-from")


# -- critic score, export-batch ----------------------------------------------------------------------------------------

SERVER = ["--base-url", "http://127.0.0.1:9/v1", "--model", "scripted"]


@pytest.fixture
def judging(tmp_path, monkeypatch):
    """A store of three shards, its copy, a judge that knows their truth, and a way to let it score them."""
    folder = judged_store(tmp_path / "store/groups", count=5)
    live = shutil.copytree(folder, tmp_path / "live/groups")
    judge = TruthJudge(folder)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"judge": {"style": {"side": 64, "strip": 0}}}))

    def score(store, *arguments):
        return main(["critic", "score", str(store), *SERVER, "--config", str(tmp_path / "config.yaml"), *arguments])

    return folder, live, judge, score


def test_shares_of_a_store_are_scored_beside_each_other(judging, capsys):
    folder, live, judge, score = judging
    assert score(live) == 0 and score(folder, "--shard", "2/2") == 0
    assert GroupStore.open(folder).unscored("vlm") == [0, 2]
    with held_folder(folder, "at it", lock=".vlm.1-of-2.lock"):
        refused_twice = score(folder, "--shard", "1/2", "--quiet")
    assert refused_twice == 2 and "at share 1/2 of 'vlm'" in capsys.readouterr().err
    assert score(folder, "--shard", "1/2") == 0
    asked = len(judge.backend.requests)
    capsys.readouterr()
    assert score(folder, "--json") == 0 and len(judge.backend.requests) == asked  # nothing is left to do
    assert json.loads(capsys.readouterr().out)["judged"] == 5
    assert torch.equal(GroupStore.open(folder).scores("vlm"), GroupStore.open(live).scores("vlm"))
    with Journal.open(folder.with_name("critic_journal.sqlite")) as whole:
        assert whole.spent().calls == asked // 2
    names = {p.name for p in folder.parent.glob("critic_journal.*-of-*.sqlite")}
    assert names == {"critic_journal.1-of-2.sqlite", "critic_journal.2-of-2.sqlite"}


def test_requests_of_a_share_are_a_folder_with_one_file(judging, tmp_path, capsys):
    folder, _, _, _ = judging
    ids = {}
    for share in ("1/2", "2/2", "1/1"):
        out = tmp_path / share.replace("/", "-")
        arguments = ["--out", str(out), *SERVER[2:], "--config", str(tmp_path / "config.yaml"), "--shard", share]
        assert main(["critic", "export-batch", str(folder), *arguments]) == 0
        assert [p.name for p in out.glob("requests_*")] == ["requests_00000.jsonl"]
        ids[share] = [line["custom_id"] for line in request_lines(out)]
    assert sorted(ids["1/2"] + ids["2/2"]) == sorted(ids["1/1"]) and len(set(ids["1/1"])) == 10
    with Journal.open(folder.with_name("critic_journal.sqlite")) as journal:
        assert journal.spent().calls == 0
    capsys.readouterr()
    refused(capsys, main(["critic", "export-batch", str(folder), *arguments[:-1], "3/2"]), "share 3 of 2")
