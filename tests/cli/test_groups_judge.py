"""`hmralign groups ... --critic vlm`: one command for what `groups` and `critic score` do, and what it refuses."""

import hashlib
import json

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from hmralign.vlm import backends
from hmralign.vlm.chat import ImagePart
from hmralign.vlm.scripted import Scripted
from support.group_stores import files_of, shard_folder

PERSONS, CALLS = 3, 2
SERVER = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m"]


def by_the_bytes(request) -> str:
    """Scores that depend on what is shown alone: an opinion without sense, but an opinion."""
    labels = list(request.schema["properties"])
    tiles = [part.sha256 for part in request.parts if isinstance(part, ImagePart)][-len(labels) :]
    scores = [int(hashlib.sha256(tile.encode()).hexdigest()[:6], 16) % 101 for tile in tiles]
    return json.dumps({k: {"score": s, "comment": "fits"} for k, s in zip(labels, scores, strict=True)})


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """In the place of a server."""
    backend = Scripted(by_the_bytes, model="m")

    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: backend)
    settings = {
        "judge": {
            "style": {"side": 64, "strip": 0, "views": "overlay"},
            "merge": {"alpha": 1.0, "min_reliability": 0.0},
        }
    }
    (tmp_path / "judge.yaml").write_text(yaml.safe_dump(settings))
    file = {"base_url": SERVER[1], "model": "m", "config": str(tmp_path / "judge.yaml"), "concurrency": 1}
    (tmp_path / "vlm.yaml").write_text(yaml.safe_dump(file))
    return backend


@pytest.fixture
def sample(tmp_path, checkpoint):
    shards = shard_folder(tmp_path / "shards", PERSONS)
    flags = ["--checkpoint", str(checkpoint), "--group-size", "4", "--num-steps", "2", "--shard-size", "2"]

    def run(*arguments, out="out"):
        return main(["groups", str(shards), "--out", str(tmp_path / out), *flags, *map(str, arguments)])

    return run


def refused(capsys, code, *words):
    out, err = capsys.readouterr()
    assert code == 2 and out == "", (code, out, err)
    assert err.startswith("hmralign: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, (word, err)


def test_one_command_writes_what_two_write(tmp_path, sample, judge, capsys):
    file = ["--vlm", tmp_path / "vlm.yaml"]
    assert sample("--critic", "reprojection", "vlm", *file, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["critics"] == ["reprojection", "vlm"]
    assert document["vlm"]["judged"] == PERSONS and document["vlm"]["calls"] == CALLS * PERSONS
    assert sample("--critic", "reprojection", out="two") == 0
    config = ["--config", str(tmp_path / "judge.yaml"), "--journal", str(tmp_path / "other.sqlite")]
    assert main(["critic", "score", str(tmp_path / "two"), *SERVER, *config]) == 0
    one, two = (
        {k: v for k, v in files_of(tmp_path / out).items() if k.startswith("scores/")} for out in ("out", "two")
    )
    assert one == two and "scores/vlm/verdicts_00001.jsonl" in one
    assert (tmp_path / "critic_journal.sqlite").is_file()


def test_a_second_run_asks_nothing_and_says_so(tmp_path, sample, judge, capsys):
    words = ["--critic", "vlm", "--vlm", tmp_path / "vlm.yaml"]
    assert sample(*words) == 0
    out = capsys.readouterr().out
    assert f"{PERSONS} of {PERSONS} groups judged with {CALLS * PERSONS} calls" in out and "scored by vlm: see" in out
    assert GroupStore.open(tmp_path / "out").critics() == ("vlm",)  # nobody else was named
    before, asked = files_of(tmp_path / "out"), len(judge.requests)
    assert sample(*words) == 0 and len(judge.requests) == asked
    assert "judged with 0 calls" in capsys.readouterr().out
    assert files_of(tmp_path / "out") == before


def test_a_store_is_scored_and_looked_at(tmp_path, sample, judge, capsys):
    assert sample("--quiet") == 0
    look = ["groups", str(tmp_path / "out"), "--critic", "vlm"]
    refused(capsys, main(look), "nobody to ask", "hmralign critic score")
    assert main([*look, "reprojection", "--vlm", str(tmp_path / "vlm.yaml"), "--stats"]) == 0
    assert "| vlm |" in capsys.readouterr().out
    asked = len(judge.requests)
    assert main([*look, "--stats"]) == 0 and len(judge.requests) == asked  # all scores are there: nobody is needed
    capsys.readouterr()
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"base_url": SERVER[1], "model": "m", "preset": "paper"}))
    refused(capsys, main([*look, "--vlm", str(other), "--quiet"]), "other settings")


def test_options_replace_the_file_and_scores_may_have_another_name(tmp_path, sample, judge, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(backends, "make_backend", lambda *words, **more: made.append((words, more)) or judge)
    content = yaml.safe_load((tmp_path / "vlm.yaml").read_text())
    (tmp_path / "vlm.yaml").write_text(yaml.safe_dump({**content, "name": "second", "timeout": 7.0}))
    words = ["--vlm", tmp_path / "vlm.yaml", "--base-url", "http://192.0.2.1/v1", "--allow-remote"]
    assert sample("--critic", "vlm", *words) == 0
    assert "scored by second: see" in capsys.readouterr().out
    (address, model, local), options = made[-1]
    assert (address, model, local) == ("http://192.0.2.1/v1", "m", None)
    assert options["allow_remote"] is True and options["timeout"] == 7.0
    assert GroupStore.open(tmp_path / "out").critics() == ("second",)


def test_a_budget_ends_it_and_the_other_scores_stay(tmp_path, sample, judge, capsys):
    content = yaml.safe_load((tmp_path / "vlm.yaml").read_text())
    small = tmp_path / "small.yaml"
    small.write_text(yaml.safe_dump({**content, "budget_calls": 3}))
    assert sample("--critic", "reprojection", "vlm", "--vlm", small) == 3
    out, err = capsys.readouterr()
    assert "the budget is 3" in err and "scored by reprojection: see" in out and len(judge.requests) == 3
    assert sample("--critic", "reprojection", "vlm", "--vlm", tmp_path / "vlm.yaml") == 0
    assert len(judge.requests) == CALLS * PERSONS


def test_what_is_refused_before_anything_is_sampled(tmp_path, sample, capsys):
    refused(capsys, sample("--critic", "vlm"), "nobody to ask", "--vlm", "hmralign critic score")
    refused(capsys, sample(*SERVER), "--base-url is for --critic vlm")
    refused(capsys, sample("--critic", "vlm", *SERVER[:2]), "name of a model")
    refused(capsys, sample("--critic", "vlm", *SERVER, "--local", tmp_path), "not both")
    refused(capsys, sample("--critic", "vlm", "--local", tmp_path / "none"), "no such folder")
    refused(capsys, sample("--critic", "vlm", *SERVER, "--memory", tmp_path / "none"), "memory", "no such file")
    remote = ["--critic", "vlm", "--base-url", "http://192.0.2.1/v1", "--model", "m"]
    refused(capsys, sample(*remote), "not this machine", "--allow-remote")
    file = tmp_path / "vlm.yaml"
    for text, word in (
        ("base_ulr: x", "unknown option 'base_ulr'"), ("store: x", "'store'"), ("quiet: true", "'quiet'"),
        ("model: m", "nobody to ask"), ("timeout: soon", "option 'timeout'"),
    ):  # fmt: skip
        file.write_text(text)
        refused(capsys, sample("--critic", "vlm", "--vlm", file), word)
    file.write_text("{base_url: 'http://192.0.2.7/v1', model: m, allow_remote: true}")
    refused(capsys, sample("--critic", "vlm", "--vlm", file, "--base-url", remote[3]), "not this machine")
    assert not (tmp_path / "out").exists()


def test_photos_of_people_stay_here(tmp_path, checkpoint, capsys):
    """Before a detector is even looked for."""
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    words = ["groups", str(tmp_path / "a.jpg"), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    remote = ["--critic", "vlm", "--base-url", "http://192.0.2.1/v1", "--model", "m"]
    refused(capsys, main([*words, *remote]), "--allow-remote")


def test_a_model_is_aligned_on_its_scores(tmp_path, sample, judge, checkpoint, capsys):
    assert sample("--critic", "vlm", "--vlm", tmp_path / "vlm.yaml", "--quiet") == 0
    config = tmp_path / "align.yaml"
    config.write_text(
        "{min_persons: 1, held_out_share: 0.0, training: {steps: 2, batch_size: 2, check_every: 2, save_every: 2},"
        " refresh: {rounds: 2}}"
    )
    words = [
        "align",
        "best-of-n",
        "--groups",
        str(tmp_path / "out"),
        "--critic",
        "vlm",
        "--checkpoint",
        str(checkpoint),
    ]
    refused(capsys, main([*words, "--config", str(config), "--out", str(tmp_path / "a"), "--quiet"]), "cannot be ref")
    config.write_text(config.read_text().replace("rounds: 2", "rounds: 1"))
    assert main([*words, "--config", str(config), "--out", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"] == PERSONS
