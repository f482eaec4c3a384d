from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import can_judge, judge
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.models.scorer import Scorer, ScorerConfig
from hmralign.models.scorer_calibration import Calibration
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS, CalibratedScorer
from hmralign.models.scorer_features import mirrored_input, scorer_input
from hmralign.structures import Example, Hypotheses, InputError
from hmralign.training.hypothesis_sets import WIDE_NOISE, perturbed_truth
from support.synthetic_persons import BODY, mirrored, mirrored_body, persons, seeded

PERSONS = persons(5)
BODIES = perturbed_truth(PERSONS.annotation, 4, WIDE_NOISE, seeded(0))
GROUP = Hypotheses(BODIES, posed_joints(BODY, BODIES))


def critic(loud: float = 1.0) -> ScorerCritic:
    """Random weights, the last ones times `loud`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scorer = Scorer(ScorerConfig(width=32, depth=1, context_width=16, context_depth=1), 2)
    scorer = scorer.eval().requires_grad_(False)
    for member in scorer.members:
        member.judge.head.weight *= loud
    return ScorerCritic(BODY, CalibratedScorer(scorer, Calibration((-2.0, 2.0), (0.1, 0.9))))


def test_scores_are_shares_and_need_no_truth():
    got = judge(critic(), GROUP, PERSONS)
    assert got.shape == (5, 4) and (got > 0).all() and (got < 1).all()
    assert torch.equal(got, judge(critic(), GROUP, Example(PERSONS.observation)))


def test_the_mirrored_hypothesis_of_a_mirrored_photo_has_the_same_score():
    """By a network that is anything but symmetric: seen from one side alone, scores differ by far more."""
    opinionated = critic(loud=20.0)
    turned = mirrored_body(BODIES)
    other = judge(opinionated, Hypotheses(turned, posed_joints(BODY, turned)), Example(mirrored(PERSONS.observation)))
    scores = judge(opinionated, GROUP, PERSONS)
    x = scorer_input(BODY, BODIES, PERSONS.observation, None)
    plain, mirror = (opinionated.scored.scorer(seen) for seen in (x, mirrored_input(x)))
    one_sided = [opinionated.scored.calibration(outputs.mean(-1)) for outputs in (plain, mirror)]
    assert (one_sided[0] - one_sided[1]).abs().median() > 0.05
    torch.testing.assert_close(other, scores, atol=2e-3, rtol=0)
    both = opinionated.scored.calibration(((plain + mirror) / 2).mean(-1))
    torch.testing.assert_close(scores, both, atol=1e-5, rtol=0)


def test_persons_are_judged_one_by_one(monkeypatch):
    from hmralign.critics import learned_scorer as module

    whole = judge(critic(), GROUP, PERSONS)
    monkeypatch.setattr(module, "PERSONS_AT_ONCE", 2)
    torch.testing.assert_close(judge(critic(), GROUP, PERSONS), whole, atol=1e-6, rtol=1e-5)


def test_somebody_of_whom_nothing_was_seen_cannot_be_judged():
    confidence = PERSONS.observation.confidence.clone()
    confidence[2] = 0
    example = Example(replace(PERSONS.observation, confidence=confidence))
    assert can_judge(critic(), example).tolist() == [True, True, False, True, True]
    silent = (judge(critic(), GROUP, example).amax(1) - judge(critic(), GROUP, example).amin(1)) == 0
    assert silent.tolist() == [False, False, True, False, False]


def test_it_is_a_reward_too():
    transl = BODIES.transl.clone().requires_grad_(True)
    moved = Hypotheses(replace(BODIES, transl=transl), GROUP.joints)
    critic()(moved, Example(PERSONS.observation)).sum().backward()
    assert transl.grad is not None and torch.isfinite(transl.grad).all() and transl.grad.abs().sum() > 0


def test_another_shape_space_is_refused():
    body = replace(BODIES, betas=BODIES.betas[..., :7])
    with pytest.raises(InputError, match="7 shape coefficients"):
        critic()(Hypotheses(body, GROUP.joints), PERSONS)


@pytest.mark.parametrize("name", SHIPPED_SCORERS)
def test_the_shipped_scorers_prefer_what_is_nearer_to_the_truth(name):
    shipped = make_critic(name, BODY)
    from hmralign.critics.controls import OracleCritic

    example = persons(40, seed=3)
    bodies = perturbed_truth(example.annotation, 8, WIDE_NOISE, seeded(1))
    group = Hypotheses(bodies, posed_joints(BODY, bodies))
    scores, truth = judge(shipped, group, example), judge(OracleCritic(), group, example)
    rows = torch.arange(len(scores))
    assert (truth[rows, scores.argmax(1)] > truth[rows, scores.argmin(1)]).float().mean() > 0.8
