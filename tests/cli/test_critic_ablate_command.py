"""`hmralign critic ablate` from a YAML file to a report; wrong input in one sentence."""

import json
from pathlib import Path

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.vlm import backends
from support.ablation_stores import PERSONS, STYLE, stores, study
from support.judged_stores import TruthJudge

ARMS = [{"name": "full"}, {"name": "no memory", "memory": False}, {"name": "base", "method": "none"}]
CALLS = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def file(tmp_path, made):
    path = tmp_path / "study.yaml"
    judge = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "concurrency": 1}
    path.write_text(yaml.safe_dump(study(made, arms=ARMS, judge=judge)))
    return path


@pytest.fixture
def judge(made, monkeypatch):
    truth = TruthJudge(Path(made["learn"]), Path(made["score"]), style=STYLE)
    monkeypatch.setattr("hmralign.studies.judge_ablations.judge.make_backend", lambda *_, **__: truth.backend)
    return truth.backend


def refused(capsys, code, *words, expected=2):
    out, err = capsys.readouterr()
    assert code == expected and out == "" and err.count("\n") == 1 and err.startswith("hmralign: "), (code, out, err)
    for word in words:
        assert word in err, (word, err)


def test_a_dry_run_asks_nobody_and_writes_nothing(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backends, "OpenAIChat", None)
    command = ["critic", "ablate", "--config", str(file), "--dry-run"]
    assert main(command) == 0
    out = capsys.readouterr().out
    full, bare = 2 * PERSONS * CALLS + PERSONS, PERSONS * CALLS
    assert f"| full | nothing |  | {full} |" in out and f"| no memory | memory: False |  | {bare} |" in out
    assert f"shared steps once | | | {full + bare} |" in out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["calls"] == full + bare
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


def test_a_budget_ends_the_study_and_more_of_it_goes_on(file, tmp_path, judge, capsys):
    command = ["critic", "ablate", "--config", str(file), "--out", str(tmp_path / "out")]
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "judge": {**content["judge"], "budget_calls": 11}}))
    refused(capsys, main([*command, "--quiet"]), "the budget is 11", "goes on", expected=3)
    assert len(judge.requests) == 11 and not (tmp_path / "out" / "gpa_ablations.md").exists()
    file.write_text(yaml.safe_dump(content))
    assert main(command) == 0
    out = capsys.readouterr().out
    calls = 3 * PERSONS * CALLS + PERSONS
    assert f"3 arms, judged by the model scripted behind http://127.0.0.1:9/v1, {calls} calls" in out
    report = (tmp_path / "out" / "gpa_ablations.md").read_text()
    assert report.splitlines()[2] == "**Judged by the model scripted behind http://127.0.0.1:9/v1.**"
    assert len(judge.requests) == calls
    assert main([*command, "--json"]) == 0 and len(judge.requests) == calls
    assert set(json.loads(capsys.readouterr().out)["arms"]) == {"full", "no memory", "base"}


def test_options_replace_the_judge(file, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "hmralign.studies.judge_ablations.judge.make_backend",
        lambda *words, **more: asked.append((words, more)) or 1 / 0,
    )
    command = ["critic", "ablate", "--config", str(file), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--base-url", "http://x/v1", "--model", "n", "--allow-remote"]) == 1
    assert asked[0][0] == ("http://x/v1", "n", None) and asked[0][1]["allow_remote"] is True
    assert main([*command, "--local", "models/q"]) == 1
    assert asked[1][0] == (None, None, Path("models/q")) and asked[1][1]["allow_remote"] is False
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "judge": {**content["judge"], "allow_remote": True}}))
    for words, allowed in (([], True), (["--base-url", "http://x/v1"], False)):
        assert main([*command, *words]) == 1 and asked[-1][1]["allow_remote"] is allowed
    capsys.readouterr()


def test_wrong_input_in_one_sentence(file, tmp_path, capsys):
    refused(capsys, main(["critic", "ablate", "--out", "x"]), "--config and --preset are missing", "gpa-ablations")
    refused(capsys, main(["critic", "ablate", "--config", str(file)]), "--out is missing")
    command = ["critic", "ablate", "--config", str(file), "--out", str(tmp_path / "out"), "--quiet"]
    refused(capsys, main([*command, "--threads", "0"]), "--threads is 0")
    refused(capsys, main([*command, "--base-url", "http://192.0.2.1/v1"]), "not this machine", "--allow-remote")
    refused(capsys, main([*command, "--base-url", "http//x"]), "no address")
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "judge": {}}))
    refused(capsys, main(command), "nobody to ask")
    file.write_text(yaml.safe_dump({**content, "arm": []}))
    refused(capsys, main(command), "study.yaml", "unknown key 'arm'")
