"""What a step trains on: mirrored samples with mirrored contexts, whole passes in another order each time."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from hmralign.alignment.methods.dpo import DpoConfig, dpo_objective
from hmralign.alignment.methods.group import GroupConfig, group_objective
from hmralign.alignment.methods.sft import denoising_objective
from hmralign.structures import InputError
from hmralign.training.contexts import LiveContexts, cache_contexts
from hmralign.training.offline import OfflineStep, Partition
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from support.toy_policy import ToyPolicy, observation, toy_items

CONFIG = PreferenceTrainingConfig(batch_size=24, context_variants=2)
STEPS = 12


class MirroredToy(ToyPolicy):
    """Odd variants turn the signs of contexts and samples, and it writes down which pairs it was asked about."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.pairs = []

    def context(self, observation):
        return 1 + (observation.box / 1000).double()[:, :3]  # positive, so that a sign tells the variant

    def context_variant(self, observation, variant):
        return -self.context(observation) if variant % 2 else self.context(observation)

    def x_0_variant(self, x_0, variant):
        return -x_0 if variant % 2 else x_0

    def denoising_loss(self, x_0, t, eps, context):
        self.pairs.append((x_0.clone(), context.clone()))
        return super().denoising_loss(x_0, t, eps, context)


def is_mirrored(context) -> bool:
    assert (context > 0).all() or (context < 0).all()
    return bool((context < 0).all())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("objective", "members"),
    [(denoising_objective("best_of_n"), 1), (dpo_objective(DpoConfig()), 2), (group_objective(GroupConfig()), 4)],
)
def test_a_sample_is_mirrored_where_its_context_is_and_only_there(objective, members, live, accumulate):
    """Of policy, reference and what is added to the loss alike; half of the steps are mirrored."""
    policy, reference = MirroredToy(), MirroredToy(1)
    kept = cache_contexts(reference, observation(), 2, trains_encoder=False)
    contexts = LiveContexts(observation(), 2) if live else kept
    added = []

    def auxiliary(policy, items, draw, context, variant):
        added.append((items.x_0.clone(), context.clone(), variant))
        return policy.denoising_loss(items.x_0, draw.t, draw.eps, context)

    config = replace(CONFIG, accumulate=accumulate)
    step = OfflineStep(toy_items(members), contexts, objective, reference, config, auxiliary)
    mirrored = []
    for number in range(STEPS):
        policy.pairs, reference.pairs = [], []
        list(step(policy, number))
        plain = step.items[step._batch(number)]
        seen = {is_mirrored(context) for _, context in policy.pairs + reference.pairs}
        assert len(seen) == 1, "policy and reference see one variant"
        mirrored.append(seen.pop())
        sign = -1 if mirrored[-1] else 1
        asked = [policy.pairs[::2], policy.pairs[1::2]] + ([reference.pairs] if objective.needs_reference else [])
        for pairs in asked:  # the objective's, the auxiliary's, the reference's
            assert len(pairs) == accumulate
            assert torch.equal(torch.cat([x_0 for x_0, _ in pairs]), sign * plain.x_0)
            expected = sign * policy.context(observation())[plain.person]
            assert torch.equal(torch.cat([context for _, context in pairs]), expected)
    assert [bool(v % 2) for _, _, v in added] == [m for m in mirrored for _ in range(accumulate)]
    assert 2 <= sum(mirrored) <= STEPS - 2


def test_the_probe_looks_at_plain_samples_in_plain_contexts():
    policy, reference = MirroredToy(), MirroredToy(1)
    contexts = cache_contexts(reference, observation(), 2, trains_encoder=False)
    step = OfflineStep(toy_items(2), contexts, dpo_objective(DpoConfig()), reference, CONFIG)
    figures = step.probe(policy)
    assert figures["loss_ratio"] != 1.0 and step.probe(reference)["loss_ratio"] == pytest.approx(1.0)
    for x_0, context in policy.pairs + reference.pairs:
        assert not is_mirrored(context)
        rows = {tuple(row.flatten().tolist()) for row in step.items.x_0}
        assert all(tuple(row.flatten().tolist()) in rows for row in x_0)


@pytest.mark.parametrize("size", [2, 8, 10, 14, 48])
def test_every_pass_takes_every_item_once_and_in_another_order(size):
    """Also where batches do not fit a pass; `size` hypotheses are half as many items."""
    reference = ToyPolicy().eval().requires_grad_(False)
    contexts = cache_contexts(reference, observation(), 1, trains_encoder=False)

    def orders(seed, passes=3):
        config = replace(CONFIG, batch_size=size, context_variants=1, seed=seed)
        step = OfflineStep(toy_items(2), contexts, dpo_objective(DpoConfig()), reference, config)
        n, items = size // 2, len(step.items)
        batches = [step._batch(number) for number in range(-(-passes * items // n))]
        assert all(len(batch) == n for batch in batches)
        assert torch.equal(step._batch(1), batches[1]) if len(batches) > 1 else True  # whatever was asked before
        return torch.cat(batches)[: passes * items].view(passes, items)

    found = orders(0)
    everything = torch.arange(found.shape[1]).expand_as(found)
    assert torch.equal(found.sort(1).values, everything)
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    assert not torch.equal(found[0], everything[0]) and not torch.equal(orders(1)[0], found[0])


def drawing_step(drawn, partition=None):
    reference = ToyPolicy(1).eval().requires_grad_(False)
    contexts = cache_contexts(reference, observation(), 1, trains_encoder=False)
    objective = group_objective(GroupConfig(drawn=drawn, shares="time_and_noise"))
    config = replace(CONFIG, context_variants=1)
    return OfflineStep(toy_items(6), contexts, objective, reference, config, partition=partition)


def test_members_are_drawn_anew_each_time_and_a_batch_holds_more_groups_for_it():
    step, policy = drawing_step(4), ToyPolicy()
    assert len(step._batch(0)) == 24 // 4 and len(drawing_step(None)._batch(0)) == 24 // 6
    for number in range(2 * len(step.items) // 6):
        list(step(policy, number))
    (t, _), x_t = policy.asked[-1], policy.seen[-1][1]
    assert x_t.shape[:2] == t.shape == (6, 4)
    again = ToyPolicy()
    list(step(again, number))
    assert torch.equal(again.seen[-1][1], x_t), "what is drawn depends on the step alone"
    assert step.probe(policy)["probe_gap_better"] != 0 and policy.asked[-1][0].shape == (24, 4)


def test_each_step_draws_its_own_members():
    """Whatever place in the batch a group has."""
    step, policy = drawing_step(4), MirroredToy()
    chosen = []
    for number in range(4):
        policy.pairs = []
        list(step(policy, number))
        whole = step.items.x_0[step._batch(number)]  # (6, 6, dims)
        same = (policy.pairs[0][0][:, :, None] == whole[:, None]).all(-1)  # (6, drawn, member)
        assert (same.sum(-1) == 1).all()
        chosen.append(same.long().argmax(-1).sort(-1).values)
    assert not any(torch.equal(a, b) for a, b in pairwise(chosen))


def test_a_group_that_is_smaller_than_what_is_drawn_is_refused():
    with pytest.raises(InputError, match="draws 7 members of each group anew, and groups have 6"):
        drawing_step(7)


def test_a_kind_of_which_none_is_left_is_refused():
    for there in (torch.zeros(24, dtype=torch.bool), torch.ones(24, dtype=torch.bool)):
        with pytest.raises(InputError, match="of which none is left"):
            Partition(there, 0.5)


def test_a_batch_may_be_of_one_kind_and_is_the_same_when_asked_again():
    first = torch.arange(24) < 8
    step = drawing_step(4, Partition(first, 1.0))
    assert (step._batch(3) < 8).all() and torch.equal(step._batch(3), step._batch(3))
    half = drawing_step(4, Partition(first, 0.5))
    assert int((half._batch(0) < 8).sum()) == 3
