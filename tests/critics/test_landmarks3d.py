from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.critics.critic import can_judge, judge
from hmralign.critics.landmarks3d import Landmarks3dCritic
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.geometry.rotations import axis_rotmat
from hmralign.structures import Example, Landmarks3d
from support.critic_examples import group_around, persons


@lru_cache(maxsize=1)
def scene():
    body, example = persons(8)
    points = posed_keypoints(body, example.annotation.body)
    group = group_around(body, example.annotation.body, [0.0, 0.1, 0.2, 0.4, 0.8])
    return body, Example(example.observation, None, Landmarks3d(points, torch.ones(8, 27))), group


def with_landmarks(example, **changes) -> Example:
    return replace(example, landmarks3d=replace(example.landmarks3d, **changes))


def test_the_body_the_landmarks_are_of_scores_zero_and_others_less():
    body, example, group = scene()
    scores = judge(Landmarks3dCritic(body), group, example)
    assert torch.allclose(scores[:, 0], torch.zeros(8), atol=1e-5) and (scores.diff(dim=1).mean(0) < 0).all()
    assert ((scores > -1) & (scores <= 0)).all()


def test_place_and_direction_of_the_landmarks_do_not_matter_and_their_scale_only_sets_the_unit():
    body, example, group = scene()
    points = example.landmarks3d.points
    R = axis_rotmat("x", torch.tensor(0.4)) @ axis_rotmat("y", torch.tensor(2.0))
    critic = Landmarks3dCritic(body)
    scores = judge(critic, group, example)
    elsewhere = with_landmarks(example, points=points @ R.T + torch.tensor([1.0, -2.0, 3.0]))
    assert torch.allclose(judge(critic, group, elsewhere), scores, atol=1e-4)
    smaller = judge(critic, group, with_landmarks(example, points=0.8 * points))
    assert (smaller >= scores - 1e-4).all() and torch.allclose(smaller[:, 0], torch.zeros(8), atol=1e-5)
    assert torch.equal(smaller[:, [0, 2, 4]].argsort(1), scores[:, [0, 2, 4]].argsort(1))


def test_a_mirrored_body_is_not_taken_for_the_body():
    body, example, group = scene()
    mirrored = with_landmarks(example, points=example.landmarks3d.points * torch.tensor([1.0, 1.0, -1.0]))
    assert (judge(Landmarks3dCritic(body), group, mirrored)[:, 0] < -0.01).all()


def test_landmarks_without_confidence_do_not_matter_and_one_wrong_one_costs_little():
    body, example, group = scene()
    critic = Landmarks3dCritic(body)
    confidence = torch.ones(8, 27)
    confidence[:, 9] = 0.0
    wild = example.landmarks3d.points.clone()
    wild[:, 9] = 1e4
    scores = judge(critic, group, with_landmarks(example, confidence=confidence))
    assert torch.equal(scores, judge(critic, group, with_landmarks(example, confidence=confidence, points=wild)))
    off = example.landmarks3d.points.clone()
    off[:, 9] += 0.3
    spoilt = judge(critic, group, with_landmarks(example, points=off))
    assert (spoilt[:, 0] > -0.12).all() and (spoilt[:, 0] < spoilt[:, -1]).float().mean() < 0.2


def test_persons_without_landmarks_are_left_out():
    body, example, group = scene()
    critic = Landmarks3dCritic(body)
    none = replace(example, landmarks3d=None)
    assert not can_judge(critic, none).any() and (judge(critic, group, none) == 0).all()
    confidence = torch.ones(8, 27)
    confidence[::2, 3:] = 0.0
    some = with_landmarks(example, confidence=confidence)
    assert can_judge(critic, some).tolist() == [False, True] * 4
    other = PlausibilityCritic(body)
    mixed = judge(MixCritic([(critic, 1.0), (other, 1.0)]), group, some)
    alone, plausible = judge(critic, group, some), judge(other, group, some)
    assert torch.allclose(mixed[::2], plausible[::2]) and torch.allclose(mixed[1::2], (alone + plausible)[1::2] / 2)


def test_the_offsets_of_the_detector_are_used():
    body, example, group = scene()
    offsets = torch.zeros(27, 3)
    offsets[11] = torch.tensor([0.2, 0.0, 0.0])
    assert (judge(Landmarks3dCritic(body, offsets), group, example)[:, 0] < -1e-3).all()


@pytest.mark.parametrize("index", [0, 7])
def test_a_batch_is_a_loop(index):
    body, example, group = scene()
    critic = Landmarks3dCritic(body)
    alone = judge(critic, group[index : index + 1], example[index : index + 1])
    assert torch.allclose(alone, judge(critic, group, example)[index : index + 1], atol=1e-5)
