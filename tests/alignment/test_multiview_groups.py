"""Groups of views: better samples have advantages, and steps on them pull the model towards these."""

import pytest
import torch

from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.multiview_groups import FrontContexts, GroupViewSteps, scored_view_groups
from hmralign.alignment.multiview_reward import MultiViewRewardConfig, RewardData, fine_tune
from hmralign.structures import InputError
from hmralign.training.curve import curve_rows
from support.tiny_views import TinyViews, tiny_base_loss, tiny_critic, tiny_persons

GROUP = GroupConfig(std_floor=1e-7)


def test_advantages_are_those_of_pose_score():
    policy, persons, critic = TinyViews(), tiny_persons(3), tiny_critic()
    items = scored_view_groups(policy, persons, critic, 4, GROUP, 0)
    assert items.x_0.shape == (3, 4, 1152) and items.person.tolist() == [0, 1, 2]
    torch.testing.assert_close(items.weights.sum(1), torch.zeros(3), atol=1e-5, rtol=0)
    views = policy.to_views(items.x_0[1])
    scores = critic.score(views, critic.targets(persons.joints[1:2]).expand(4, -1, -1, -1, -1))
    assert scores.argsort().tolist() == items.weights[1].argsort().tolist()
    again = scored_view_groups(policy, persons, critic, 4, GROUP, 0)
    assert torch.equal(items.x_0, again.x_0)
    with pytest.raises(InputError, match="no preference"):
        scored_view_groups(policy, persons, critic, 4, GroupConfig(std_floor=1e3), 0)


def test_steps_lower_the_losses_of_better_samples_against_the_worse(tmp_path):
    reference, persons = TinyViews().requires_grad_(False), tiny_persons(6)
    items = scored_view_groups(reference, persons, tiny_critic(), 4, GROUP, 0)
    config = MultiViewRewardConfig(steps=40, seconds=None, learning_rate=5e-3, check_every=20, guarded=False)
    steps = GroupViewSteps(items, persons, tiny_persons(6, 2), reference, tiny_base_loss, GROUP, config)
    data = RewardData(persons, tiny_persons(6, 2), tiny_persons(4, 3))
    fine_tune(TinyViews(), reference, data, tiny_critic(), tiny_base_loss, config, tmp_path, steps=steps)
    last = curve_rows(tmp_path / "curve.jsonl")[-1]
    assert last["gap_better"] < last["gap_worse"] and last["base"] > 0


def test_contexts_are_the_policys_own():
    persons, policy = tiny_persons(4), TinyViews()
    found = FrontContexts(persons.pixels[:, 0]).of(policy, torch.tensor([2, 0]), 0)
    assert torch.equal(found, policy.context(persons.pixels[[2, 0], 0].float()))
