"""Persons of the closed loop: drawn alike for a seed, handed on in blocks, and never with their truth."""

import pytest
import torch

from hmralign.structures import InputError
from hmralign.studies.closed_loop.persons import DrawnSource, drawn_persons
from hmralign.studies.closed_loop.run import ClosedLoopConfig


@pytest.fixture(scope="module")
def drawn():
    return drawn_persons(7, 3, "train")


def test_a_seed_draws_the_same_persons(drawn):
    again, other = drawn_persons(7, 3, "train"), drawn_persons(7, 4, "train")
    assert torch.equal(drawn.observation.keypoints, again.observation.keypoints)
    assert not torch.equal(drawn.observation.keypoints, other.observation.keypoints)
    assert DrawnSource(drawn).sha256 == DrawnSource(again).sha256 != DrawnSource(other).sha256


def test_truth_is_not_handed_on(drawn):
    source = DrawnSource(drawn)
    batches = list(source.batches(3, set()))
    assert not source.has_truth and all(batch.example.annotation is None for batch in batches)
    assert [len(batch.ids) for batch in batches] == [3, 3, 1]
    ids = [name for batch in batches for name in batch.ids]
    assert len(set(ids)) == 7
    assert torch.equal(torch.cat([b.example.observation.box for b in batches]), drawn.observation.box)
    assert [b.ids for b in source.batches(3, {ids[0]})] == [b.ids for b in batches[1:]]


@pytest.mark.parametrize(
    "wrong", [{"groups": 1}, {"group_size": 1}, {"steps": 0}, {"persons": 1}, {"num_hypotheses": 1}]
)
def test_sizes_that_say_nothing_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        ClosedLoopConfig(**wrong)


def test_both_methods_take_the_loops_length_and_seed():
    methods = ClosedLoopConfig(steps=7, seed=5).methods()
    assert {m.method for m in methods.values()} == {"best-of-n", "dpo"}
    assert all((m.training.steps, m.training.seed) == (7, 5) for m in methods.values())
