"""Groups are built, continued and scored: kills, full disks and second processes change nothing in the result."""

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.critics.controls import OracleCritic
from hmralign.critics.critic import judge
from hmralign.models.scorer_checkpoint import scorer_path
from hmralign.preferences import build as build_module
from hmralign.preferences.build import GroupStoreConfig, build_groups, score_store
from hmralign.preferences.person_source import ShardSource, SourceBatch
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, InputError
from support.group_stores import SIZE, STEPS, files_of, shard_folder, tiny_policy
from support.store_builder import Builder
from support.synthetic_persons import BODY, persons

PERSONS, PER_SHARD = 11, 2
SHARDS = 6
CONFIG = {"group_size": SIZE, "num_steps": STEPS, "shard_size": PER_SHARD, "with_truth": True, "seed": 3}
CRITICS = ["oracle-noisy", "random"]
FIRST = [f"shards:train/{number:06d}" for number in range(0, PERSONS, PER_SHARD)]
"""Of each shard, the first group."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return shard_folder(tmp_path_factory.mktemp("data") / "shards", PERSONS)


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


@pytest.fixture(scope="module")
def builder():
    with Builder() as builder:
        yield builder


@pytest.fixture(scope="module")
def straight(shards, builder, tmp_path_factory):
    """Files of a build that nothing disturbs."""
    folder = tmp_path_factory.mktemp("straight") / "store"
    assert builder.run(shards=shards, out=folder, config=CONFIG, critics=CRITICS) == (0, "")
    return files_of(folder)


def built(policy, shards, folder, critics=(), persons=None, source=None, checkpoint="c" * 64, **changes) -> GroupStore:
    source = source or ShardSource.open(shards, persons)
    config = GroupStoreConfig(**{**CONFIG, **changes})
    return build_groups(policy, BODY, checkpoint, ("lab/train",), source, folder, config, critics)


@pytest.fixture
def sampled(monkeypatch):
    """First groups of the shards that were sampled in this process."""
    first, real = [], build_module.sample_batch
    monkeypatch.setattr(build_module, "sample_batch", lambda *a: first.append(a[1].ids[0]) or real(*a))
    return first


# -- the straight run --------------------------------------------------------------------------------------------------


def test_groups_are_what_the_policy_samples(policy, shards, tmp_path):
    store = built(policy, shards, tmp_path, ["oracle", "reprojection"])
    assert type(store) is GroupStore and len(store) == PERSONS and store.num_shards == SHARDS
    assert store.ids == tuple(f"shards:train/{n:06d}" for n in range(PERSONS))
    assert (store.facts.skeleton_hash, store.facts.seed) == (BODY.skeleton_hash, 3)
    example = ShardSource.open(shards).shards[torch.tensor([2, 3])]
    read = store.read(1, truth=True)
    generators = [seeded(3, "groups", name) for name in store.ids[2:4]]
    assert torch.equal(read.x_0, policy.sample_each(policy.context(example.observation), SIZE, generators))
    assert torch.equal(read.example.observation.mask, example.observation.mask)
    assert torch.equal(read.example.annotation.joints, example.annotation.joints)
    torch.testing.assert_close(posed_joints(BODY, read.hypotheses.body), read.hypotheses.joints, atol=1e-4, rtol=0)
    torch.testing.assert_close(policy.to_body(read.x_0, example.observation).joints, read.hypotheses.joints)
    scores = judge(OracleCritic(), read.hypotheses, read.example)
    assert torch.equal(store.scores("oracle")[2:4], scores)
    assert store.scores("reprojection").shape == (PERSONS, SIZE)


def test_the_same_seed_gives_the_same_files_in_every_process(policy, shards, straight, builder, tmp_path):
    store = built(policy, shards, tmp_path / "store", CRITICS)
    assert files_of(tmp_path / "store") == straight
    assert builder.run(out=tmp_path / "store", describe=tmp_path / "found") == (0, "")
    there = json.loads((tmp_path / "found").read_text())
    assert (tuple(there["ids"]), there["hash"], there["shards"]) == (store.ids, store.content_hash(), SHARDS)
    other = built(policy, shards, tmp_path / "other", seed=4)
    assert not torch.equal(other.read(0).x_0, store.read(0).x_0)


def test_nothing_is_done_where_all_is_done(policy, shards, tmp_path, sampled):
    built(policy, shards, tmp_path, CRITICS)
    before, times = files_of(tmp_path), {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    assert sampled == FIRST
    built(policy, shards, tmp_path, CRITICS)
    assert sampled == FIRST and files_of(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == times


def test_another_critic_scores_without_sampling_and_changes_no_group(policy, shards, tmp_path, sampled):
    built(policy, shards, tmp_path, ["random"])
    before = files_of(tmp_path)
    built(policy, shards, tmp_path, ["oracle-noisy"])
    after = files_of(tmp_path)
    assert sampled == FIRST and {p: after[p] for p in before} == before
    assert {p.split("/")[1] for p in set(after) - set(before)} == {"oracle-noisy"}


# -- kills -------------------------------------------------------------------------------------------------------------


def test_a_build_killed_at_any_moment_becomes_the_straight_one(shards, straight, builder, tmp_path):
    """SIGKILL whenever some more files are there, and a random moment later, until a run comes through."""
    folder, log = tmp_path / "store", tmp_path / "log"
    job = {"shards": shards, "out": folder, "config": CONFIG, "critics": CRITICS, "log": log}
    draw, kills, redone = random.Random(5), 0, Counter()
    while True:
        at_least, logged = len(list(folder.glob("**/*.safetensors"))) + draw.randint(0, 3), len(lines_of(log))
        pid = builder.start(**job)
        if kills < 8:
            while len(list(folder.glob("**/*.safetensors"))) < at_least and running(pid):
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            os.kill(pid, signal.SIGKILL)
        code, error = builder.wait()
        sampled = [int(line.split()[0]) for line in lines_of(log)[logged:]]
        assert len(set(sampled)) == len(sampled)
        redone.update(sampled)
        if code == 0:
            break
        assert (code, error) == (-signal.SIGKILL, "")
        kills += 1
        if (folder / "store.json").exists():
            whole = GroupStore.open(folder).num_shards
            assert whole in (len(redone), len(redone) - 1)  # all that was begun, but for the one in flight
    assert kills
    assert set(redone) == set(range(SHARDS)) and sum(redone.values()) <= SHARDS + kills
    assert files_of(folder) == straight


@pytest.mark.parametrize(
    "function, call, when, redo",
    [
        ("write_json", 1, "halfway", []),  # store.json
        ("write_json", 1, "after", []),
        ("save_whole", 1, "halfway", [0]),  # truth of the first shard
        ("save_whole", 5, "after", [2]),  # truth of the third
        ("save_whole", 6, "halfway", [2]),  # its groups
        ("_append_lines", 1, "before", [0]),
        ("_append_lines", 4, "halfway", [3]),
        ("_append_lines", 4, "after", []),
        ("_append_lines", SHARDS, "halfway", [SHARDS - 1]),
        ("write_json", 2, "before", []),  # critic.json
        ("write_json", 2, "halfway", []),
        ("save_whole", 2 * SHARDS + 2, "halfway", []),  # scores
        ("save_whole", 2 * SHARDS + 2, "after", []),
    ],
)
def test_a_build_killed_where_it_hurts(shards, straight, builder, tmp_path, function, call, when, redo):
    folder, log = tmp_path / "store", tmp_path / "log"
    job = {"shards": shards, "out": folder, "config": CONFIG, "critics": CRITICS, "log": log}
    assert builder.run(**job, kill=[function, call, when]) == (-signal.SIGKILL, "")
    if (folder / "store.json").exists():
        store = GroupStore.open(folder)  # can be read as it was left
        assert [store.read(s, truth=True).ids[0] for s in range(store.num_shards)] == list(store.ids[::PER_SHARD])
    assert builder.run(**job) == (0, "")
    counts = Counter(int(line.split()[0]) for line in lines_of(log))
    assert counts == Counter([*range(SHARDS), *redo])
    assert files_of(folder) == straight


def lines_of(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def running(pid: int) -> bool:
    """False for a job that ended and was not waited for yet."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


# -- two processes -----------------------------------------------------------------------------------------------------


def test_one_process_writes_and_its_death_frees_the_store(policy, shards, straight, builder, tmp_path):
    folder, log = tmp_path / "store", tmp_path / "log"
    job = {"shards": shards, "out": folder, "config": CONFIG, "critics": CRITICS}
    pid = builder.start(**job, log=log, hang=2)
    while len(lines_of(log)) < 3:
        assert running(pid)
        time.sleep(0.01)
    started = time.monotonic()
    with pytest.raises(InputError, match="another process is writing to this store"):
        built(policy, shards, folder, CRITICS)
    assert time.monotonic() - started < 2
    assert GroupStore.open(folder).num_shards == 2  # reading needs no lock
    os.kill(pid, signal.SIGKILL)
    assert builder.wait() == (-signal.SIGKILL, "")
    with writing(folder):
        code, error = builder.run(**job)
        assert code == 1 and error.startswith("HeldElsewhereError: ") and "process is writing to this store" in error
    assert builder.run(**job) == (0, "")
    assert files_of(folder) == straight


# -- full disks --------------------------------------------------------------------------------------------------------


def test_a_disk_too_full_for_a_shard(shards, straight, builder, tmp_path):
    folder = tmp_path / "store"
    job = {"shards": shards, "out": folder, "config": CONFIG, "critics": CRITICS}
    builder.run(**job, kill=["_append_lines", 3, "after"])
    before = files_of(folder)
    for limit in (1, 1000, 8000):
        code, error = builder.run(**job, file_limit=limit)
        assert code == 1 and error.startswith("StoreFullError") and "what was there is whole, run it again" in error
        assert error.count("\n") == 0
        after = files_of(folder)
        assert {p: after[p] for p in before} == before and set(after) - set(before) <= {"truth_00003.safetensors"}
    assert builder.run(**job) == (0, "")
    assert files_of(folder) == straight


def test_a_disk_too_full_for_the_index(shards, builder, tmp_path):
    """Many photos without people make the index as long as a shard; the kernel then writes a part of the next line."""
    config = {**CONFIG, "shard_size": 1, "with_truth": False}
    jobs = [{"shards": shards, "out": tmp_path / n, "config": config, "critics": ["random"]} for n in ("a", "b")]
    assert builder.run(**jobs[0]) == (0, "")
    folder, index = tmp_path / "b", tmp_path / "b" / "index.jsonl"
    builder.run(**jobs[1], kill=["_append_lines", 8, "after"])
    limit = (tmp_path / "a" / "groups_00000.safetensors").stat().st_size + 1000
    line = json.dumps({"id": "landscape", "skipped": "nobody"}) + "\n"
    skipped = line * ((limit - index.stat().st_size) // len(line))
    index.write_text(index.read_text() + skipped)
    before = files_of(folder)
    code, error = builder.run(**jobs[1], file_limit=limit)
    assert code == 1 and error.startswith("StoreFullError") and "index.jsonl" in error
    after = files_of(folder)
    assert {p: after[p] for p in before} == before and set(after) - set(before) == {"groups_00008.safetensors"}
    assert builder.run(**jobs[1]) == (0, "")
    index.write_text(index.read_text().replace(skipped, ""))
    assert files_of(folder) == files_of(tmp_path / "a")


# -- other facts -------------------------------------------------------------------------------------------------------


def test_a_store_is_continued_by_the_same_policy_seed_size_and_source(policy, shards, tmp_path, sampled):
    built(policy, shards, tmp_path / "store")
    before = files_of(tmp_path / "store")
    other = shard_folder(tmp_path / "other", PERSONS, seed=6)
    for changes, name in [
        ({"checkpoint": "e" * 64}, "checkpoint_sha256"),
        ({"seed": 4}, "seed"),
        ({"group_size": 4}, "group_size"),
        ({"shards": other}, "source_sha256"),
        ({"with_truth": False}, "with_truth"),
        ({"shard_size": 3}, "shard_size"),
    ]:
        with pytest.raises(InputError, match=f"with {name} = "):
            built(policy, **{"shards": shards, "folder": tmp_path / "store", **changes})
    taller, source = replace(BODY, J_template=1.1 * BODY.J_template), ShardSource.open(shards)
    with pytest.raises(InputError, match="with skeleton_hash = "):
        build_groups(policy, taller, "c" * 64, ("lab/train",), source, tmp_path / "store", GroupStoreConfig(**CONFIG))
    assert files_of(tmp_path / "store") == before and sampled == FIRST


def test_more_persons_are_added_where_a_shard_ends(policy, shards, tmp_path):
    full = built(policy, shards, tmp_path / "full")
    built(policy, shards, tmp_path / "some", persons=4)
    built(policy, shards, tmp_path / "some")
    assert files_of(tmp_path / "some") == files_of(tmp_path / "full") and full.num_shards == SHARDS
    built(policy, shards, tmp_path / "odd", persons=5)
    with pytest.raises(InputError, match="the store has 1: it was built with another number of persons"):
        built(policy, shards, tmp_path / "odd")


@pytest.mark.parametrize("change", [{"group_size": 1}, {"shard_size": 0}, {"num_steps": 0}])
def test_settings_that_say_nothing(change):
    with pytest.raises(InputError, match="at least"):
        GroupStoreConfig(**change)


def test_steps_that_are_recorded_are_those_that_are_taken(policy, shards, tmp_path):
    with pytest.raises(InputError, match="samples in 2 steps, the groups are to be recorded with 3"):
        built(policy, shards, tmp_path / "store", num_steps=3)
    assert not (tmp_path / "store").exists()


# -- sources -----------------------------------------------------------------------------------------------------------


class ListSource:
    """Persons as somebody else's reader gives them."""

    name, sha256, has_truth = "list", "f" * 64, True

    def __init__(self, *batches: SourceBatch) -> None:
        self.given = batches

    def batches(self, size, done):
        return (batch for batch in self.given if batch.ids[0] not in done)


def test_an_empty_source_makes_an_empty_store(policy, tmp_path):
    store = built(policy, None, tmp_path, ["random"], source=ListSource())
    assert len(store) == 0 and store.critics() == ("random",) and set(files_of(tmp_path)) == {
        "store.json", "scores/random/critic.json",
    }  # fmt: skip


def test_persons_of_the_same_name_and_persons_that_are_skipped(policy, tmp_path, sampled):
    example = persons(8)[torch.arange(2)]
    source = ListSource(
        SourceBatch(("a", "b"), example),
        SourceBatch(("c",), None, skipped="behind a wall"),
        SourceBatch(("d",), None),
        SourceBatch(("e", "a"), example),
    )
    with pytest.raises(InputError, match="'a' is there already"):
        built(policy, None, tmp_path, source=source)
    store = GroupStore.open(tmp_path)
    assert store.ids == ("a", "b") and store.skipped == {"c": "behind a wall", "d": "no reason was given"}
    before = files_of(tmp_path)
    built(policy, None, tmp_path, source=ListSource(*source.given[:3]))
    assert sampled == ["a", "e"] and files_of(tmp_path) == before


def test_masks_are_sampled_from_as_they_are_stored(policy, tmp_path):
    example = persons(8)[torch.arange(2)]
    mask = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(0))
    example = replace(example, observation=replace(example.observation, mask=mask, has_mask=torch.tensor([True, True])))
    read = built(policy, None, tmp_path, source=ListSource(SourceBatch(("a", "b"), example))).read(0)
    generators = [seeded(3, "groups", name) for name in "ab"]
    assert not torch.equal(read.example.observation.mask, mask)
    assert torch.equal(read.x_0, policy.sample_each(policy.context(read.example.observation), SIZE, generators))


def test_samples_that_are_not_finite_are_named(policy, tmp_path, monkeypatch):
    real = policy.to_body_in

    def broken(x_0, observation, context):
        bodies = real(x_0, observation, context)
        bodies.joints[1, 2, 3] = torch.nan
        return bodies

    monkeypatch.setattr(policy, "to_body_in", broken)
    source = ListSource(SourceBatch(("a", "culprit"), persons(8)[torch.arange(2)]))
    with pytest.raises(InputError, match="of group 'culprit' is not finite"):
        built(policy, None, tmp_path, source=source)
    assert set(files_of(tmp_path)) == {"store.json"}


# -- truth and critics -------------------------------------------------------------------------------------------------


class Watching:
    """Scores by order, and remembers what it was shown."""

    name = "watching"

    def __init__(self, needs_truth=False, answer=None) -> None:
        self.needs_truth, self.answer, self.shown = needs_truth, answer, []

    def __call__(self, hypotheses, example: Example):
        self.shown.append(example)
        scores = torch.arange(float(SIZE)).expand(len(hypotheses.joints), -1).clone()
        return scores if self.answer is None else self.answer(scores)


@pytest.fixture(scope="module")
def with_truth(policy, shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "store"
    built(policy, shards, folder, persons=6)
    return folder


def test_annotations_are_shown_to_critics_that_need_them_only(with_truth):
    for name, needs, declared in [("blind", False, False), ("blinder", False, True), ("seeing", True, True)]:
        critic = Watching(needs)
        with writing(with_truth) as store:
            score_store(store, name, lambda ids, c=critic: c, CriticFacts(name, declared))
        assert [e.annotation is not None for e in critic.shown] == [needs] * 3
    with writing(with_truth) as store, pytest.raises(InputError, match="needs ground truth"):
        score_store(store, "liar", lambda ids: Watching(True), CriticFacts("liar", False))


def test_truth_that_is_not_there_is_refused_before_anything_is_sampled(policy, shards, tmp_path, sampled):
    source = ListSource(SourceBatch(("a", "b"), replace(persons(8)[torch.arange(2)], annotation=None)))
    source.has_truth = False
    with pytest.raises(InputError, match="'list' has no truth to keep"):
        built(policy, None, tmp_path / "a", source=source)
    for critic in ("oracle", "oracle-noisy"):
        with pytest.raises(InputError, match=f"critic '{critic}' needs truth"):
            built(policy, shards, tmp_path / "b", ["random", critic], with_truth=False)
    assert not list(tmp_path.iterdir()) and sampled == []
    built(policy, shards, tmp_path / "c", with_truth=False, persons=2)
    with writing(tmp_path / "c") as store, pytest.raises(InputError, match="critic 'mine' needs truth"):
        score_store(store, "mine", lambda ids: Watching(True), CriticFacts("mine", True))
    assert GroupStore.open(tmp_path / "c").critics() == ()


def failing(scores):
    raise KeyError("memory")


def nan(scores):
    scores[1, 0] = torch.nan
    return scores


@pytest.mark.parametrize(
    "answer, said",
    [(failing, "KeyError: 'memory'"), (nan, "person 1, hypothesis 0 the score nan"), (lambda s: s[:1], "shape")],
)
def test_a_critic_that_fails_is_named_with_its_groups_and_goes_on_later(with_truth, answer, said):
    name = f"fails-{answer.__name__.strip('<>')}"
    facts = CriticFacts(name, False)
    critics = dict(zip(FIRST, [Watching(), Watching(answer=answer), Watching()], strict=False))
    before = files_of(with_truth)
    with writing(with_truth) as store:
        with pytest.raises(InputError) as raised:
            score_store(store, name, lambda ids: critics[ids[0]], facts)
        for part in (f"critic '{name}'", "'shards:train/000002' to 'shards:train/000003'", said):
            assert part in str(raised.value)
        assert store.unscored(name) == [1, 2] and not critics[FIRST[2]].shown
        with pytest.raises(InputError, match="no scores of 2 groups"):
            store.scores(name)
        calm = Watching()
        score_store(store, name, lambda ids: calm, facts)
    assert len(calm.shown) == 2 and GroupStore.open(with_truth).scores(name).shape == (6, SIZE)
    after = files_of(with_truth)
    assert {p: after[p] for p in before} == before


def test_a_group_is_the_same_alone_in_another_order_and_in_another_shard(policy, tmp_path):
    """Its samples, its bodies, and what critics draw on it: the noise is of its name, whoever else is there."""
    example = persons(8)
    names = tuple(f"person {n}" for n in range(8))

    def built_of(where, order, size, seed=3):
        cut = [order[k : k + size] for k in range(0, len(order), size)]
        source = ListSource(*(SourceBatch(tuple(names[n] for n in c), example[torch.tensor(c)]) for c in cut))
        store = built(policy, None, tmp_path / where, CRITICS, source=source, seed=seed)
        shards = [store.read(shard) for shard in range(store.num_shards)]
        x_0 = dict(zip(store.ids, torch.cat([s.x_0 for s in shards]), strict=True))
        joints = dict(zip(store.ids, torch.cat([s.hypotheses.joints for s in shards]), strict=True))
        return x_0, joints, *(dict(zip(store.ids, store.scores(c), strict=True)) for c in CRITICS)

    whole = built_of("whole", list(range(8)), 8)
    others = [
        built_of("small shards", list(range(8)), 3),
        built_of("reversed", list(range(8))[::-1], 8),
        built_of("alone", [5], 1),
        built_of("some", [6, 0, 5], 2),
    ]
    for x_0, joints, noisy, chance in others:
        for name in x_0:
            torch.testing.assert_close(x_0[name], whole[0][name], atol=1e-2, rtol=0)
            torch.testing.assert_close(joints[name], whole[1][name], atol=1e-2, rtol=0)
            assert torch.equal(noisy[name].argsort(), whole[2][name].argsort())
            assert torch.equal(chance[name], whole[3][name])
    first, second = whole[0]["person 0"], whole[0]["person 1"]
    assert (first[1] - second[1]).abs().max() > 0.1, "noise of their own"
    assert not torch.equal(built_of("another seed", [5], 1, seed=4)[3]["person 5"], whole[3]["person 5"])


def test_scores_do_not_depend_on_the_order_of_shards(policy, shards, tmp_path):
    """Critics that draw start anew for each group, so that one scored later or alone has the same scores."""
    store = built(policy, shards, tmp_path, CRITICS)
    before = {name: store.scores(name) for name in CRITICS}
    for name in CRITICS:
        (tmp_path / "scores" / name / "scores_00002.safetensors").unlink()
    store = built(policy, shards, tmp_path, CRITICS[::-1])
    assert all(torch.equal(store.scores(name), before[name]) for name in CRITICS)


def test_a_learned_critic_is_opened_once_and_again_where_its_file_is_another(policy, shards, tmp_path, monkeypatch):
    made, real = [], build_module.make_critic
    monkeypatch.setattr(build_module, "make_critic", lambda name, *rest, **more: made.append(name) or real(name, *rest))
    scorer = tmp_path / "mine.safetensors"
    scorer.write_bytes(scorer_path("scorer").read_bytes())
    store = built(policy, shards, tmp_path / "groups", [str(scorer)])
    assert store.num_shards > 1 and made == [str(scorer)]
    scorer.write_bytes(scorer_path("scorer-lab").read_bytes())
    built(policy, shards, tmp_path / "others", [str(scorer)], persons=2)
    assert made == [str(scorer)] * 2


def test_scores_by_another_seed_need_another_name(policy, shards, tmp_path):
    store = built(policy, shards, tmp_path, ["random", "oracle-noisy"], persons=2)
    for changes, name in [({"seed": 4}, "random"), ({"correlation": 0.25}, "oracle-noisy")]:
        config = GroupStoreConfig(**{**CONFIG, **changes})
        with writing(tmp_path) as writer, pytest.raises(InputError, match="other settings; use another name"):
            facts = build_module.critic_facts(name, BODY, config)
            score_store(writer, name, build_module.named_critic(name, BODY, config), facts)
    with pytest.raises(InputError, match=r"there are: oracle-noisy, random"):
        store.scores("oracle")
