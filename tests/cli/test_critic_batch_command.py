"""`hmralign critic export-batch` and `import-batch` from arguments to scores; wrong input in one sentence."""

import json
import shutil

import pytest
import torch
import yaml

from hmralign.cli.exit_codes import SOME_FAILED
from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from hmralign.vlm import backends
from hmralign.vlm.doctor import ServerProfile
from support.batch_answers import answer_lines, request_lines, write_lines
from support.judged_stores import TruthJudge, judged_store

SERVER = ["--base-url", "http://127.0.0.1:9/v1", "--model", "scripted"]
MODEL = SERVER[2:]


@pytest.fixture
def folder(tmp_path):
    return judged_store(tmp_path / "store", count=2)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"judge": {"style": {"side": 64, "strip": 0}}}))
    return ["--config", str(tmp_path / "config.yaml")]


def run(capsys, *words, code=0):
    found = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert found == code, err
    return json.loads(out), err


def refused(capsys, *words, says):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.startswith("hmralign: ") and err.count("\n") == 1 and says in err, err


def test_an_unusable_profile_is_warned_of_before_a_batch(tmp_path, folder, config, capsys):
    for sees in (True, False):
        profile = ServerProfile("scripted", sees, True, True, True, False, 8, True, True)
        (tmp_path / "profile.json").write_text(profile.to_json())
        words = ["--out", tmp_path / f"{sees}", "--profile", tmp_path / "profile.json", *MODEL, *config, "--json"]
        _, err = run(capsys, "critic", "export-batch", folder, *words)
        assert ("was not shown to see pictures" in err) == (not sees)


def test_with_a_memory_a_batch_gives_the_scores_of_a_live_run(tmp_path, folder, config, capsys, monkeypatch):
    learnt = judged_store(tmp_path / "learnt", persons_from=8, count=2)
    judge = TruthJudge(folder, learnt)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    memory, frozen = tmp_path / "memory.sqlite", tmp_path / "frozen.sqlite"
    run(capsys, "critic", "explore", learnt, "--memory", memory, *SERVER, *config, "--json")
    run(capsys, "critic", "freeze", memory, "--out", frozen, "--json")
    live = shutil.copytree(folder, tmp_path / "live" / "store")
    judged = ["--memory", frozen, *config, "--json"]
    spent = run(capsys, "critic", "score", live, *SERVER, *judged)[0]["spent"]

    out = tmp_path / "out"
    export = ["critic", "export-batch", folder, "--out", out, "--images", "files", *MODEL, *judged]
    document, _ = run(capsys, *export)
    assert document["requests"] == document["files"][0]["requests"] == spent["calls"] == 4
    assert run(capsys, *export)[0]["waiting"] == 4
    prefix = (out.resolve() / "images").as_uri()
    assert prefix in json.dumps(request_lines(out)[0]) and any((out / "images").glob("??/*.jpg"))
    lines = answer_lines(out, judge)
    batch = ["critic", "import-batch", folder, "--from", out, "--json"]
    document, err = run(capsys, *batch, write_lines(tmp_path / "a.jsonl", [lines[0], b"oops"]), code=3)
    assert document["answered"] == 1 and document["missing"] == 3 and "a.jsonl, line 2" in err
    document, _ = run(capsys, *batch, write_lines(tmp_path / "b.jsonl", lines))
    assert (document["answered"], document["known"], document["missing"]) == (3, 1, 0)

    asked = len(judge.backend.requests)
    report, _ = run(capsys, "critic", "score", folder, "--journal-only", *MODEL, *judged)
    assert (report["judged"], report["calls"]) == (2, 0) and len(judge.backend.requests) == asked
    assert torch.equal(GroupStore.open(folder).scores("vlm"), GroupStore.open(live).scores("vlm"))
    assert run(capsys, *export)[0]["requests"] == 0


def test_leave_out_known_passes_over_groups_whose_person_is_in_the_memory(tmp_path, config, capsys, monkeypatch):
    folder = judged_store(tmp_path / "store", count=3)
    learnt = judged_store(tmp_path / "learnt", persons_from=2, count=2)  # its first person is the store's last
    judge = TruthJudge(folder, learnt)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    memory, frozen, out = tmp_path / "memory.sqlite", tmp_path / "frozen.sqlite", tmp_path / "out"
    run(capsys, "critic", "explore", learnt, "--memory", memory, *SERVER, *config, "--json")
    run(capsys, "critic", "freeze", memory, "--out", frozen, "--json")
    judged = ["--memory", frozen, *config]
    export = ["critic", "export-batch", folder, "--out", out, *MODEL, *judged]
    refused(capsys, *export, says="in the memory")
    assert not out.exists()
    document, _ = run(capsys, *export, "--leave-out-known", "--json")
    assert document["requests"] == 4, "two groups of two calls each; the third is left out"
    refused(capsys, "critic", "score", folder, *SERVER, *judged, says="in the memory")
    report, err = run(
        capsys, "critic", "score", folder, *SERVER, *judged, "--leave-out-known", "--json", code=SOME_FAILED
    )
    assert (report["groups"], report["judged"]) == (3, 2)
    ((left_out, reason),) = report["unjudged"]
    assert left_out == "wild/train/000002" and reason == "its person is in the memory" and left_out in err


def test_words_for_people(tmp_path, folder, config, capsys):
    out = tmp_path / "out"
    assert main(["critic", "export-batch", str(folder), "--out", str(out), *MODEL, *config]) == 0
    assert "4 requests written into 1 file" in capsys.readouterr().out.splitlines()[-1]
    lines = answer_lines(out, TruthJudge(folder, wrong={"wild/train/000001": "garbage"}))
    answers = write_lines(tmp_path / "a.jsonl", [*lines, {**lines[0], "custom_id": "x"}])
    (tmp_path / "p.yaml").write_text("currency: EUR\nmodels:\n  scripted: {input: 1000.0, output: 1.0}\n")
    code = main(
        ["critic", "import-batch", str(folder), "--from", str(out), str(answers), "--prices", str(tmp_path / "p.yaml")]
    )
    said, err = capsys.readouterr()
    assert code == 3 and "2 answers taken over, 2 failed (2 json)" in said and "EUR" in said
    assert "1 line without a request" in err


def test_wrong_input_in_one_sentence(tmp_path, folder, config, capsys):
    def export(*more, store=folder):
        return ["critic", "export-batch", store, "--out", tmp_path / "out", *MODEL, *config, *more]

    refused(capsys, *export(store=tmp_path / "none"), says="no store of groups")
    refused(capsys, *export("--preset", "paper"), says="--preset and --config")
    refused(capsys, *export("--images", "urls"), says="--image-url-prefix")
    refused(capsys, *export("--image-root", "/x"), says="--images files")
    refused(capsys, *export("--images", "files", "--image-root", "x"), says="absolute")
    refused(capsys, *export("--images", "urls", "--image-url-prefix", "ftp://x"), says="https://")
    refused(capsys, *export("--max-requests", "0"), says="more than 0")
    refused(capsys, *export("--profile", tmp_path / "no.json"), says="no.json")
    refused(capsys, *export("--memory", tmp_path / "no.sqlite"), says="expected a memory")
    assert not (tmp_path / "out").exists()
    batch = ["critic", "import-batch", folder, "--from", tmp_path / "out", tmp_path / "a.jsonl"]
    refused(capsys, *batch, says="manifest.json")
    refused(capsys, "critic", "score", folder, *SERVER, "--journal-only", says="--journal-only asks nobody")
    mistyped = folder.with_name("jornal.sqlite")
    words = ["critic", "score", folder, *MODEL, "--journal-only", "--journal", mistyped]
    refused(capsys, *words, says=f"no journal '{mistyped}'")
    assert not mistyped.exists() and not (folder / "scores").exists()


def test_a_pace_that_takes_days_is_said(tmp_path, folder, config, capsys, monkeypatch):
    count = ["critic", "estimate", "--groups", "100000", "--group-size", "20", "--json"]
    document, err = run(capsys, *count, "--requests-per-minute", "60")
    assert document["hours"] == pytest.approx(400_000 / 3600) and "111 hours (4.6 days)" in err
    document, err = run(capsys, *count, "--requests-per-minute", "60000")
    assert document["hours"] < 1 and err == ""
    assert run(capsys, *count)[0]["hours"] is None
    judge = TruthJudge(folder)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    slow = ["critic", "score", folder, *SERVER, *config, "--json", "--budget-calls", "0"]
    assert main([str(word) for word in [*slow, "--tokens-per-minute", "0.5"]]) == 3
    assert "days" in capsys.readouterr().err
