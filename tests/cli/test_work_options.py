"""`--shard`, `--workers` and `--collect` of the commands: what they write is what one process writes."""

import builtins
import json
import os
import sys

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from support.group_stores import files_of, shard_folder

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
