"""All arms with a judge that knows the truth: what each shows its judge, shares, leaves behind and reports."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from hmralign.critics.vlm.memory.records import rule_id
from hmralign.critics.vlm.memory.store import Memory
from hmralign.models.checkpoint import load_checkpoint
from hmralign.preferences.store import GroupStore, writing
from hmralign.structures import InputError
from hmralign.studies.judge_ablations.judge import Judge, open_judge
from hmralign.studies.judge_ablations.plan import plan_study
from hmralign.studies.judge_ablations.report import study_markdown
from hmralign.studies.judge_ablations.run import run_ablations
from hmralign.studies.judge_ablations.settings import JudgeAccess, study_from
from hmralign.systems.group_preference.verdict_files import read_verdicts
from support.ablation_stores import HYPOTHESES, PERSONS, RULES, STYLE, stores, study
from support.judged_stores import BODY, TruthJudge

CALLS = 2
WHO = "a script that knows the truth"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def truth(made):
    return TruthJudge(Path(made["learn"]), Path(made["score"]), style=STYLE)


def judge_of(truth) -> Judge:
    return Judge(truth.backend, WHO)


def fresh(made, folder: Path) -> dict[str, str]:
    """The same groups, which nobody but the first critic has scored."""
    skip = shutil.ignore_patterns("gpa-*", "random", "reprojection")
    return {**made, "score": str(shutil.copytree(made["score"], folder / "score", ignore=skip))}


@pytest.fixture(scope="module")
def done(made, truth, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    document = run_ablations(study_from(study(made)), out, judge_of(truth))
    return out, document, len(truth.backend.requests)


def verdicts(made, document, arm):
    return read_verdicts(GroupStore.open(made["score"]), document["arms"][arm]["scores"])


def test_each_arm_shows_its_judge_what_it_says(made, done):
    _, document, _ = done
    shown = {name: verdicts(made, document, name) for name in list(document["arms"])[:6]}
    first = {rule_id(text) for text in RULES}

    def has(name, part):
        return {bool(line[part]) for line in shown[name]}

    assert has("full", "rules") == {True} and has("full", "prototypes") == {True}
    assert has("no rule memory", "rules") == {False} and has("no rule memory", "prototypes") == {True}
    assert has("no prototype memory", "rules") == {True} and has("no prototype memory", "prototypes") == {False}
    assert {r for line in shown["no reflection"] for r in line["rules"]} == first
    assert {r for line in shown["full"] for r in line["rules"]} > first
    assert has("no memory", "rules") == has("no memory", "prototypes") == {False}
    assert {line["memory_sha256"] for line in shown["no memory"]} == {None}
    store = GroupStore.open(made["score"])
    method = {
        name: store.critic_facts(arm["scores"])["settings"].get("retrieval", {}).get("selection", {}).get("method")
        for name, arm in document["arms"].items() if arm["learnt"]
    }  # fmt: skip
    assert method.pop("no UCB (random rules)") == "random" and set(method.values()) == {"lower_bound"}


def test_what_is_learnt_is_frozen_and_named_with_the_scores(made, done):
    out, document, _ = done
    arm = document["arms"]["full"]
    with Memory.open(out / "steps" / arm["steps"]["learn"] / "frozen.sqlite") as memory:
        assert memory.frozen and memory.content_hash() == arm["learnt"]["memory_sha256"]
        assert len(memory.episodes()) == arm["learnt"]["episodes"] == PERSONS
    assert {line["memory_sha256"] for line in verdicts(made, document, "full")} == {arm["learnt"]["memory_sha256"]}
    assert document["arms"]["no reflection"]["learnt"]["rules"] == len(RULES)
    assert document["arms"]["no rule memory"]["learnt"]["rules"] == 0
    assert document["arms"]["no prototype memory"]["learnt"]["cases"] == 0


def test_arms_share_what_is_the_same(made, done):
    out, document, _ = done
    arms = document["arms"]
    assert (
        arms["DPO"]["scores"] == arms["full"]["scores"]
        and arms["DPO"]["steps"]["learn"] == arms["full"]["steps"]["learn"]
    )
    assert arms["DPO"]["aligned"][0]["sha256"] != arms["full"]["aligned"][0]["sha256"]
    assert arms["DPO"]["cost"] == arms["full"]["cost"] and arms["full"]["cost"]["calls"] > 0
    kinds = [p.name.split("_")[0] for p in (out / "steps").iterdir()]
    assert [kinds.count(kind) for kind in ("learn", "score", "align")] == [5, 8, 9]
    weights = {a["sha256"] for arm in arms.values() for a in arm["aligned"]}
    assert kinds.count("measure") == 1 + len(weights)
    assert arms["reprojection critic"]["scores"] == "reprojection" and arms["base"]["scores"] is None


def test_the_cost_of_an_arm_is_what_it_would_pay_alone(made, truth, done, tmp_path):
    _, document, _ = done
    alone = study(made, arms=[{"name": "no prototype memory", "prototypes": False}])
    truth.reviews = 0
    found = run_ablations(study_from(alone), tmp_path / "alone", judge_of(truth))
    cost = found["arms"]["no prototype memory"]["cost"]
    spent = found["journal"]
    assert (cost["calls"], cost["prompt_tokens"]) == (spent["calls"], spent["prompt_tokens"])
    assert cost["calls"] == 2 * PERSONS * CALLS + PERSONS  # judged twice over, and a review of each that was learnt on
    assert document["arms"]["no memory"]["cost"]["calls"] == PERSONS * CALLS
    assert document["arms"]["random critic"]["cost"]["calls"] == 0
    assert document["journal"]["calls"] < sum(arm["cost"]["calls"] for arm in document["arms"].values())


def test_figures_and_scores_against_the_truth(done):
    _, document, _ = done
    arms = document["arms"]
    assert (
        arms["full"]["against_truth"]["srcc"] == [1.0, 1.0, 1.0] and arms["full"]["against_truth"]["regret_mm"][0] == 0
    )
    assert arms["random critic"]["against_truth"]["srcc"][0] < 1
    assert arms["random critic"]["against_truth"]["difference"]["srcc"][0] < 0
    for name, arm in arms.items():
        mm, minus = arm["figures"]["raw"]["mm"], arm["figures"]["raw"]["minus_base_mm"]
        base = arms["base"]["figures"]["raw"]["mm"]
        for column in ("fused", "selected", "min_of_10"):
            assert minus[column][0] == pytest.approx(mm[column][0] - base[column][0], abs=0.11), (name, column)
    assert arms["base"]["figures"]["raw"]["minus_base_mm"]["fused"] == [0.0, 0.0, 0.0]
    assert set(arms["DPO"]["minus_full_mm"]["raw"]) == {"fused", "selected", "min_of_10"}
    assert arms["full"]["minus_full_mm"] == {}


def test_the_weights_say_what_they_are_from(done):
    out, document, _ = done
    folder = out / "steps" / document["arms"]["full"]["steps"]["align, seed 0"]
    load_checkpoint(folder / "model.safetensors", BODY.skeleton_hash)
    run = (folder / "run.yaml").read_text()
    assert document["arms"]["full"]["scores"] in run and "method: group" in run


def test_the_report_says_first_who_judged(done):
    out, document, _ = done
    text = (out / "gpa_ablations.md").read_text()
    assert text.splitlines()[2].startswith(f"**Judged by {WHO}.** No vision-language model was asked")
    assert "mechanism only" in text.splitlines()[2]
    assert json.loads((out / "gpa_ablations.json").read_text()) == document
    assert all(f"| {name} |" in text for name in document["arms"]) and str(out) not in text
    assert document["arms"]["full"]["learnt"]["memory_sha256"][:12] in text
    # A judge that knows the truth is not moved by what it is shown.
    assert document["same_scores"] == [list(document["arms"])[:6]] and "unmoved" in text


def test_a_second_run_asks_and_trains_nothing_and_scores_that_were_removed_come_back(made, truth, done):
    out, document, _ = done
    before, asked, arm = _times(out), len(truth.backend.requests), document["arms"]["no memory"]
    scores = GroupStore.open(made["score"]).scores(arm["scores"])
    for path in (Path(made["score"]) / "scores" / arm["scores"]).glob("scores_*"):
        path.unlink()
    again = run_ablations(study_from(study(made)), out, judge_of(truth))
    assert _without_time(again) == _without_time(document) and len(truth.backend.requests) == asked
    after = _times(out)
    assert {name for name in before if before[name] != after[name]} == {arm["steps"]["score"]}
    assert torch.equal(GroupStore.open(made["score"]).scores(arm["scores"]), scores)


def test_scores_that_have_changed_are_aligned_with_anew(made, truth, tmp_path):
    own = fresh(made, tmp_path)
    content = study(own, arms=[{"name": "bare", "memory": False}])
    bare = run_ablations(study_from(content), tmp_path / "out", judge_of(truth))["arms"]["bare"]
    with writing(own["score"]) as store:  # as after groups that were unjudged have been judged
        first = store.scores(bare["scores"])[:2]
        store.write_scores(bare["scores"], 0, torch.zeros_like(first))
    asked = len(truth.backend.requests)
    again = run_ablations(study_from(content), tmp_path / "out", judge_of(truth))["arms"]["bare"]
    assert again["scored"]["speaking"] == bare["scored"]["speaking"] - 2 and len(truth.backend.requests) == asked
    assert again["steps"]["score"] == bare["steps"]["score"]
    assert again["steps"]["align, seed 0"] != bare["steps"]["align, seed 0"]
    assert again["aligned"][0]["sha256"] != bare["aligned"][0]["sha256"]


def test_a_memory_that_was_frozen_before_its_step_was_done_is_frozen_anew(made, truth, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    content = study(made, arms=[{"name": "full"}])
    learnt = done[1]["arms"]["full"]
    folder = out / "steps" / learnt["steps"]["learn"]
    (folder / "done.json").unlink()
    (folder / "frozen.sqlite").unlink()
    with Memory.open(tmp_path / "early.sqlite") as memory:
        memory.freeze(folder / "frozen.sqlite")
    again = run_ablations(study_from(content), out, judge_of(truth))["arms"]["full"]
    assert _without_time(again["learnt"]) == _without_time(learnt["learnt"])
    assert again["steps"] == learnt["steps"]


def test_groups_without_a_verdict_in_learning_are_reported(done):
    document = deepcopy(done[1])
    document["arms"]["full"]["learnt"]["unjudged"] = [["a", "refused"], ["b", "refused"], ["c", "refused"]]
    table = study_markdown(document).split("## What was learnt and scored")[1].split("##")[0].strip().splitlines()
    heads, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    counts = {row[0]: row[heads.index("unjudged in learning")] for row in rows[1:]}
    assert counts["full"] == "3" and counts["no reflection"] == "0" and counts["no memory"] == ""


def _times(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in sorted((out / "steps").rglob("done.json"))}


def _without_time(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _without_time(value) for name, value in document.items() if name != "cpu_seconds"}
    return [_without_time(value) for value in document] if isinstance(document, list) else document


class Killed(BaseException):
    """A process that ends here."""


@pytest.mark.parametrize("after", [3, 19])  # while it learns, and while it scores
def test_a_study_that_was_killed_goes_on_without_asking_twice(made, truth, tmp_path, after):
    arms = [{"name": "full"}, {"name": "no memory", "memory": False}]
    content = study(fresh(made, tmp_path), arms=arms, judge={"concurrency": 1})
    straight, began = truth.backend._answer, len(truth.backend.requests)
    truth.reviews = 0

    def dying(request):
        if len(truth.backend.requests) - began > after:
            raise Killed
        return straight(request)

    truth.backend._answer = dying
    try:
        with pytest.raises(Killed):
            run_ablations(study_from(content), tmp_path / "out", judge_of(truth))
    finally:
        truth.backend._answer = straight
    document = run_ablations(study_from(content), tmp_path / "out", judge_of(truth))
    expected = 3 * PERSONS * CALLS + PERSONS
    assert document["journal"]["answers"] == expected and len(truth.backend.requests) - began == expected + 1
    assert document["arms"]["full"]["scored"]["judged"] == PERSONS


def test_another_study_of_the_store_asks_nothing_and_says_that_the_cost_is_elsewhere(made, truth, done, tmp_path):
    asked = len(truth.backend.requests)
    content = study(made, arms=[{"name": "bare", "memory": False}])
    document = run_ablations(study_from(content), tmp_path, judge_of(truth))
    assert len(truth.backend.requests) == asked and document["arms"]["bare"]["cost"]["elsewhere"] == PERSONS * CALLS
    assert "that is not here: bare" in (tmp_path / "gpa_ablations.md").read_text()


def test_an_arm_without_a_preference_is_left_out_and_says_so(made, tmp_path):
    judge = TruthJudge(Path(made["learn"]), Path(made["score"]), style=STYLE)
    judge.wrong = dict.fromkeys(GroupStore.open(made["score"]).ids, "constant")
    arms = [{"name": "random critic", "critic": "random"}, {"name": "silent", "memory": False}]
    content = study(fresh(made, tmp_path), arms=arms)
    document = run_ablations(study_from(content), tmp_path, Judge(judge.backend, WHO))
    silent = document["arms"]["silent"]
    assert silent["scored"]["uninformative"] == PERSONS and silent["aligned"] == [] and silent["figures"] == {}
    assert (
        "nothing to align with" in silent["skipped"]
        and silent["skipped"] in (tmp_path / "gpa_ablations.md").read_text()
    )


def test_the_plan_counts_what_is_asked_and_asks_nothing(made, done):
    _, document, _ = done
    plan = plan_study(study_from(study(made)))
    for name, arm in document["arms"].items():
        assert plan["arms"][name]["calls"] == arm["cost"]["calls"], name
    assert plan["arms"]["DPO"]["shares_with"] == ["full"] and plan["arms"]["base"]["calls"] == 0
    distinct = sum(row["calls"] for name, row in plan["arms"].items() if name != "DPO")
    assert plan["total"]["calls"] == distinct


def test_stores_that_do_not_go_together_are_refused_before_anything_is_asked(made, truth, tmp_path):
    asked = len(truth.backend.requests)

    def refused(said, content):
        with pytest.raises(InputError, match=said):
            run_ablations(study_from(content), tmp_path / "out", judge_of(truth))

    plain = study(made)
    with_same = deepcopy(plain)
    with_same["measure"]["store"] = made["score"]
    refused("persons of the groups to score", with_same)
    refused("sampled by other weights", {**plain, "base": "lite"})
    refused("is in the memory", {**plain, "learn": made["score"]})
    refused("no store", {**plain, "learn": str(tmp_path)})
    assert len(truth.backend.requests) - asked <= 2 * PERSONS * CALLS + PERSONS  # the third has learnt before


def test_a_judge_has_to_be_named():
    with pytest.raises(InputError, match="nobody to ask"):
        open_judge(JudgeAccess())
    with pytest.raises(InputError, match="not this machine"):
        open_judge(JudgeAccess(base_url="http://192.0.2.1/v1", model="m"))
    with pytest.raises(InputError, match="not named"):
        Judge(open_judge(JudgeAccess(base_url="http://127.0.0.1:9/v1", model="m")).backend, " ")
    assert HYPOTHESES < 10  # one call shows a whole group, so that CALLS is right
