from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from jaxtyping import TypeCheckError

from hmralign.body.lbs import posed_keypoints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.critics.mix import LAB_WEIGHTS
from hmralign.critics.names import CRITICS
from hmralign.structures import InputError, Landmarks3d
from support.critic_examples import group_around, persons
from support.pixel_persons import pictured

NAMES = tuple(CRITICS)


@lru_cache(maxsize=1)
def scene():
    body, example = persons(4)
    points = posed_keypoints(body, example.annotation.body)
    seen = pictured(example.observation)
    example = replace(example, observation=seen, landmarks3d=Landmarks3d(points, torch.ones(4, 27)))
    return body, example, group_around(body, example.annotation.body, [0.0, 0.2, 0.4, 0.8])


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_critic_that_judges(name):
    body, example, group = scene()
    critic = make_critic(name, body)
    scores = judge(critic, group, example)
    assert scores.shape == (4, 4) and torch.isfinite(scores).all()
    assert critic.needs_truth == name.startswith("oracle")
    if name not in ("random", "oracle-noisy", "limb-tilt"):  # the last looks at pictures, which show nothing here
        assert scores[:, 0].mean() > scores[:, -1].mean()


def test_names_do_not_repeat_in_tables():
    body = scene()[0]
    names = [make_critic(name, body).name for name in NAMES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["random", "oracle-noisy"])
def test_seeds_and_correlation_reach_the_critics_that_draw(name):
    body, example, group = scene()
    a, b, c = (judge(make_critic(name, body, seed=s), group, example) for s in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    exact = judge(make_critic("oracle-noisy", body, correlation=1.0), group, example)
    assert torch.equal(exact.argmax(1), judge(make_critic("oracle", body), group, example).argmax(1))


@pytest.mark.parametrize("name", ["random", "oracle-noisy"])
def test_what_is_drawn_on_a_person_depends_on_its_name_alone(name):
    body, example, group = scene()
    names, order = ("a", "b", "c", "d"), [2, 0, 3]
    whole = judge(make_critic(name, body, persons=names), group, example)
    some = make_critic(name, body, persons=[names[k] for k in order])
    assert torch.equal(judge(some, group[order], example[order]), whole[order])
    assert len(set(map(tuple, whole.tolist()))) == 4 or name == "oracle-noisy"
    renamed = judge(make_critic(name, body, persons=("a", "b", "c", "e")), group, example)
    assert torch.equal(renamed[:3], whole[:3]) and not torch.equal(renamed[3], whole[3])
    with pytest.raises(InputError, match="3 generators for 4 persons"):
        judge(some, group, example)


def test_the_mix_has_the_weights_of_the_lab():
    body, example, group = scene()
    parts = {k: judge(make_critic(k, body), group, example) for k, w in LAB_WEIGHTS.items() if w > 0}  # type: ignore[arg-type]
    total = sum(LAB_WEIGHTS[k] * scores for k, scores in parts.items()) / sum(LAB_WEIGHTS[k] for k in parts)
    assert torch.allclose(judge(make_critic("mix", body), group, example), total, atol=1e-6)


def test_the_detector_sets_offsets_and_noise():
    body, example, group = scene()
    measured, generic = (judge(make_critic("reprojection", body, d), group, example) for d in ("mediapipe", "another"))
    assert not torch.equal(measured, generic)


def test_other_names_are_refused():
    with pytest.raises((InputError, TypeCheckError), match="oracel"):
        make_critic("oracel", scene()[0])  # type: ignore[arg-type]
