"""Recording changes no score, and each part's own are there afterwards."""

import pytest
import torch

from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import can_judge, judge
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.recorded import RecordedCritic, recorded_mix
from hmralign.critics.silhouette import SilhouetteCritic
from support.critic_examples import group_around, persons


def test_a_recorded_mix_gives_what_the_mix_gives_and_keeps_its_parts():
    body, example = persons(3)
    hypotheses = group_around(body, example.annotation.body, [0.0, 0.3])
    plain = MixCritic([(PlausibilityCritic(body), 0.3), (SilhouetteCritic(body), 1.0)])
    mix, parts = recorded_mix(plain)
    assert torch.equal(judge(mix, hypotheses, example), judge(plain, hypotheses, example))
    assert torch.equal(can_judge(mix, example), can_judge(plain, example))
    assert [part.name for part in parts] == ["plausibility", "silhouette"]
    for part, (critic, _) in zip(parts, plain.parts, strict=True):
        assert torch.equal(part.scores, judge(critic, hypotheses, example))


def test_it_remembers_the_last_answer_of_a_critic_that_draws():
    body, example = persons(2)
    hypotheses = group_around(body, example.annotation.body, [0.0, 0.3])
    critic = RecordedCritic(RandomCritic(torch.Generator().manual_seed(0)))
    first = judge(critic, hypotheses, example)
    second = judge(critic, hypotheses, example)
    assert torch.equal(critic.scores, second) and not torch.equal(first, second)


def test_who_needs_truth_still_does_and_nobody_speaks_unasked():
    critic = RecordedCritic(OracleCritic())
    assert critic.needs_truth and not RecordedCritic(RandomCritic(torch.Generator().manual_seed(0))).needs_truth
    with pytest.raises(ValueError, match="was not asked yet"):
        _ = critic.scores
