"""Stores of the comparison: drawn persons, cut groups, copied stores, scores of a critic that has changed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from hmralign.preferences.build import GroupStoreConfig
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.studies.alignment.person_groups import (
    BaseWeights,
    DrawnSource,
    build_store,
    cut_store,
    is_complete,
)
from support.alignment_study import tiny_base
from support.group_stores import files_of, shard_folder
from support.synthetic_persons import BODY

CONFIG = GroupStoreConfig(group_size=6, num_steps=1, with_truth=True, shard_size=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return ShardSource.open(shard_folder(tmp_path_factory.mktemp("persons") / "shards", 10))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return BaseWeights(0, tiny_base(tmp_path_factory.mktemp("base") / "m.safetensors"), "abc", ("tiny/lab",))


@pytest.fixture(scope="module")
def store(source, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "groups"
    return build_store(folder, base, BODY, source, CONFIG, ("reprojection", "random"))


def test_drawn_persons_are_those_of_their_sources(source):
    other = replace(source, name="other", persons=4)
    drawn = DrawnSource((source, other), 9, seed=1)
    batches = list(drawn.batches(4, set()))
    ids = [i for b in batches for i in b.ids]
    assert [len(b.ids) for b in batches] == [4, 4, 1] and len(set(ids)) == 9
    assert drawn.name == "shards:train+other" and {i.split("/")[0] for i in ids} == {"shards:train", "other"}
    for batch in batches:
        assert batch.example is not None and batch.example.annotation is not None
        for row, name in enumerate(batch.ids):
            person = source.shards[torch.tensor([int(name.split("/")[1])])]
            assert torch.equal(batch.example.observation.keypoints[row], person.observation.keypoints[0])
            assert person.annotation is not None
            assert torch.equal(batch.example.annotation.joints[row], person.annotation.joints[0])
    assert [b.ids for b in drawn.batches(4, set(batches[0].ids))] == [b.ids for b in batches[1:]]
    assert DrawnSource((source, other), 9, seed=2).sha256 != drawn.sha256
    with pytest.raises(InputError, match="there are 14"):
        DrawnSource((source, other), 15)


def test_a_cut_store_has_the_same_hypotheses_and_scores(store, tmp_path):
    cut = cut_store(store, tmp_path / "cut", 6, 3, ("reprojection",))
    assert cut.ids == store.ids[:6] and cut.facts.group_size == 3 and cut.critics() == ("reprojection",)
    assert torch.equal(cut.scores("reprojection"), store.scores("reprojection")[:6, :3])
    mine, whole = cut.read(1).x_0, store.read(1).x_0
    assert mine is not None and whole is not None and torch.equal(mine, whole[:2, :3])
    before = files_of(tmp_path / "cut")
    cut_store(store, tmp_path / "cut", 6, 3, ("reprojection",))
    assert files_of(tmp_path / "cut") == before
    with pytest.raises(InputError, match="not so many"):
        cut_store(store, tmp_path / "more", 11, 3, ())


def test_a_cut_store_that_was_killed_is_finished(store, tmp_path):
    whole = files_of(cut_store(store, tmp_path / "whole", 10, 2, ("random",)).folder)
    part = tmp_path / "part"
    shutil.copytree(tmp_path / "whole", part)
    lines = (part / "index.jsonl").read_text().splitlines(keepends=True)
    (part / "index.jsonl").write_text("".join(lines[:4]))
    (part / "scores/random/scores_00000.safetensors").unlink()
    assert files_of(cut_store(store, part, 10, 2, ("random",)).folder) == whole


def test_a_store_with_the_same_groups_is_copied_and_another_is_not(store, source, base, tmp_path, monkeypatch):
    from hmralign.preferences import build

    sampled = []
    sample = build.sample_batch
    monkeypatch.setattr(build, "sample_batch", lambda *a: sampled.append(1) or sample(*a))
    critics = ("reprojection", "random")
    copied = build_store(tmp_path / "a", base, BODY, source, CONFIG, critics, given=store.folder)
    assert copied.content_hash() == store.content_hash() and not sampled
    fewer = replace(source, persons=8)
    other = build_store(tmp_path / "b", base, BODY, fewer, CONFIG, critics, given=store.folder)
    assert len(other) == 8 and len(sampled) == 2
    assert build_store(tmp_path / "c", base, BODY, fewer, CONFIG, critics, given=tmp_path / "none").ids == other.ids


def test_scores_of_a_critic_that_has_changed_are_made_again(store, source, base, tmp_path):
    folder = tmp_path / "groups"
    shutil.copytree(store.folder, folder)
    critics = ("reprojection", "random")
    assert is_complete(folder, BODY, CONFIG, 10, critics) and not is_complete(folder, BODY, CONFIG, 11, critics)
    path = folder / "scores/random/critic.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "0"}))
    assert not is_complete(folder, BODY, CONFIG, 10, critics)
    build_store(folder, base, BODY, source, CONFIG, critics)
    assert is_complete(folder, BODY, CONFIG, 10, critics)
    assert torch.equal(GroupStore.open(folder).scores("random"), store.scores("random"))
    (folder / "scores/random/scores_00001.safetensors").unlink()
    assert not is_complete(folder, BODY, CONFIG, 10, critics)
