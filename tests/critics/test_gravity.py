"""A critic that knows which way is up."""

import math

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.critics.critic import CriticError, judge
from hmralign.critics.gravity import GravityCritic
from hmralign.critics.pose_surprise import pose_surprise, tilt_surprise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, Example, Hypotheses

BODY = load_free_body("3k5")


def poses(count: int = 300):
    return load_pose_prior("train").sample(count, torch.Generator().manual_seed(3))


def test_the_tilt_that_comes_with_a_pose_is_less_surprising_than_another():
    pose, up = poses()
    tilted = (rotvec_to_rotmat(torch.tensor([0.6, 0.0, 0.3])) @ up[..., None])[..., 0]
    own, other = tilt_surprise(pose, up), tilt_surprise(pose, tilted)
    assert (own < other).float().mean() > 0.95
    # Whoever is upside down costs what doubt says, and no more.
    most = -math.log(0.1 / (4 * math.pi))
    assert tilt_surprise(pose, -up).max() <= most + 1e-4
    assert tilt_surprise(pose, -up, doubt=0.01).max() <= -math.log(0.01 / (4 * math.pi)) + 1e-3


def test_the_surprise_of_a_pose_is_as_it_was_without_the_tilt():
    pose, _ = poses()
    assert pose_surprise(pose).mean().abs() < 0.1


def example(count: int) -> Example:
    return world_generator("wild", "train").sample(count, torch.Generator().manual_seed(0))


def leaning(degrees: tuple[float, ...]) -> Hypotheses:
    """One person, hypotheses that lean forward by so much before a level camera."""
    turns = torch.tensor([[math.pi - math.radians(d), 0.0, 0.0] for d in degrees])
    pose = torch.eye(3).expand(len(degrees), 23, 3, 3).clone()
    pose[:, [15, 16]] = rotvec_to_rotmat(torch.tensor([[0.0, 0.0, -1.2], [0.0, 0.0, 1.2]]))  # arms hang
    body = BodyParams(rotvec_to_rotmat(turns), pose, torch.zeros(len(degrees), 10), torch.zeros(len(degrees), 3))
    return Hypotheses(body[None], posed_joints(BODY, body)[None])


def test_whoever_stands_upright_is_liked_best_and_only_where_up_is_up():
    group, seen = leaning((0.0, 15.0, 30.0, 50.0)), example(1)
    level = GravityCritic(BODY, torch.tensor([[0.0, -1.0, 0.0]]))
    scores = judge(level, group, seen)[0]
    assert (scores.diff() < 0).all()
    tilted = rotvec_to_rotmat(torch.tensor([-math.radians(30.0), 0.0, 0.0])) @ torch.tensor([0.0, -1.0, 0.0])
    assert int(judge(GravityCritic(BODY, tilted[None]), group, seen)[0].argmax()) in (1, 2)
    tilt = judge(GravityCritic(BODY, level.up, balance=0.0), group, seen)
    balance = judge(GravityCritic(BODY, level.up, tilt=0.0), group, seen)
    assert torch.allclose(tilt + balance, judge(level, group, seen), atol=1e-4)


def test_persons_of_whom_nothing_is_known_are_refused():
    with pytest.raises(CriticError, match="known for 2 persons, 1"):
        judge(GravityCritic(BODY, torch.tensor([[0.0, -1.0, 0.0]] * 2)), leaning((0.0, 5.0)), example(1))
