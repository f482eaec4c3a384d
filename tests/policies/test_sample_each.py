"""Persons are sampled from generators of their own, in one batch or one by one, with the same result."""

import pytest
import torch

from hmralign.policies.policy import Denoiser, PersonSampler, sample_each
from support.synthetic_persons import persons, seeded
from support.toy_policy import ToyPolicy, tiny_policy

N, SIZE = 5, 4


def generators(order=range(N)):
    return [seeded(100 + n) for n in order]


@pytest.mark.parametrize("policy", [tiny_policy(), ToyPolicy()], ids=["lite", "toy"])
def test_each_person_has_the_samples_that_it_has_alone(policy):
    with torch.no_grad():
        context = policy.context(persons(N).observation)
    together = sample_each(policy, context, SIZE, generators())
    alone = [policy.sample(context[n : n + 1], SIZE, seeded(100 + n))[0] for n in range(N)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-4, rtol=0)
    order = [3, 0, 4]
    some = sample_each(policy, context[torch.tensor(order)], SIZE, generators(order))
    torch.testing.assert_close(some, together[order], atol=1e-4, rtol=0)


def test_who_samples_at_once_and_who_one_by_one():
    assert isinstance(tiny_policy(), PersonSampler)
    assert isinstance(ToyPolicy(), Denoiser) and not isinstance(ToyPolicy(), PersonSampler)


def test_a_group_of_one_is_the_mode_of_each_person():
    policy = tiny_policy()
    context = policy.context(persons(N).observation)
    modes = policy.sample_each(context, 1, generators())
    torch.testing.assert_close(modes, policy.sample(context, 1, seeded(0)), atol=1e-4, rtol=0)
