"""A judge that knows the truth, through drawing, asking, journal, merging and store: its order, nothing asked twice."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.alignment.advantages import silent_groups
from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.plan import PlanOptions
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.explore import explore_groups, freeze_memory
from hmralign.systems.group_preference.score import IN_MEMORY, score_groups
from hmralign.systems.group_preference.settings import JudgeConfig, ScoreConfig
from hmralign.systems.group_preference.verdict_files import read_verdicts
from hmralign.vlm.asking import Limits
from hmralign.vlm.budget import Budget
from hmralign.vlm.chat import TextPart
from hmralign.vlm.errors import BudgetError, ServerError
from hmralign.vlm.journal import Journal
from support.judged_stores import BODY, EXPLORE, JUDGE, SCORE, SIZE, STYLE, TruthJudge, asker, judged_store, true_errors

CALLS_PER_GROUP = 2


class Killed(BaseException):
    """A process that ends here."""


@pytest.fixture
def folder(tmp_path):
    return judged_store(tmp_path / "store")


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        yield journal


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A memory of persons 8 to 11."""
    folder = tmp_path_factory.mktemp("frozen")
    learnt = judged_store(folder / "learnt", persons_from=8)
    judge = TruthJudge(learnt)
    with Journal.open(folder / "journal.sqlite") as journal, Memory.open(folder / "memory.sqlite") as memory:
        explore_groups(learnt, asker(judge.backend, journal), BODY, memory, EXPLORE, clock=lambda: "now")
        freeze_memory(memory, folder / "frozen.sqlite")
    return folder / "frozen.sqlite"


def orders(folder, name="vlm") -> bool:
    store = GroupStore.open(folder)
    errors = true_errors(folder)
    pairs = zip(store.ids, store.scores(name).numpy(), strict=True)
    return all(np.array_equal(np.argsort(-scores), np.argsort(errors[id_])) for id_, scores in pairs)


def test_the_order_of_the_truth_arrives_in_the_store(folder, journal):
    judge = TruthJudge(folder)
    report = score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    assert (report.judged, report.groups, report.unjudged) == (4, 4, ())
    assert report.calls == len(judge.backend.requests) == 4 * CALLS_PER_GROUP
    assert orders(folder)


@pytest.mark.parametrize("plan", [PlanOptions("all", 1), PlanOptions("windows", 3, window=3, naming="ordinals")])
def test_whatever_the_plan(folder, journal, plan):
    config = ScoreConfig(JudgeConfig(plan=plan, style=STYLE, merge=JUDGE.merge))
    report = score_groups(folder, asker(TruthJudge(folder).backend, journal), BODY, config)
    assert report.judged == 4 and orders(folder)


def test_a_second_run_asks_nothing_and_neither_does_another_name(folder, journal):
    judge = TruthJudge(folder)
    first = score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    asked = len(judge.backend.requests)
    again = score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    named = score_groups(folder, asker(judge.backend, journal), BODY, SCORE, name="other")
    assert len(judge.backend.requests) == asked and again.calls == named.calls == 0
    assert (again.judged, named.judged) == (first.judged, first.judged)
    store = GroupStore.open(folder)
    assert torch.equal(store.scores("vlm"), store.scores("other"))


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_run_that_was_killed_goes_on_without_asking_twice(folder, tmp_path, journal, after):
    judge = TruthJudge(folder)
    straight = judge.backend._answer

    def dying(request):
        if len(judge.backend.requests) > after:
            raise Killed
        return straight(request)

    judge.backend._answer = dying
    with pytest.raises(Killed):
        score_groups(folder, asker(judge.backend, journal, concurrency=1), BODY, SCORE)
    answered = journal.spent().answers
    assert answered == after and len(GroupStore.open(folder).unscored("vlm")) == (1 if after > 4 else 2)
    judge.backend._answer = straight
    report = score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    assert journal.spent().answers == 4 * CALLS_PER_GROUP and report.judged == 4 and orders(folder)


def test_groups_without_a_verdict_are_listed_and_give_no_preference(tmp_path, journal):
    folder = judged_store(tmp_path / "store", behind=3)
    judge = TruthJudge(folder, wrong={"wild/train/000000": "garbage", "wild/train/000001": "constant"})
    report = score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    assert (report.judged, report.uninformative, len(report.unjudged)) == (1, 1, 2)
    reasons = dict(report.unjudged)
    assert "not JSON" in reasons["wild/train/000000"] and "cannot be drawn" in reasons["wild/train/000003"]
    store = GroupStore.open(folder)
    assert silent_groups(store.scores("vlm")).tolist() == [True, True, False, True]
    lines = read_verdicts(store, "vlm")
    assert [line["status"] for line in lines] == ["unjudged", "uninformative", "judged", "unjudged"]
    assert len(lines[0]["missing"]) == CALLS_PER_GROUP and "scores" not in lines[0]
    assert lines[1]["scores"] == [50.0] * SIZE


def test_a_group_without_a_verdict_is_asked_again_only_on_request(folder, journal):
    judge = TruthJudge(folder, wrong={"wild/train/000002": "garbage"})
    score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    asked = len(judge.backend.requests)
    judge.wrong.clear()
    assert len(score_groups(folder, asker(judge.backend, journal), BODY, SCORE).unjudged) == 1
    assert len(judge.backend.requests) == asked
    report = score_groups(folder, asker(judge.backend, journal), BODY, SCORE, retry=True)
    assert len(judge.backend.requests) == asked + CALLS_PER_GROUP
    assert report.judged == 4 and report.unjudged == () and orders(folder)


def test_other_calls_decide_only_where_that_was_said_and_they_suffice(folder, journal):
    judge, seen = TruthJudge(folder), {}
    straight = judge.backend._answer

    def one_call_fails(request):
        first = seen.setdefault(judge.owner[request.parts[-2].sha256], request.parts[-2].sha256)
        return "no" if request.parts[-2].sha256 == first else straight(request)

    judge.backend._answer = one_call_fails
    limits = {"answer_attempts": 1, "concurrency": 1}
    strict = score_groups(folder, asker(judge.backend, journal, **limits), BODY, SCORE, name="strict")
    assert len(strict.unjudged) == 4
    lenient = replace(SCORE, judge=replace(JUDGE, incomplete="merge"))
    report = score_groups(folder, asker(judge.backend, journal, **limits), BODY, lenient, name="lenient")
    assert report.judged == 4 and report.calls == 0 and orders(folder, "lenient")
    store = GroupStore.open(folder)
    assert all(len(line["missing"]) == 1 and len(line["critiques"]) == 1 for line in read_verdicts(store, "lenient"))
    assert store.critic_facts("lenient")["settings"]["incomplete"] == "merge"
    # Windows of three of which one failed leave hypotheses unjudged: nothing is filled in.
    windows = replace(lenient, judge=replace(lenient.judge, plan=PlanOptions(window=3)))
    seen.clear()
    report = score_groups(folder, asker(judge.backend, journal, **limits), BODY, windows, name="windows")
    assert report.judged + report.uninformative + len(report.unjudged) == 4
    assert all("do not suffice" in reason for _, reason in report.unjudged)


def test_a_frozen_memory_stays_as_it_is_and_every_record_names_it(folder, journal, frozen):
    before = hashlib.sha256(frozen.read_bytes()).hexdigest()
    judge = TruthJudge(folder)
    with Memory.open(frozen) as memory:
        content = memory.content_hash()
        assert score_groups(folder, asker(judge.backend, journal), BODY, SCORE, memory).judged == 4
    assert hashlib.sha256(frozen.read_bytes()).hexdigest() == before and orders(folder)
    store = GroupStore.open(folder)
    facts, lines = store.critic_facts("vlm"), read_verdicts(store, "vlm")
    assert facts["memory_sha256"] == content and {line["memory_sha256"] for line in lines} == {content}
    for line in lines:
        assert line["prompt"]["sha256"] and line["style_sha256"] == STYLE.sha256 and line["model"] == "scripted"
        assert line["rules"] and line["prototypes"]
        assert all(journal.answer(critique["key"]) is not None for critique in line["critiques"])
    texts = [part.text for part in judge.backend.requests[0].parts if isinstance(part, TextPart)]
    assert any("deduct 10 points" in text for text in texts)


def test_persons_in_the_memory_are_refused_before_anything_is_asked(tmp_path, journal, frozen):
    folder = judged_store(tmp_path / "store", persons_from=6, seed=5)  # other hypotheses of two of its persons
    judge = TruthJudge(folder)
    with Memory.open(frozen) as memory:
        with pytest.raises(InputError, match=r"wild/train/000008.*is in the memory"):
            score_groups(folder, asker(judge.backend, journal), BODY, SCORE, memory)
        assert not judge.backend.requests and "vlm" not in GroupStore.open(folder).critics()
        config = replace(SCORE, known_images="leave_out")
        report = score_groups(folder, asker(judge.backend, journal), BODY, config, memory)
    assert report.judged == 2 and dict(report.unjudged) == {f"wild/train/00000{n}": IN_MEMORY for n in (8, 9)}


def test_a_memory_that_may_still_change_is_refused(folder, tmp_path, journal):
    with Memory.open(tmp_path / "memory.sqlite") as memory, pytest.raises(InputError, match="not frozen"):
        score_groups(folder, asker(TruthJudge(folder).backend, journal), BODY, SCORE, memory)


def test_scores_of_another_judge_are_not_continued(folder, journal):
    judge = TruthJudge(folder)
    score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    with pytest.raises(InputError, match="other settings"):
        score_groups(folder, asker(judge.backend, journal), BODY, replace(SCORE, judge=replace(JUDGE, seed=1)))


def test_calls_that_could_not_be_merged_are_refused_before_they_are_paid(folder, journal):
    judge = TruthJudge(folder)
    config = replace(SCORE, judge=replace(JUDGE, plan=PlanOptions(rounds=1, window=3)))
    with pytest.raises(InputError, match="share no hypothesis"):
        score_groups(folder, asker(judge.backend, journal), BODY, config)
    assert not judge.backend.requests


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(folder, journal):
    judge = TruthJudge(folder)
    small = replace(asker(judge.backend, journal, concurrency=1), budget=Budget(max_calls=5))
    with pytest.raises(BudgetError):
        score_groups(folder, small, BODY, SCORE)
    assert len(judge.backend.requests) == 5 and GroupStore.open(folder).unscored("vlm") == [1]
    score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    assert len(judge.backend.requests) == 4 * CALLS_PER_GROUP and orders(folder)
    with pytest.raises(InputError, match="batches"):
        replace(small, budget=Budget(max_calls=5, counts="run"))


def test_lines_are_plain_json(folder, journal):
    config = replace(SCORE, judge=replace(JUDGE, plan=PlanOptions("all", 1)))
    score_groups(folder, asker(TruthJudge(folder).backend, journal), BODY, config)
    text = (folder / "scores" / "vlm" / "verdicts_00000.jsonl").read_text()
    assert "NaN" not in text and all(json.loads(line)["noise"] is None for line in text.splitlines())


@pytest.mark.parametrize("trouble", ["unreachable", "account"])
def test_a_run_that_gets_no_answer_leaves_no_scores(folder, journal, trouble):
    judge = TruthJudge(folder)

    def gone(request):
        raise ServerError("no connection to http://127.0.0.1:9/v1: refused", trouble=trouble)

    answering, judge.backend._answer = judge.backend._answer, gone
    limits = Limits(first_wait=0.001, concurrency=2)
    nobody = replace(asker(judge.backend, journal), limits=limits)
    with pytest.raises(ServerError, match="refused"):
        score_groups(folder, nobody, BODY, SCORE)
    assert len(judge.backend.requests) < limits.refusals_in_a_row + limits.concurrency
    assert GroupStore.open(folder).critics() == () and not (folder / "scores").exists()
    judge.backend._answer = answering
    assert score_groups(folder, asker(judge.backend, journal), BODY, SCORE).judged == 4


def test_scores_of_another_judge_are_refused_before_anything_is_asked(folder, journal):
    judge = TruthJudge(folder)
    score_groups(folder, asker(judge.backend, journal), BODY, SCORE)
    asked = len(judge.backend.requests)
    other = replace(SCORE, judge=replace(SCORE.judge, seed=5))
    with pytest.raises(InputError, match="other settings"):
        score_groups(folder, asker(judge.backend, journal), BODY, other)
    assert len(judge.backend.requests) == asked
