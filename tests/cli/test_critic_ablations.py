"""The switches of `critic explore` do what they say: what is in the prompts, and what is in the memory afterwards."""

import json

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.critics.vlm.memory.records import NewRule, rule_id
from hmralign.critics.vlm.memory.store import Memory
from hmralign.vlm import backends
from hmralign.vlm.chat import ImagePart, request_key
from support.explorations import words_of
from support.judged_stores import RULES, TruthJudge, judged_store
from support.memory_builder import episode

SERVER = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
GROUPS, PICTURES = 4, 5
"""Of a call: the person and four hypotheses."""
RULES_WORDS, CASES_WORDS = "Rules that proved useful", "Earlier cases with the score"
SEED_RULE = NewRule("If a hand enters the torso, deduct 8 points", ("penetration", "hands"), "a person")


class Place:
    """A store to learn on and a judge that knows its truth, in the place of a server."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.store = folder, judged_store(folder / "store", count=GROUPS)
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"judge": {"style": {"side": 64, "strip": 0}}, "round_size": 2})
        )
        self.monkeypatch = monkeypatch

    def explore(self, *flags, rules=(), name="m"):
        """Requests that judge, those that review, and the memory, opened to read."""
        path = self.folder / name
        with Memory.open(path) as memory:
            memory.add_rules(list(rules), "before")
        judge = TruthJudge(self.store)
        self.monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
        words = ["critic", "explore", str(self.store), "--memory", str(path), *SERVER, "--concurrency", "1"]
        # A journal of its own: what another run asked is asked again.
        words += ["--journal", str(self.folder / f"{name}.journal"), "--config", str(self.folder / "config.yaml")]
        assert main([*words, *flags, "--quiet"]) == 0
        reviews = [r for r in judge.backend.requests if "new_rules" in r.schema["properties"]]
        judgements = [r for r in judge.backend.requests if "new_rules" not in r.schema["properties"]]
        return judgements, reviews, Memory.open(path, read_only=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def pictures(request):
    return sum(isinstance(part, ImagePart) for part in request.parts)


def test_with_everything_later_rounds_see_rules_and_cases(place):
    judgements, reviews, memory = place.explore()
    with memory:
        assert len(reviews) == GROUPS and len(memory.rules()) == 3 and memory.prototype_index().ids
    first, later = judgements[:4], judgements[4:]  # two calls of each of the two groups of a round
    assert not any(RULES_WORDS in words_of(r) or CASES_WORDS in words_of(r) for r in first)
    assert all(RULES_WORDS in words_of(r) and CASES_WORDS in words_of(r) for r in later)
    assert all(pictures(r) == PICTURES for r in first) and all(pictures(r) > PICTURES for r in later)


def test_no_rules(place):
    judgements, reviews, memory = place.explore("--no-rules", rules=[SEED_RULE])
    with memory:
        assert [rule.id for rule in memory.stored_rules()] == [SEED_RULE.id] and not memory.log()
        assert memory.prototype_index().ids and any(e.shown for e in memory.episodes())
    assert not reviews and not any(RULES_WORDS in words_of(r) for r in judgements)
    assert any(CASES_WORDS in words_of(r) for r in judgements)


def test_no_prototypes(place):
    judgements, reviews, memory = place.explore("--no-prototypes")
    with memory:
        assert not memory.prototype_index().ids and not any(e.shown for e in memory.episodes())
        assert memory.rules() and memory.log()
    assert len(reviews) == GROUPS and all(pictures(r) == PICTURES for r in judgements)
    assert not any(CASES_WORDS in words_of(r) for r in judgements)
    assert any(RULES_WORDS in words_of(r) for r in judgements)


def test_no_reflection(place):
    judgements, reviews, memory = place.explore("--no-reflection", rules=[SEED_RULE])
    with memory:
        assert [rule.id for rule in memory.stored_rules()] == [SEED_RULE.id]
        assert {use.rule for use in memory.log()} == {SEED_RULE.id} and memory.prototype_index().ids
    assert not reviews and all(SEED_RULE.text in words_of(r) for r in judgements)


def test_without_rules_and_cases_the_judge_is_asked_as_without_a_memory(place):
    judgements, _, memory = place.explore("--no-rules", "--no-prototypes")
    with memory:
        assert len(memory.episodes()) == GROUPS and not memory.stored_rules() and not memory.prototype_index().ids
    path = place.folder / "score.yaml"
    path.write_text(yaml.safe_dump({"judge": {"style": {"side": 64, "strip": 0}}}))
    judge = TruthJudge(place.store)
    place.monkeypatch.setattr(backends, "make_backend", lambda *_, **__: judge.backend)
    assert main(["critic", "score", str(place.store), *SERVER, "--config", str(path), "--quiet"]) == 0
    asked = {request_key("m", request) for request in judge.backend.requests}
    assert asked == {request_key("m", request) for request in judgements}


def test_no_images(place):
    judgements, _, memory = place.explore("--no-images")
    with memory:
        cases = memory.prototypes(memory.prototype_index().ids)
        assert cases and all(c.photo is None and c.overlay is None for c in cases)
    shown = [r for r in judgements if CASES_WORDS in words_of(r)]
    assert shown and all("no picture was kept" in words_of(r) and pictures(r) == PICTURES for r in shown)


OFTEN = NewRule(RULES[0], ("feet",), "a person")
SELDOM = NewRule(RULES[1], ("arms",), "a person")
NEVER = NewRule(RULES[2], ("torso",), "a person")
POOR = NewRule("If the head looks away, deduct 3 points", ("head",), "a person")
RECORD = {OFTEN.id: (20, 15), SELDOM.id: (3, 3), POOR.id: (20, 2)}


def with_record(path):
    """Four rules: shown often and mostly well, shown seldom and well, never shown, shown often and badly."""
    with Memory.open(path) as memory:
        memory.add_rules([OFTEN, SELDOM, NEVER, POOR], "before")
        for rule, (uses, successes) in RECORD.items():
            for n in range(uses):
                memory.commit(episode(f"{rule} {n}", 0.9 if n < successes else 0.1, [rule]))


def explored(place, selection, seed, name):
    """The rule that each group was judged with; all groups are in one round, with one rule each."""
    path = place.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    # No reviews and cases: only the selection is left to decide.
    config |= {"round_size": GROUPS, "retrieval": {"rules": 1}, "reflection": False, "retire": False}
    path.write_text(yaml.safe_dump(config))
    with_record(place.folder / name)
    _, _, memory = place.explore("--selection", selection, "--seed", str(seed), name=name)
    with memory:
        shown = [e.rules for e in memory.episodes() if e.id.startswith("wild")]
    line = (place.folder / f"{name}.rounds.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["settings"]["retrieval"]["selection"]["method"] == selection
    assert len(shown) == GROUPS and all(len(rules) == 1 for rules in shown)
    return [rules[0] for rules in shown]


@pytest.mark.parametrize(
    ("selection", "expected"), [("ucb", NEVER.id), ("greedy", SELDOM.id), ("lower_bound", OFTEN.id)]
)
def test_selections_that_draw_nothing(place, selection, expected):
    assert set(explored(place, selection, 0, "m")) == {expected}


@pytest.mark.parametrize("selection", ["thompson", "random"])
def test_selections_that_draw(place, selection):
    # By group and seed alone. One seed may draw the same rule for all groups; four seeds do so once in 10,000 tries.
    shown = [explored(place, selection, seed, f"m{seed}") for seed in range(4)]
    assert explored(place, selection, 0, "again") == shown[0]
    assert any(len(set(rules)) > 1 for rules in shown) and len({tuple(rules) for rules in shown}) > 1


def test_leave_one_out_and_retirement(place):
    judgements, _, memory = place.explore("--leave-one-out", "1", "--no-retire", "--max-rules", "7")
    with memory:
        controls = [use for use in memory.log() if use.control is not None]
        assert len(controls) == 2 and not any(rule.retired for rule in memory.stored_rules())
    assert len(judgements) == 2 * GROUPS + 2 * 2
    settings = json.loads((place.folder / "m.rounds.jsonl").read_text().splitlines()[0])["settings"]
    assert settings["leave_one_out"] == 1.0 and "retire" not in settings
    judgements, _, memory = place.explore("--max-rules", "1", name="capped")
    with memory:
        assert len(memory.rules()) == 1 and len(memory.stored_rules()) == 3
    assert len(judgements) == 2 * GROUPS and rule_id(RULES[0])
