"""A study of a small store: controls are what they must be, everything adds up, tables and pictures are made."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.evaluation.mistakes.kinds import KINDS
from hmralign.evaluation.mistakes.segments import NUMBER, SEGMENTS
from hmralign.preferences.build import GroupStoreConfig, critic_facts, score_by_all
from hmralign.preferences.store import GroupStore, writing
from hmralign.structures import Hypotheses, InputError, PreferenceGroups
from hmralign.studies.critic_failures.judged import judged_groups
from hmralign.studies.critic_failures.report import failures_markdown
from hmralign.studies.critic_failures.sheet import cases, failures_sheet, vertex_segments
from hmralign.studies.critic_failures.study import FailuresConfig, failures
from hmralign.training.hypothesis_sets import PerturbConfig, perturbed_truth
from support.group_stores import files_of, store_facts
from support.synthetic_persons import BODY, persons, seeded

GROUPS, SIZE, SHARD = 30, 5, 16
EXAMPLE = persons(GROUPS)
BODIES = perturbed_truth(EXAMPLE.annotation, SIZE, PerturbConfig(levels=(4.0, 25.0)), seeded(1))
CONFIG = FailuresConfig(
    critics=("oracle", "reprojection", "consistency", "random"), compared=("consistency", "reprojection"), draws=100,
    least_pairs=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures") / "store"
    joints = posed_joints(BODY, BODIES)
    with writing(folder, store_facts(group_size=SIZE, with_truth=True)) as store:
        for start in range(0, GROUPS, SHARD):
            some = torch.arange(start, min(start + SHARD, GROUPS))
            ids = tuple(f"person{int(i)}" for i in some)
            store.append(PreferenceGroups(ids, None, Hypotheses(BODIES[some], joints[some]), EXAMPLE[some]))
        config = GroupStoreConfig(SIZE, with_truth=True)
        score_by_all(store, {c: critic_facts(c, BODY, config) for c in ("oracle", "reprojection")}, BODY, config)
    return GroupStore.open(folder)


@pytest.fixture(scope="module")
def judged(store):
    before = files_of(store.folder)
    found = judged_groups(store, CONFIG.critics, BODY)
    assert files_of(store.folder) == before, "the store is not written to"
    return found


@pytest.fixture(scope="module")
def document(judged):
    return failures(judged, CONFIG) | {"compared": list(CONFIG.compared)}


def test_errors_are_the_oracles_and_groups_stay_in_order(store, judged):
    np.testing.assert_allclose(judged.errors, -store.scores("oracle").numpy(), atol=1e-5)
    np.testing.assert_allclose(judged.of_truth["oracle"], 0, atol=1e-6)
    assert judged.ids == tuple(f"person{i}" for i in range(GROUPS)) and judged.kinds.shape == (GROUPS, SIZE, 14)


def test_the_controls_are_perfect_and_worth_nothing(document):
    oracle = document["regret"]["critics"]["oracle"]
    assert oracle["regret_mm"] == [0, 0, 0] and oracle["misled"] == [0, 0, 0]
    assert oracle["favourite_above_truth"] == [0, 0, 0]
    assert "favourite_above_truth" not in document["regret"]["critics"]["consistency"]
    counted = [r["all"] for r in document["pairs"].values() if "right" in r["all"]]
    assert len(counted) >= 2
    for row in counted:
        assert row["right"]["oracle"] == [1, 1, 1]
        low, high = row["right"]["random"][1:]
        assert low <= 0.6 and high >= 0.4


def test_a_favourite_is_misled_from_the_regret_that_the_configuration_names(judged):
    regret = judged.errors[np.arange(GROUPS), judged.scores["reprojection"].argmax(1)] - judged.errors.min(1)
    found = []
    for metres in (0.001, 0.02, 10.0):
        document = failures(judged, replace(CONFIG, misled_by=metres))
        row = document["regret"]["critics"]["reprojection"]
        assert row["misled"][0] == pytest.approx((regret >= metres).mean(), abs=1e-4)
        assert document["thresholds"]["misled_mm"] == pytest.approx(1000 * metres)
        found.append(row["misled"][0])
    assert found[0] > found[1] > found[2] == 0


def test_everything_adds_up(document):
    assert sum(k["segments"] for k in document["kinds"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(k["cost_mm"] for k in document["kinds"].values()) == pytest.approx(document["mean_error_mm"], abs=0.1)
    assert sum(s["cost_mm"] for s in document["segments"].values()) == pytest.approx(document["mean_error_mm"], abs=0.1)
    for row in document["segments"].values():
        assert sum(row["cost_by_kind_mm"].values()) == pytest.approx(row["cost_mm"], abs=0.05)
    for row in document["regret"]["critics"].values():
        assert sum(v[0] for v in row["by_kind_mm"].values()) == pytest.approx(row["regret_mm"][0], abs=0.01)
        if "misled" in row:
            assert sum(row["misled_mainly_by"].values()) == pytest.approx(row["misled"][0], abs=1e-3)
    for row in document["pairs"].values():
        assert row["seen"]["pairs"] + row["hidden"]["pairs"] == row["all"]["pairs"]


def test_a_difference_is_that_of_the_two_rates(document):
    for row in document["pairs"].values():
        if "right" in row["all"]:
            rates = row["all"]["right"]
            expected = rates["consistency"][0] - rates["reprojection"][0]
            assert row["all"]["difference"][0] == pytest.approx(expected, abs=2e-4)


def test_the_document_is_plain_and_its_tables_name_everything(document):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    text = failures_markdown(document)
    for words in (*KINDS, *(s.name for s in SEGMENTS), "a pick by chance", "consistency minus reprojection", "too few"):
        assert words in text, words


def test_cases_are_the_same_each_time_and_cost_what_they_say(judged):
    shown = cases(judged, "reprojection", 0)
    assert shown and shown == cases(judged, "reprojection", 0)
    assert {c.chosen for c in shown} == {"most misled", "drawn at random"}
    for case in shown:
        assert case.cost >= 0.01 and case.segments and case.favourite != case.best
        assert (judged.kinds[case.group, case.favourite, list(case.segments)] == case.kind).all()
    silent = replace(judged, scores={"reprojection": np.ones((GROUPS, SIZE))})
    assert cases(silent, "reprojection", 0) == []


def test_a_sheet_shows_a_row_per_case(store, judged):
    shown = cases(judged, "reprojection", 0)[:2]
    sheet = failures_sheet(store, judged, "reprojection", BODY, shown, side=64)
    assert sheet.width >= 640 and sheet.height > 128
    assert np.asarray(sheet).std() > 10
    with pytest.raises(InputError, match="nothing misled"):
        failures_sheet(store, judged, "reprojection", BODY, [])


def test_every_segment_has_its_part_of_the_mesh():
    owners = vertex_segments(BODY)
    assert set(owners.tolist()) == set(range(len(SEGMENTS)))
    x = BODY.v_template[:, 0]
    left, right = (x[owners == NUMBER[f"{side} forearm"]].mean() for side in ("left", "right"))
    assert float(left) == pytest.approx(-float(right), abs=0.02) and float(left) > 0.1


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(InputError, match="with oracle"):
        FailuresConfig(critics=("random", "reprojection", "scorer-lab"))
    with writing(tmp_path / "blind", store_facts(group_size=SIZE)) as blind:
        with pytest.raises(InputError, match="groups with truth"):
            judged_groups(blind, ("oracle",), BODY)
