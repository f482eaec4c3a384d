"""An audit of a small store: the oracle is perfect, stored and newly asked scores agree, habits come from the calls."""

import json

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.preferences.build import GroupStoreConfig, critic_facts, score_by_all
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.structures import Hypotheses, InputError, PreferenceGroups
from hmralign.studies.critic_audit.audit import AuditConfig, audit_store, group_errors, scores_of, write_audit
from hmralign.studies.critic_audit.habits import critiques_of
from hmralign.training.hypothesis_sets import PerturbConfig, body_errors, perturbed_truth
from support.group_stores import files_of, store_facts
from support.synthetic_persons import BODY, persons, seeded

GROUPS, SIZE, SHARD = 12, 4, 5
EXAMPLE = persons(GROUPS)
BODIES = perturbed_truth(EXAMPLE.annotation, SIZE, PerturbConfig(levels=(1.0, 12.0)), seeded(1))


def filled(folder):
    joints = posed_joints(BODY, BODIES)
    with writing(folder, store_facts(group_size=SIZE, with_truth=True)) as store:
        for start in range(0, GROUPS, SHARD):
            some = torch.arange(start, min(start + SHARD, GROUPS))
            ids = tuple(f"photo{int(i) // 2}.jpg#{int(i) % 2}" for i in some)
            store.append(PreferenceGroups(ids, None, Hypotheses(BODIES[some], joints[some]), EXAMPLE[some]))
        config = GroupStoreConfig(SIZE, with_truth=True)
        judges = {c: critic_facts(c, BODY, config) for c in ("oracle", "reprojection", "random")}
        score_by_all(store, judges, BODY, config)
        speak(store)
    return folder


def speak(store):
    """A judge of two calls per group who likes the last place, and could not judge the first group."""
    store.declare_critic("judge", CriticFacts("judge", False))
    for shard in range(store.num_shards):
        lines, rows = [], []
        for number, name in enumerate(store.shard_ids(shard)):
            unjudged = shard == number == 0
            line = {"format_version": 1, "id": name, "status": "unjudged" if unjudged else "judged"}
            if not unjudged:
                calls = [[[h, 10.0 * h + 5 * place, ""] for place, h in enumerate(order)]
                         for order in ([0, 1, 2, 3], [3, 2, 1, 0])]  # fmt: skip
                line["critiques"] = [{"key": str(k), "findings": c} for k, c in enumerate(calls)]
            lines.append(json.dumps(line) + "\n")
            rows.append(torch.zeros(SIZE) if unjudged else torch.arange(float(SIZE)))
        (store.folder / "scores/judge" / f"verdicts_{shard:05d}.jsonl").write_text("".join(lines))
        store.write_scores("judge", shard, torch.stack(rows))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return GroupStore.open(filled(tmp_path_factory.mktemp("audit") / "store"))


@pytest.fixture(scope="module")
def document(store):
    before = files_of(store.folder)
    config = AuditConfig(("oracle", "random", "consistency", "judge"), planted=6, draws=100)
    found = audit_store(store, config, BODY)
    assert files_of(store.folder) == before, "the store is not written to"
    return found


def test_errors_are_those_of_the_metrics(store):
    expected = body_errors(BODY, BODIES, EXAMPLE.annotation, with_vertices=False)[..., 0]
    torch.testing.assert_close(torch.from_numpy(group_errors(store, 7)), expected[:7].double(), atol=1e-5, rtol=1e-4)


def test_the_oracle_is_perfect_the_reference_is_added_and_photos_are_the_clusters(document):
    assert list(document["critics"]) == ["oracle", "random", "consistency", "judge", "reprojection"]
    assert document["groups"] == 12 and document["persons"] == 6
    oracle = document["critics"]["oracle"]
    assert oracle["per_group"]["srcc"][0] == pytest.approx(1) and oracle["per_group"]["regret_mm"][0] == 0
    assert document["critics"]["reprojection"]["difference"] is None and oracle["difference"]["srcc"][0] > 0
    assert [document["critics"][n]["scores"] for n in ("random", "consistency")] == ["from the store", "judged now"]
    assert document["planted"]["not_asked"] == ["judge"]
    assert set(document["planted"]["mistakes"]["torso twisted"]["critics"]) == {
        "oracle", "random", "consistency", "reprojection",
    }  # fmt: skip


def test_a_critic_that_is_asked_now_says_what_the_store_would_hold(store, tmp_path):
    import shutil

    bare = shutil.copytree(store.folder, tmp_path / "bare")
    shutil.rmtree(bare / "scores")
    for name in ("reprojection", "random"):
        kept, asked = (scores_of(s, name, 9, BODY) for s in (store, GroupStore.open(bare)))
        torch.testing.assert_close(torch.from_numpy(kept[0]), torch.from_numpy(asked[0]))
        assert (kept[1], asked[1]) == ("from the store", "judged now")


def test_habits_of_a_speaking_critic_are_found(document):
    habits = document["critics"]["judge"]["habits"]
    assert habits["status"] == {"unjudged": 1, "judged": 11} and habits["calls"] == 22 and habits["groups"] == 11
    assert habits["position_slope"] == pytest.approx(15)  # three places of 5 points
    assert habits["flip_rate"] == 0 and habits["test_retest"] == pytest.approx(1) and habits["tie_rate"] == 0
    assert "habits" not in document["critics"]["oracle"]
    assert document["critics"]["judge"]["per_group"]["silent"][0] == pytest.approx(1 / 12, abs=1e-4)


def test_files_are_whole_and_say_the_same(document, tmp_path):
    files = write_audit(tmp_path, document)
    assert [f.name for f in files] == ["critic_audit.json", "critic_audit.md", "critic_audit.png"]
    assert json.loads(files[0].read_text()) == document
    text = files[1].read_text()
    for words in ("12 groups of 4", "6 photos", "Difference to reprojection", "limb flipped in depth", "test-retest",
                  "only their scores are there: judge"):  # fmt: skip
        assert words in text, words
    assert files[2].read_bytes().startswith(b"\x89PNG") and files[2].stat().st_size > 10_000


def test_wrong_input_is_named(store, tmp_path):
    with pytest.raises(InputError, match=r"no critic 'nobody'.*scores of the store \(judge, oracle"):
        audit_store(store, AuditConfig(("nobody",)), BODY)
    with pytest.raises(InputError, match="has 12 groups, 99"):
        audit_store(store, AuditConfig(("oracle",), groups=99), BODY)
    with pytest.raises(InputError, match="each named once"):
        AuditConfig(("oracle", "oracle"))
    with writing(tmp_path / "blind", store_facts(group_size=SIZE)) as blind:
        with pytest.raises(InputError, match="holds no truth"):
            audit_store(blind, AuditConfig(("oracle",)), BODY)
    with pytest.raises(InputError, match="group 'a' cannot be read"):
        critiques_of({"id": "a", "critiques": [{"key": "k", "findings": [[1]]}]})
