"""The simulated judge behind the real pipeline reads what the prompt shows, and errs as the simulator says."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmralign.critics.vlm.memory.episodes import EpisodeOptions, truth_score
from hmralign.critics.vlm.prompts import ReviewedCase, Shown, judge_request, reflection_request
from hmralign.preferences.store import GroupStore
from hmralign.structures import MemoryContext, Prototype, Rule
from hmralign.systems.group_preference.pictures import draw_group, read_groups
from hmralign.vlm.chat import ImagePart
from support.ablation_stores import STYLE, stores
from support.synthetic_persons import BODY

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "vlm"))

from judge_simulator import ASPECTS, ERROR_OF_DEFECT, ERROR_OF_NOTHING, JudgeConfig, Miner, SimulatedJudge
from simulated_backend import SimulatedBackend, part_of

QUIET = JudgeConfig(noise=0.0, level=0.0, position=0.0)
RULE = "If a foot floats while the person stands, deduct 10 points"


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    store = GroupStore.open(stores(tmp_path_factory.mktemp("stores"), persons=2)["learn"])
    return Path(store.folder), read_groups(store, 0, "mpjpe")


@pytest.fixture(scope="module")
def backend(groups):
    return SimulatedBackend([groups[0]], BODY, STYLE, SimulatedJudge(QUIET), Miner(wrong=0.0, junk=0.0))


def asked(stored, order, memory=MemoryContext()):  # noqa: B008 : it is frozen
    pictures = draw_group(stored, BODY, STYLE)
    labels = tuple("KXB"[: len(order)])
    shown = Shown(pictures.photo_tile(), tuple(pictures.tile(i) for i in order), labels, is_photo=False, turned=False)
    return judge_request(shown, memory), labels


def a_case(stored, hypothesis, score=70.0):
    pictures = draw_group(stored, BODY, STYLE)
    return Prototype("p", "it fits", score, (), pictures.photo_tile(), pictures.tile(hypothesis))


def test_what_is_wrong_adds_up_to_the_error(groups, backend):
    weights = np.array([2, 2, 3, 6, 2, 4, 3, 2], float)  # joints of each part
    assert weights.sum() == 24
    for stored in groups[1]:
        group = next(t.group for t in backend.tiles.values() if t.group.id == stored.id)
        summed = ERROR_OF_NOTHING + ERROR_OF_DEFECT * group.defects @ (weights / 24)
        np.testing.assert_allclose(summed, stored.errors, rtol=1e-5)


def test_scores_are_those_of_the_simulator_in_the_order_shown(groups, backend):
    stored = groups[1][0]
    request, labels = asked(stored, [2, 0, 3])
    said = json.loads(backend.answer(request))
    group = next(t.group for t in backend.tiles.values() if t.group.id == stored.id)
    direct = SimulatedJudge(QUIET)(part_of(group, [2, 0, 3]), MemoryContext(), order=range(3))
    by_number = {f.hypothesis: f.score for f in direct.findings}
    assert [said[label]["score"] for label in labels] == [by_number[n] for n in range(3)]
    assert len({s["score"] for s in said.values()}) > 1 and all(s["comment"] for s in said.values())


def test_rules_and_cases_are_read_from_the_prompt(groups, backend):
    first, second = groups[1]
    memory = MemoryContext((Rule("r", RULE, ("feet",)),), (a_case(second, 1),))
    request, _ = asked(first, [0, 1], memory)
    images = [part.sha256 for part in request.parts if isinstance(part, ImagePart)]
    context = backend.context(request, images[:-3])
    assert [rule.text for rule in context.rules] == [RULE]
    (case,) = context.prototypes
    told = next(t.group for t in backend.tiles.values() if t.group.id == second.id)
    assert (case.score, case.photo, case.overlay) == (70.0, told.photo, told.tiles[1])
    assert backend.judge.seen(context).sum() == backend.judge.seen(MemoryContext()).sum() + 1
    assert backend.context(asked(first, [0, 1])[0], []) == MemoryContext()


def test_a_rule_changes_what_is_said(groups, backend):
    rules = MemoryContext(
        tuple(Rule(str(n), f"If {a.conditions[0]}, deduct 10 points", ()) for n, a in enumerate(ASPECTS))
    )
    stored = groups[1][0]
    without, with_rules = (json.loads(backend.answer(asked(stored, [0, 1, 2], m)[0])) for m in (MemoryContext(), rules))
    assert [v["score"] for v in without.values()] != [v["score"] for v in with_rules.values()]


def test_a_review_is_about_its_group(groups, backend):
    stored = groups[1][1]
    half = EpisodeOptions().half_error
    quality = [truth_score(float(e), half) for e in stored.errors]
    group = next(t.group for t in backend.tiles.values() if t.group.id == stored.id)
    by_feet = np.argsort(np.argsort(group.defects[:, 1]))  # who has the worst feet has the best score
    worst_seen = [ReviewedCase(float(n), "words", q) for n, q in zip(by_feet, quality, strict=True)]
    answer = json.loads(backend.answer(reflection_request(worst_seen)))
    assert all(rule["text"].startswith(("If", "Where", "When")) and rule["tags"] for rule in answer["new_rules"])
    judged = [
        ReviewedCase(100 * q, "words", q) for q in quality
    ]  # in the order of the truth: nothing to find fault with
    assert json.loads(backend.answer(reflection_request(judged))) == {"new_rules": []}
    with pytest.raises(KeyError):
        backend.answer(reflection_request([replace(c, quality=c.quality / 2) for c in judged]))
