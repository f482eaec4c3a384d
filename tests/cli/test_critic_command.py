"""`hmralign critic` from arguments to a memory, scores and files; wrong input in one sentence."""

import json

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.preferences.store import GroupStore
from hmralign.vlm import backends
from support.chat_server import ChatServer
from support.judged_stores import TruthJudge, judged_store

LOCAL = "http://127.0.0.1:9/v1"
SERVER = ["--base-url", LOCAL, "--model", "m"]


@pytest.fixture
def folder(tmp_path):
    return judged_store(tmp_path / "store", count=2)


def refused(capsys, code, *words, expected=2):
    out, err = capsys.readouterr()
    assert code == expected and out == "", (code, out, err)
    assert err.startswith("hmralign: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err, (word, err)


@pytest.fixture
def judged(tmp_path, folder, monkeypatch):
    """A judge that knows the truth of two stores, in the place of a server; settings of small pictures."""
    learnt = judged_store(tmp_path / "learnt", persons_from=8, count=2)
    judge = TruthJudge(folder, learnt)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    style = {"side": 64, "strip": 0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"judge": {"style": style}}))
    return judge


def test_explore_freeze_score_and_look(tmp_path, folder, judged, capsys):
    config = ["--config", str(tmp_path / "config.yaml")]
    memory, frozen, learnt = tmp_path / "memory.sqlite", tmp_path / "frozen.sqlite", tmp_path / "learnt"
    assert main(["critic", "explore", str(learnt), "--memory", str(memory), *SERVER, *config, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["episodes"] == 2 and document["mean_rho"] == 1.0 and document["spent"]["calls"] == 6
    assert main(["critic", "freeze", str(memory), "--out", str(frozen), "--json"]) == 0
    sha256 = json.loads(capsys.readouterr().out)["sha256"]
    arguments = ["critic", "score", str(folder), "--memory", str(frozen), *SERVER, *config]
    assert main(arguments) == 0
    assert str(folder / "scores" / "vlm") in capsys.readouterr().out.splitlines()[-1]
    assert GroupStore.open(folder).critic_facts("vlm")["memory_sha256"] == sha256
    asked = len(judged.backend.requests)
    assert main([*arguments, "--json"]) == 0 and len(judged.backend.requests) == asked
    assert json.loads(capsys.readouterr().out)["judged"] == 2
    assert main(["critic", "memory", "show", str(frozen)]) == 0
    assert "deduct" in (shown := capsys.readouterr().out) and sha256[:16] in shown
    assert main(["critic", "memory", "export", str(frozen), str(tmp_path / "out")]) == 0
    assert main(["critic", "memory", "import", str(tmp_path / "out"), str(tmp_path / "copy.sqlite")]) == 0
    capsys.readouterr()
    assert main(["critic", "memory", "diff", str(tmp_path / "copy.sqlite"), str(frozen), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"equal": True, "lines": []}
    refused(capsys, main(["critic", "score", str(learnt), "--memory", str(frozen), *SERVER, *config]), "in the memory")
    refused(capsys, main(["critic", "score", str(folder), "--memory", str(memory), *SERVER, *config]), "not frozen")


def test_groups_without_a_verdict_end_in_exit_code_3(tmp_path, folder, judged, capsys):
    judged.wrong["wild/train/000001"] = "garbage"
    config = ["--config", str(tmp_path / "config.yaml")]
    assert main(["critic", "score", str(folder), *SERVER, *config]) == 3
    out, err = capsys.readouterr()
    assert "1 of 2 groups judged" in out and "wild/train/000001" in err and "not JSON" in err


@pytest.mark.parametrize("command", ["score", "groups"])
def test_a_server_that_is_not_there_ends_the_run_soon_and_leaves_no_scores(tmp_path, folder, command, capsys):
    words = {"score": ["critic", "score", str(folder)], "groups": ["groups", str(folder), "--critic", "vlm"]}
    code = main([*words[command], *SERVER, *(["--concurrency", "6"] if command == "score" else []), "--quiet"])
    out, err = capsys.readouterr()
    assert code == 3 and "no connection to http://127.0.0.1:9/v1" in err and "no difference" not in err
    assert err.count("\n") == 1 and GroupStore.open(folder).critics() == (), (out, err)


def test_a_key_that_can_be_none_is_refused_and_not_shown(folder, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u201cexample\u201d")
    code = main(["critic", "score", str(folder), *SERVER])
    assert "example" not in (err := capsys.readouterr().err) and code == 2
    assert "the key in OPENAI_API_KEY has characters no key has" in err
    assert main(["groups", str(folder), "--critic", "vlm", *SERVER]) == 2


def test_servers_are_told_the_limit_under_the_name_that_they_take(tmp_path, capsys):
    out = ["--out", str(tmp_path / "profile.json"), "--limit-field", "max_completion_tokens"]
    with ChatServer(always="too_large") as server:
        main(["critic", "doctor", "--base-url", server.address, "--model", "m", *out])
        assert server.requests and all("max_completion_tokens" in body for body in server.requests)
    with ChatServer(always="too_large") as server:
        main(["critic", "doctor", "--base-url", server.address, "--model", "m", *out[:2]])
    assert "max_completion_tokens" in capsys.readouterr().err, "the advice for a field that is refused"


def test_a_spent_budget_ends_in_exit_code_3(tmp_path, folder, judged, capsys):
    config = ["--config", str(tmp_path / "config.yaml"), "--concurrency", "1"]
    code = main(["critic", "score", str(folder), *SERVER, *config, "--budget-calls", "1", "--quiet"])
    refused(capsys, code, "the budget is 1", expected=3)


def test_a_budget_of_tokens_stops_before_it_is_exceeded(tmp_path, folder, judged, capsys):
    arguments = [
        "critic",
        "score",
        str(folder),
        *SERVER,
        "--config",
        str(tmp_path / "config.yaml"),
        "--concurrency",
        "1",
    ]
    code = main([*arguments, "--budget-tokens", "10", "--quiet"])
    refused(capsys, code, "tokens", "the budget is 10", expected=3)
    assert judged.backend.requests == [], "the first call could have exceeded it"
    assert main([*arguments, "--budget-tokens", "10000000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judged"] == 2


def test_an_estimate_needs_no_server(tmp_path, folder, capsys):
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\nmodels:\n  m: {input: 1.0, output: 2.0}\n")
    count = ["critic", "estimate", "--groups", "1000", "--group-size", "20"]
    assert main([*count, "--json", "--prices", str(prices), "--model", "m"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["calls"] == 4000 and document["cost"] > 0 and document["currency"] == "EUR"
    assert main(["critic", "estimate", str(folder)]) == 0 and main([*count, "--explore"]) == 0
    assert "2 groups: 4 calls" in capsys.readouterr().out
    refused(capsys, main(count[:4]), "--group-size")
    refused(capsys, main([*count, str(folder)]), "either")
    refused(capsys, main([*count, "--prices", str(prices), "--model", "x"]), "no price for 'x'")


def test_the_doctor_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "profile.json"
    with ChatServer(always="too_large") as server:
        code = main(["critic", "doctor", "--base-url", server.address, "--model", "m", "--out", str(out)])
    assert code == 3 and "status 400" in capsys.readouterr().err and not out.exists()
    with ChatServer(always="unauthorised") as server:
        code = main(["critic", "doctor", "--base-url", server.address, "--model", "m", "--out", str(out)])
    assert code == 2


@pytest.mark.parametrize("command", ["explore", "score"])
def test_wrong_input_in_one_sentence(tmp_path, folder, command, capsys):
    memory = ["--memory", str(tmp_path / "memory.sqlite")] if command == "explore" else []

    def tried(*arguments, store=folder):
        return main(["critic", command, str(store), *memory, *arguments])

    refused(capsys, tried(*SERVER, store=tmp_path / "nothing"), "no store of groups")
    refused(capsys, tried(), "nobody is there to ask")
    refused(capsys, tried("--base-url", LOCAL), "name of a model")
    refused(capsys, tried("--base-url", "http://192.0.2.1/v1", "--model", "m"), "--allow-remote")
    refused(capsys, tried("--base-url", "http//x", "--model", "m"), "no address")
    refused(capsys, tried("--local", str(tmp_path / "none")), "none")
    refused(capsys, tried(*SERVER, "--concurrency", "0"), "--concurrency is 0")
    refused(capsys, tried(*SERVER, "--budget-cost", "1"), "--prices")
    refused(capsys, tried(*SERVER, "--budget-calls", "-1"), "expected 0 or more")
    refused(capsys, tried(*SERVER, "--profile", str(tmp_path / "no.json")), "no.json")
    refused(capsys, tried(*SERVER, "--config", str(tmp_path / "no.yaml")), "no.yaml")
    (tmp_path / "c.yaml").write_text("judge: {plans: 1}")
    refused(capsys, tried(*SERVER, "--config", str(tmp_path / "c.yaml")), "unknown key 'plans'")
    (tmp_path / "j.sqlite").write_text("this is no database at all, but text " * 40)
    refused(capsys, tried(*SERVER, "--journal", str(tmp_path / "j.sqlite")), "j.sqlite")


def test_other_wrong_input(tmp_path, folder, capsys):
    refused(capsys, main(["critic", "explore", str(folder), *SERVER]), "--memory is missing")
    refused(
        capsys, main(["critic", "score", str(folder), *SERVER, "--memory", str(tmp_path / "no")]), "expected a memory"
    )
    refused(capsys, main(["critic", "freeze", str(tmp_path / "no"), "--out", str(tmp_path / "x")]), "expected a memory")
    refused(capsys, main(["critic", "memory", "diff", str(tmp_path / "a")]), "expected 2")
    refused(capsys, main(["critic", "scor"]), "critic scor", "critic score")


def test_the_common_word_lists_its_commands(capsys):
    assert main(["critic"]) == 0 and main(["critic", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.count("critic explore") == 2 and "recover " not in out
