"""Persons of a store are guarded as those of a split: not learnt on, not scored, readings of a test split logged."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hmralign.preferences.store import GroupStore, writing
from hmralign.structures import InputError
from hmralign.studies.judge_ablations.persons import measured_persons
from hmralign.studies.judge_ablations.settings import MeasureOn
from support.group_stores import some_groups, store_facts
from support.openings import read_openings
from support.recover_example import tiny_checkpoint
from support.synthetic_persons import BODY


@pytest.fixture
def made(tmp_path):
    def store(name: str, source: str, ids: str = "abc", sha256: str | None = None) -> GroupStore:
        facts = store_facts(source=source, source_sha256=sha256 or name.ljust(64, "0"), with_truth=True)
        with writing(tmp_path / name, facts) as writer:
            writer.append(some_groups(ids, truth=True))
        return GroupStore.open(tmp_path / name)

    return store


def trained_on(tmp_path, *sources: str) -> str:
    path = tiny_checkpoint(tmp_path / "tiny.safetensors")
    with safe_open(path, "pt") as handle:
        header = handle.metadata()
    save_file(load_file(path), path, {**header, "trained_on": json.dumps(sources)})
    return str(path)


def measured(made, tmp_path, source, **more):
    made("measure", source, **more)
    return measured_persons(
        MeasureOn(store=str(tmp_path / "measure")), made("learn", "lab/train"), made("score", "wild/train"), BODY
    )


def test_weights_that_were_trained_on_the_persons_of_a_store_are_refused(made, tmp_path):
    persons = measured(made, tmp_path, "wild/val")
    with pytest.raises(InputError, match="was trained on wild/val"):
        persons.require_new(trained_on(tmp_path, "lab/train", "wild/val"))
    persons.require_new(trained_on(tmp_path, "lab/train"))
    assert persons.record["source"] == "wild/val (a store)" and persons.log is None


def test_a_test_split_in_a_store_is_guarded_and_its_reading_is_logged(made, tmp_path):
    persons = measured(made, tmp_path, "wild/test")
    with pytest.raises(InputError, match="trained on prior:heldout"):
        persons.require_new(trained_on(tmp_path, "prior:heldout"))
    log = tmp_path / "measure" / "test_openings.jsonl"
    assert read_openings(log) == []
    persons.require_new(trained_on(tmp_path, "lab/train"))
    (line,) = read_openings(log)
    assert line["split"] == "wild/test" and line["why"] == "hmralign critic ablate"
    assert len(GroupStore.open(tmp_path / "measure")) == 3 and len(persons.persons) == 3


def test_drawn_persons_share_the_name_of_their_source_and_are_told_apart_by_its_hash(made, tmp_path):
    persons = measured(made, tmp_path, "shards:train")
    persons.require_new(trained_on(tmp_path, "shards:train"))


@pytest.mark.parametrize("used", ["learn", "score"])
@pytest.mark.parametrize(
    ("source", "sha256", "said"),
    [
        ("wild/val", "e" * 64, "is of wild/val, as the groups to"),
        ("shards:train", None, "has persons of the groups to"),
    ],
)
def test_a_source_that_is_learnt_on_or_scored_is_refused(made, tmp_path, used, source, sha256, said):
    made("measure", source, sha256="f" * 64)
    stores = {name: ("lab/train", None) for name in ("learn", "score")} | {used: (source, sha256 or "f" * 64)}
    learn, score = (made(name, name_of, sha256=hash_of) for name, (name_of, hash_of) in stores.items())
    with pytest.raises(InputError, match=f"{said} {used}"):
        measured_persons(MeasureOn(store=str(tmp_path / "measure")), learn, score, BODY)


@pytest.mark.parametrize("used", ["learn", "score"])
def test_a_split_that_is_learnt_on_or_scored_is_refused(made, tmp_path, used):
    learn, score = (made(name, "wild/val" if name == used else "lab/train") for name in ("learn", "score"))
    with pytest.raises(InputError, match=f"groups to {used}.* are of wild/val"):
        measured_persons(MeasureOn(split="wild/val", data=str(tmp_path)), learn, score, BODY)
