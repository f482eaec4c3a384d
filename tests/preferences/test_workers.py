"""Any number of workers, killed, doubled or missing, and a collector end in the store that one process writes."""

import os
import random
import signal
import time
from dataclasses import replace
from functools import cached_property

import pytest
import torch

from hmralign.engines.parts import FOLDER, is_made, part_folder, parts_folder
from hmralign.engines.share import Share
from hmralign.engines.work import Units, make_share
from hmralign.preferences import workers as workers_module
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import DividedSource, ShardSource, SourceBatch, blocks
from hmralign.preferences.store import GroupStore
from hmralign.preferences.workers import GroupUnits
from hmralign.structures import InputError
from support.group_stores import SIZE, STEPS, files_of, shard_folder, tiny_policy
from support.store_builder import Builder
from support.synthetic_persons import BODY, persons

PERSONS, PER_SHARD, UNITS = 9, 2, 5
CONFIG = {"group_size": SIZE, "num_steps": STEPS, "shard_size": PER_SHARD, "with_truth": True, "seed": 3}
CRITICS = ["oracle-noisy", "random"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return shard_folder(tmp_path_factory.mktemp("data") / "shards", PERSONS)


@pytest.fixture(scope="module")
def builder():
    with Builder() as builder:
        yield builder


@pytest.fixture(scope="module")
def job(shards):
    return {"shards": shards, "config": CONFIG, "critics": CRITICS}


@pytest.fixture(scope="module")
def straight(job, builder, tmp_path_factory):
    """Files of a build by one process."""
    folder = tmp_path_factory.mktemp("straight") / "store"
    assert builder.run(**job, out=folder) == (0, "")
    return files_of(folder)


@pytest.mark.parametrize("shares", [["1/1"], ["2/2", "1/2"], ["3/3", "1/2", "2/3", "1/3"], ["1/2"], []])
def test_shares_and_a_collector_write_what_one_process_writes(job, builder, straight, tmp_path, shares):
    """In any order, of any cut, doubled; what is missing the collector makes itself."""
    out = tmp_path / "store"
    for share in shares:
        assert builder.run(**job, out=out, share=share) == (0, "")
        assert not (out / "store.json").exists()
    assert builder.run(**job, out=out) == (0, "")
    assert files_of(out) == straight and not parts_folder(out).exists()


def test_a_store_that_one_process_began_is_finished_by_workers(job, builder, straight, tmp_path):
    out = tmp_path / "store"
    assert builder.run(**job, out=out, kill=["_append_lines", 2, "after"]) == (-signal.SIGKILL, "")
    assert builder.run(**job, out=out, share="1/1") == (0, "")
    assert [is_made(parts_folder(out), n) for n in range(UNITS)] == [False, False, True, True, True]
    assert builder.run(**job, out=out, collect=True) == (0, "")
    assert files_of(out) == straight
    assert builder.run(**job, out=out, share="1/1") == (0, "") and files_of(out) == straight  # nothing is left to do


def test_what_is_missing_is_named_and_what_was_collected_stays(job, builder, straight, tmp_path):
    out = tmp_path / "store"
    assert builder.run(**job, out=out, share="1/3") == (0, "")  # units 0 and 3
    code, error = builder.run(**job, out=out, collect=True)
    assert code == 1 and "of 5 units 3 are missing, the first is number 1 ('shards:train/000002'" in error
    assert len(GroupStore.open(out)) == PER_SHARD
    for share in ("2/3", "3/3"):
        assert builder.run(**job, out=out, share=share) == (0, "")
    assert builder.run(**job, out=out, collect=True) == (0, "")
    assert files_of(out) == straight


# -- kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "call", "when"),
    [
        ("write_json", 1, "halfway"),  # store.json of the first part
        ("save_whole", 3, "halfway"),  # truth of the second part
        ("save_whole", 4, "after"),  # its groups
        ("_append_lines", 2, "after"),
        ("save_whole", 7, "halfway"),  # scores
    ],
)
def test_a_worker_killed_where_it_hurts(job, builder, straight, tmp_path, function, call, when):
    out = tmp_path / "store"
    assert builder.run(**job, out=out, share="1/1", kill=[function, call, when]) == (-signal.SIGKILL, "")
    whole = [n for n in range(UNITS) if is_made(parts_folder(out), n)]
    assert whole == list(range(len(whole)))
    assert all(len(GroupStore.open(part_folder(parts_folder(out), n))) == PER_SHARD for n in whole)
    assert builder.run(**job, out=out, share="1/1") == (0, "")
    assert builder.run(**job, out=out, collect=True) == (0, "")
    assert files_of(out) == straight


@pytest.mark.parametrize(
    ("function", "call", "when"),
    [
        ("write_json", 1, "after"),  # store.json
        ("take_over_file", 1, "after"),  # truth of the first
        ("take_over_file", 4, "after"),  # groups of the second
        ("_append_lines", 1, "before"),
        ("_append_lines", 3, "halfway"),
        ("_append_lines", 3, "after"),
        ("save_whole", 3, "halfway"),  # scores of the second
    ],
)
def test_a_collector_killed_where_it_hurts(job, builder, straight, tmp_path, function, call, when):
    out = tmp_path / "store"
    assert builder.run(**job, out=out, share="1/1") == (0, "")
    assert builder.run(**job, out=out, collect=True, kill=[function, call, when]) == (-signal.SIGKILL, "")
    assert builder.run(**job, out=out, collect=True) == (0, "")
    assert files_of(out) == straight


def test_workers_killed_at_any_moment(job, builder, straight, tmp_path):
    out, draw, kills = tmp_path / "store", random.Random(7), 0
    began = time.monotonic()
    assert builder.run(**job, out=tmp_path / "timed", share="1/3") == (0, "")
    whole = time.monotonic() - began  # what a worker takes here, who is not killed
    for _ in range(40):
        pid = builder.start(**job, out=out, share=f"{draw.randint(1, 3)}/3")
        time.sleep(draw.random() * whole / 2)
        os.kill(pid, signal.SIGKILL)
        kills += builder.wait()[0] == -signal.SIGKILL
    assert kills > 5
    assert builder.run(**job, out=out) == (0, "")
    assert files_of(out) == straight


# -- in this process ---------------------------------------------------------------------------------------------------


def units_of(shards, out, source=None, critics=CRITICS, **changes) -> GroupUnits:
    config = GroupStoreConfig(**{**CONFIG, **changes})
    source = source or ShardSource.open(shards)
    return GroupUnits.begin(tiny_policy(), BODY, "c" * 64, ("lab/train",), source, out, config, critics)


def collected(shards, out, source=None, critics=CRITICS, **changes) -> GroupStore:
    config, source = GroupStoreConfig(**{**CONFIG, **changes}), source or ShardSource.open(shards)
    return build_groups(tiny_policy(), BODY, "c" * 64, ("lab/train",), source, out, config, critics, only_collect=True)


def test_two_workers_at_one_unit_leave_one(shards, straight, tmp_path, monkeypatch, caplog):
    slow, quick, real = units_of(shards, tmp_path), units_of(shards, tmp_path), workers_module.add_batches
    others, made = [quick], []

    def doubling(store, *rest):
        if others:
            made.append(others.pop().make(2))
        real(store, *rest)

    monkeypatch.setattr(workers_module, "add_batches", doubling)
    assert isinstance(slow, Units) and slow.make(2) and made == [True]
    assert not slow.make(2) and slow.missing() == [0, 1, 3, 4] and "other bytes" not in caplog.text
    make_share(slow, Share(1, 1))
    collected(shards, tmp_path)
    assert files_of(tmp_path) == straight


def test_a_part_that_was_cut_off_is_named(shards, tmp_path):
    make_share(units_of(shards, tmp_path))
    groups = part_folder(parts_folder(tmp_path), 1) / "groups_00000.safetensors"
    groups.write_bytes(groups.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"groups_00000.* differs from what the index says"):
        collected(shards, tmp_path)
    assert len(GroupStore.open(tmp_path)) == PER_SHARD


def test_scores_of_a_part_that_cannot_be_read_are_given_anew(shards, straight, tmp_path, caplog):
    make_share(units_of(shards, tmp_path))
    (part_folder(parts_folder(tmp_path), 1) / "scores/random/scores_00000.safetensors").write_bytes(b"half")
    collected(shards, tmp_path)
    assert "scores by random are given anew" in caplog.text and files_of(tmp_path) == straight


def test_another_critic_for_the_collector_scores_there(shards, tmp_path, caplog):
    make_share(units_of(shards, tmp_path, critics=["random"]))
    store = collected(shards, tmp_path, critics=["oracle"])
    assert store.critics() == ("oracle", "random") and not store.unscored("oracle")


def test_parts_and_stores_of_another_run_are_refused(shards, tmp_path):
    units_of(shards, tmp_path)
    for refused in (units_of, collected):
        with pytest.raises(InputError, match=r"its parts were made with .*seed = 3, not 4"):
            refused(shards, tmp_path, seed=4)
    with pytest.raises(InputError, match="units"):
        units_of(shards, tmp_path, source=ShardSource.open(shards, 3))
    build = tmp_path / "built"
    build_groups(
        tiny_policy(), BODY, "c" * 64, ("lab/train",), ShardSource.open(shards), build, GroupStoreConfig(**CONFIG)
    )
    with pytest.raises(InputError, match="its groups were made with seed = 3"):
        units_of(shards, build, seed=4)


def test_a_folder_of_other_things_is_refused_before_anything_is_made(shards, tmp_path):
    (tmp_path / "diary.txt").touch()
    with pytest.raises(InputError, match=r"is not empty \('diary.txt'\) and no store of groups"):
        units_of(shards, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["diary.txt"]


class Few:
    """A source of one's own without units."""

    name, sha256, has_truth = "few", "e" * 64, True

    def batches(self, size, done):
        yield SourceBatch(("a",), persons(1))


def test_a_source_without_units_cannot_be_shared(shards, tmp_path):
    with pytest.raises(InputError, match="'few' cannot be divided"):
        units_of(shards, tmp_path, source=Few())


class Photos:
    """As photos are: each a shard of its own with one or two people, or skipped."""

    name, sha256, has_truth = "photos", "f" * 64, False
    count = 7

    @cached_property
    def people(self):
        return persons(2 * self.count)

    def _photo(self, number):
        if number in (0, 3, 4):
            return SourceBatch((f"{number}.jpg",), None, skipped=f"nobody in {number}")
        index = torch.arange(2 * number, 2 * number + 1 + number % 2)
        ids = tuple(f"{number}.jpg#{n}" for n in range(len(index)))
        crops = tuple(f"\xff\xd8 {id_}".encode() for id_ in ids)
        example = replace(self.people[index], annotation=None)
        return SourceBatch(ids, example, crops, torch.zeros(len(ids), 4))

    def batches(self, size, done):
        for number in range(self.count):
            if f"{number}.jpg" not in done and f"{number}.jpg#0" not in done:
                yield self._photo(number)

    def units(self, size):
        return [tuple(f"{n}.jpg" for n in range(b.start, b.stop)) for b in blocks(self.count, 3)]

    def unit(self, number, size):
        block = blocks(self.count, 3)[number]
        yield from (self._photo(n) for n in range(block.start, block.stop))


def test_photos_keep_their_numbers_their_pictures_and_the_places_of_those_that_gave_none(tmp_path):
    source, config = Photos(), {"with_truth": False}
    assert isinstance(source, DividedSource)
    whole = tmp_path / "whole"
    settings = GroupStoreConfig(**{**CONFIG, **config})
    build_groups(tiny_policy(), BODY, "c" * 64, ("lab/train",), source, whole, settings, ["random"])
    for share in ("2/2", "1/2"):
        make_share(units_of(None, tmp_path / "cut", source, ["random"], **config), Share.of_text(share))
    store = collected(None, tmp_path / "cut", source, ["random"], **config)
    assert files_of(tmp_path / "cut") == files_of(whole) and (tmp_path / "cut" / FOLDER).exists() is False
    assert store.num_shards == 4 and list(store.skipped) == ["0.jpg", "3.jpg", "4.jpg"]
    assert list(store.in_order()) == ["0.jpg", 0, 1, "3.jpg", "4.jpg", 2, 3]
    assert store.crop(1) == "\xff\xd8 1.jpg#1".encode()
