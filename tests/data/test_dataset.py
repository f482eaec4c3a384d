"""Data sets by name: what a user's gives is read whole, checked, and says where it is from."""

from dataclasses import dataclass, replace

import pytest
import torch

from hmralign.data.dataset import DatasetFacts, open_dataset
from hmralign.structures import InputError, extensions
from support.synthetic_persons import persons

FACTS = DatasetFacts("mine/val", "here", "CC0", "cam, metres")
EXAMPLE = persons(5)


@dataclass(frozen=True)
class Mine:
    batches: tuple
    facts: DatasetFacts = FACTS

    def examples(self):
        yield from self.batches


@pytest.fixture()
def opened(monkeypatch, tmp_path):
    def open_with(made):
        monkeypatch.setattr("hmralign.data.dataset.load_extension", lambda kind, name: lambda folder, split: made)
        return open_dataset("mine.py:make", tmp_path, "val")

    return open_with


def test_batches_are_joined_and_the_hash_does_not_depend_on_their_size(opened):
    whole = opened(Mine((EXAMPLE,)))
    parts = opened(Mine((EXAMPLE[:2], EXAMPLE[2:])))
    assert len(whole) == len(parts) == 5 and whole.sha256 == parts.sha256 and whole.name == "mine/val"
    assert torch.equal(whole.examples.observation.keypoints, EXAMPLE.observation.keypoints)
    assert opened(Mine((EXAMPLE[:4],))).sha256 != whole.sha256
    first = whole.first(3)
    assert len(first) == 3 and torch.equal(first.examples.annotation.joints, EXAMPLE.annotation.joints[:3])


def test_what_does_not_fit_is_named(opened):
    for made, said in (
        (Mine(()), "'mine/val' has no persons"),
        (Mine((replace(EXAMPLE, annotation=None),)), "batch 0 of 'mine/val' has no annotations"),
        (Mine((EXAMPLE, _without_feet())), r"batch 1 of 'mine/val': joints has the shape \(5, 24, 3\)"),
        (Mine((_nowhere(),)), "transl holds values that are not finite"),
        (3, "made a int, which is no data set"),
    ):
        with pytest.raises(InputError, match=said):
            opened(made)


def _without_feet():
    return replace(EXAMPLE, annotation=replace(EXAMPLE.annotation, joints=EXAMPLE.annotation.joints[:, :24]))


def _nowhere():
    body = EXAMPLE.annotation.body
    return replace(EXAMPLE, annotation=replace(EXAMPLE.annotation, body=body.with_transl(body.transl * float("nan"))))


@pytest.mark.parametrize("field", ["name", "source", "licence", "frame"])
def test_facts_that_are_not_said_are_asked_for(field):
    with pytest.raises(InputError, match=f"does not say its {field}"):
        replace(FACTS, **{field: " "})


def test_a_name_that_is_nobodys_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data set 'mine'; expected one of synthwild"):
        open_dataset("mine", tmp_path, "val")
    assert "mine" not in extensions.extension_names("datasets")
