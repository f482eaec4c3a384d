"""What is said of made views: nothing is wrong with true ones but what the judge itself gets wrong."""

import pytest
import torch

from hmralign.critics.view_figures import ViewCritic
from hmralign.structures import InputError
from support.tiny_views import tiny_critic, tiny_persons


def test_true_views_are_perfect_but_for_the_judge():
    persons, critic = tiny_persons(3), tiny_critic()
    found = critic.figures(persons.pixels.float(), persons)
    assert {name: value.shape for name, value in found.items()} == dict.fromkeys(found, (3,))
    assert found["psnr"].isinf().all()
    torch.testing.assert_close(found["ssim"], torch.ones(3))
    torch.testing.assert_close(found["soft_iou"], torch.ones(3))
    assert (found["mpjpe"] >= found["pa_mpjpe"]).all() and (found["mpjpe"] > 0.01).all()


def test_a_mean_of_persons_is_hazier_than_any_of_them():
    persons, critic = tiny_persons(4), tiny_critic()
    views = persons.pixels.float()
    mean = views.mean(0, keepdim=True).expand_as(views)
    assert (critic.figures(mean, persons)["haze"] > critic.figures(views, persons)["haze"].max()).all()


def test_only_side_views_count_for_likeness_and_all_for_the_pose():
    persons, critic = tiny_persons(3), tiny_critic()
    views = persons.pixels.float()
    true = critic.figures(views, persons)
    front, side = views.clone(), views.clone()
    front[:, 0], side[:, 1] = 0.0, 0.0
    of_front, of_side = critic.figures(front, persons), critic.figures(side, persons)
    assert of_front["psnr"].isinf().all() and of_side["soft_iou"].max() == 0
    assert not torch.equal(of_front["mpjpe"], true["mpjpe"]) and not torch.equal(
        of_front["pose_score"], true["pose_score"]
    )


def test_hypotheses_are_scored_as_views_of_their_own_pose():
    persons, critic = tiny_persons(3), tiny_critic()
    views = persons.pixels.float()
    joints = torch.stack([persons.joints, persons.joints + 0.1], 1)
    scores = critic.hypothesis_scores(views, joints)
    torch.testing.assert_close(scores[:, 0], critic.score(views, critic.targets(persons.joints)))
    assert scores.shape == (3, 2) and not torch.equal(scores[:, 0], scores[:, 1])


def test_views_that_are_not_finite_are_refused():
    persons, critic = tiny_persons(2), tiny_critic()
    assert isinstance(critic, ViewCritic)
    with pytest.raises(InputError, match="not finite"):
        critic.figures(persons.pixels.float() * float("nan"), persons)
