"""Belief: what hypotheses show is believed, what none shows is not, nor whoever describes somebody else."""

import pytest
import torch

from hmralign.language.agreement import holds, wanted
from hmralign.language.caption import caption
from hmralign.language.planted import exchanged
from hmralign.refinement.trust import TrustConfig, base_rates, believed, group_rates
from hmralign.structures import Hypotheses, InputError
from support.refined_persons import persons


def told(count: int = 24):
    example, _, _ = persons(count)
    truth = example.annotation
    joints = truth.joints[:, :24]
    said = caption(joints, torch.Generator().manual_seed(0), truth.body.rotmats)
    group = Hypotheses(truth.body[:, None], truth.joints[:, None])
    return said, group, holds(joints, truth.body.rotmats)


def share(weights: torch.Tensor, said: torch.Tensor) -> float:
    return float(weights.abs().sum() / said.abs().sum())


def test_a_description_of_what_hypotheses_show_is_believed_and_that_of_another_is_not():
    said, group, _ = told()
    own, others = wanted(said), wanted(exchanged(said, torch.Generator().manual_seed(1)))
    assert share(believed(own, group), own) > 0.9
    assert share(believed(others, group), others) < 0.2


def test_of_a_description_only_the_statement_that_nobody_shows_is_doubted():
    said, group, held = told()
    own = wanted(said)
    false = (base_rates()[None] < 0.1) & ~held & (own == 0)
    row = int((own.abs().sum(-1) > 6).nonzero()[0])
    wrong = int(false[row].nonzero()[0])
    own[row, wrong] = 1.0
    belief = believed(own, group)[row]
    right = (own[row] > 0) & (torch.arange(len(own[row])) != wrong)
    assert float(belief[wrong]) < 0.4 and float(belief[right].mean()) > 0.8


def test_signs_stay_and_nothing_said_is_nothing_believed():
    said, group, _ = told()
    own = -wanted(said)
    belief = believed(own, group)
    assert bool(((belief == 0) | (belief.sign() == own.sign())).all()) and bool((belief.abs() <= 1).all())
    assert bool((believed(torch.zeros_like(own), group) == 0).all())


def test_whoever_was_right_before_is_believed_more_and_a_group_that_misses_the_truth_tells_nothing():
    said, group, _ = told()
    mixed = wanted(said) + wanted(exchanged(said, torch.Generator().manual_seed(1))).clamp(0, 1)
    mixed = mixed.clamp(-1, 1)
    usual = share(believed(mixed, group), mixed)
    assert share(believed(mixed, group, TrustConfig(right=50.0)), mixed) > usual
    assert share(believed(mixed, group, TrustConfig(wrong=50.0)), mixed) < usual
    nothing_known = believed(mixed, group, TrustConfig(missed=1.0))
    torch.testing.assert_close(nothing_known, 0.4 * mixed)  # 4 : 1 that it is right, even odds of whom it is said


def test_rates_of_a_group_are_means_over_it():
    _, group, held = told(4)
    both = Hypotheses.cat([group, group[[1, 0, 3, 2]]], dim=1)
    one, two = group_rates(group), group_rates(both)
    torch.testing.assert_close(two[0], (one[0] + one[1]) / 2)
    assert bool(((one >= 0.5) == held).all())


@pytest.mark.parametrize("values", [{"right": 0.0}, {"wrong": -1.0}, {"missed": 0.0}])
def test_trust_without_meaning_is_refused(values):
    with pytest.raises(InputError):
        TrustConfig(**values)
