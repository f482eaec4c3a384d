"""`hmralign critic memory` as a user meets it: show, diff, export, import, merge; CLIP by its folder; freezing."""

import json

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.critics.vlm.memory.records import NewRule, RuleUse
from hmralign.critics.vlm.memory.store import Memory
from hmralign.vlm import backends
from support.explorations import words_of
from support.judged_stores import TruthJudge, judged_store
from support.memory_builder import RULES, episode, fill
from support.tiny_clip import save_clip

SERVER = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
OPPOSITE = NewRule("If a hand enters the torso, do not deduct points", ("penetration",), "another")


@pytest.fixture
def memories(tmp_path):
    """Paths of two memories that say the opposite of each other about hands."""
    with Memory.open(tmp_path / "a.sqlite") as memory:
        ids = fill(memory)
        memory.retire({ids[1]: "does harm"}, "2026-03-03")
    with Memory.open(tmp_path / "b.sqlite") as memory:
        memory.add_rules([OPPOSITE], "2026-02-02")
        memory.commit(episode("d", rules=[OPPOSITE.id]))
    return tmp_path / "a.sqlite", tmp_path / "b.sqlite"


def run(capsys, *words):
    code = main(["critic", *[str(word) for word in words], "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def refused(capsys, *words):
    code = main(["critic", *[str(word) for word in words]])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.startswith("hmralign: ") and err.count("\n") == 1, (code, err)
    return err


def test_show_says_what_was_learnt_and_what_became_of_it(memories, capsys):
    shown = run(capsys, "memory", "show", memories[0])
    assert shown["episodes"] == 3 and shown["cases"] == 2 and shown["embedding"].startswith("pose")
    by_text = {rule["text"]: rule for rule in shown["rules"]}
    assert set(by_text) == {RULES[0].text, RULES[2].text}
    first = by_text[RULES[0].text]
    assert (first["uses"], first["successes"], first["author"], first["episode"]) == (2, 1, "a person", "")
    assert first["effect"]["uses"] == 2 and first["effect"]["controls"] == 1
    gone = shown["retired"][0]
    assert (gone["text"], gone["retired"], gone["uses"]) == (RULES[1].text, "does harm", 2)
    assert main(["critic", "memory", "show", str(memories[0])]) == 0
    words = capsys.readouterr().out
    assert "retired: does harm" in words and "2 rules (1 retired), 2 cases found by pose" in words


def test_there_and_back_is_the_same(memories, tmp_path, capsys):
    path, folder, back = memories[0], tmp_path / "folder", tmp_path / "back.sqlite"
    sha256 = run(capsys, "memory", "show", path)["sha256"]
    assert run(capsys, "memory", "export", path, folder)["sha256"] == sha256
    assert run(capsys, "memory", "import", folder, back)["sha256"] == sha256
    assert run(capsys, "memory", "diff", path, back) == {"equal": True, "lines": []}
    with Memory.open(back) as memory:
        memory.commit(episode("z"))
    lines = run(capsys, "memory", "diff", path, back)["lines"]
    assert len(lines) == 2 and lines[0].startswith("+ episode z") and lines[1].startswith("+ episode_image")
    frozen = run(capsys, "freeze", path, "--out", tmp_path / "frozen.sqlite")
    assert frozen["sha256"] == sha256
    assert run(capsys, "memory", "export", tmp_path / "frozen.sqlite", tmp_path / "again")["sha256"] == sha256


def test_merge(memories, tmp_path, capsys):
    made = run(capsys, "memory", "merge", *memories, tmp_path / "m.sqlite")
    assert made["opposite"] == [sorted([RULES[2].id, OPPOSITE.id])] and not made["same"]
    assert (made["rules"], made["cases"], made["episodes"]) == (3, 2, 4)
    shown = run(capsys, "memory", "show", tmp_path / "m.sqlite")
    assert shown["sha256"] == made["sha256"] and shown["conflicts"] == made["opposite"]
    assert main(["critic", "memory", "merge", *map(str, reversed(memories)), str(tmp_path / "n.sqlite")]) == 0
    assert "they are never shown together" in capsys.readouterr().out
    assert "exists already" in refused(capsys, "memory", "merge", *memories, tmp_path / "m.sqlite")
    assert "expected 3" in refused(capsys, "memory", "merge", *memories)
    assert "--no-images is for" in refused(capsys, "memory", "show", memories[0], "--no-images")


def test_freezing_by_effects(tmp_path, capsys):
    good, bad = (rule.id for rule in RULES[:2])
    with Memory.open(tmp_path / "m.sqlite") as memory:
        memory.add_rules(RULES[:2], "now")
        for n in range(12):
            uses = [RuleUse(good, 0.3), RuleUse(bad, -0.3)] if n % 2 else []
            memory.commit(episode(f"e{n}", 0.4, controls=[(u.rule, u.control) for u in uses]))
    path, out = tmp_path / "m.sqlite", tmp_path / "frozen.sqlite"
    made = run(capsys, "freeze", path, "--out", out, "--best-rules", "5", "--credit", "effects")
    assert made["rules"] == 1
    assert [rule["id"] for rule in run(capsys, "memory", "show", out)["rules"]] == [good]
    other = tmp_path / "paired.sqlite"
    pairs = ["--best-rules", "5", "--credit", "paired", "--min-uses", "6"]
    assert run(capsys, "freeze", path, "--out", other, *pairs)["rules"] == 1
    assert "--best-rules" in refused(capsys, "freeze", path, "--out", tmp_path / "x", "--credit", "effects")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Stores with photos to learn on and to score, a CLIP model, and a judge in the place of a server."""
    learn = judged_store(tmp_path / "learn", count=2, photos=True)
    score = judged_store(tmp_path / "score", persons_from=6, count=2, photos=True)
    save_clip(tmp_path / "clip")
    judge = TruthJudge(learn, score)
    monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"judge": {"style": {"side": 64, "strip": 0}}}))
    return judge


def test_clip_from_exploring_to_scoring_and_without_pictures(place, tmp_path, capsys):
    config, clip = [*SERVER, "--config", tmp_path / "config.yaml"], ["--clip", tmp_path / "clip"]
    memory, frozen = tmp_path / "m.sqlite", tmp_path / "frozen.sqlite"
    explore = ["explore", tmp_path / "learn", "--memory", memory, *config]
    assert "expected its folder" in refused(capsys, *explore, "--embedding", "clip")
    assert "expected clip or mix" in refused(capsys, *explore, *clip)
    assert run(capsys, *explore, "--embedding", "mix", *clip, "--clip-weight", "0.4")["episodes"] == 2
    assert run(capsys, "memory", "show", memory)["embedding"].startswith("clip ")
    run(capsys, "freeze", memory, "--out", frozen)
    score = ["score", tmp_path / "score", *config]
    assert "expected its folder" in refused(capsys, *score, "--memory", frozen)
    assert "no --memory" in refused(capsys, *score, *clip)
    estimate = ["estimate", tmp_path / "score", "--config", tmp_path / "config.yaml", "--memory", frozen]
    assert "expected its folder" in refused(capsys, *estimate)
    assert run(capsys, *estimate, *clip)["calls"] == 4
    assert run(capsys, *score, "--memory", frozen, *clip)["judged"] == 2

    # Carried over without pictures, the same cases are found and told in words alone.
    with_pictures = place.backend.requests[-4:]
    run(capsys, "memory", "export", frozen, tmp_path / "out", "--no-images")
    run(capsys, "memory", "import", tmp_path / "out", tmp_path / "bare.sqlite")
    run(capsys, "freeze", tmp_path / "bare.sqlite", "--out", tmp_path / "bare")
    bare = run(capsys, *score, "--memory", tmp_path / "bare", *clip, "--name", "bare")
    assert bare["judged"] == 2 and bare["calls"] == 4
    for request, other in zip(place.backend.requests[-4:], with_pictures, strict=True):
        assert "no picture was kept" in words_of(request) and len(request.parts) < len(other.parts)


def test_estimates_know_of_groups_that_are_judged_again(capsys):
    words = ["estimate", "--groups", "10", "--group-size", "4", "--explore"]
    once, again = run(capsys, *words), run(capsys, *words, "--leave-one-out", "0.5")
    assert once["groups"] == again["groups"] == 10 and once["calls"] == 10 * 3
    assert again["calls"] == once["calls"] + 5 * 2
    assert once["image_tokens"] * 1.5 == again["image_tokens"] and again["text_tokens"] > once["text_tokens"]
    assert "for --explore" in refused(capsys, *words[:-1], "--leave-one-out", "0.5")
