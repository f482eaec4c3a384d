"""What holds for every critic that is not shown the truth, and what `judge` says of critics that misbehave."""

from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
import torch

from hmralign.body.lbs import posed_keypoints
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import Critic, CriticError, judge
from hmralign.critics.landmarks3d import Landmarks3dCritic
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.critics.silhouette import SilhouetteCritic
from hmralign.structures import Annotation, BodyParams, InputError, Landmarks3d
from support.critic_examples import group_around, persons


@lru_cache(maxsize=1)
def scene():
    body, example = persons(6)
    points = posed_keypoints(body, example.annotation.body)
    example = replace(example, landmarks3d=Landmarks3d(points, example.observation.confidence))
    return body, example, group_around(body, example.annotation.body, [0.0, 0.2, 0.4, 0.8])


def blind_critics(body) -> dict[str, Critic]:
    """All critics that do not need truth, made anew: one of them draws."""
    parts = [ReprojectionCritic(body), SilhouetteCritic(body), PlausibilityCritic(body), Landmarks3dCritic(body)]
    critics: list[Critic] = [
        *parts,
        MixCritic([(critic, 1.0) for critic in parts]),
        RandomCritic(torch.Generator().manual_seed(0)),
    ]
    everything = PlausibilityCritic(body, prior_weight=1.0, symmetry_weight=1.0)
    return {critic.name: critic for critic in critics} | {"plausibility with all terms": everything}


BLIND = ["reprojection", "silhouette", "plausibility", "landmarks3d", "mix", "random", "plausibility with all terms"]


def corrupted(truth: Annotation, how: str) -> Annotation | None:
    if how == "absent":
        return None
    if how == "shuffled":
        return truth[torch.arange(len(truth.joints) - 1, -1, -1)]
    fields = (truth.body.global_orient, truth.body.body_pose, truth.body.betas, truth.body.transl)
    return Annotation(BodyParams(*(torch.full_like(f, torch.nan) for f in fields)), truth.joints * torch.nan)


def test_none_is_forgotten():
    critics = blind_critics(scene()[0])
    assert list(critics) == BLIND and not any(critic.needs_truth for critic in critics.values())


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("how", ["nan", "shuffled", "absent"])
def test_scores_do_not_depend_on_the_annotation(name, how):
    body, example, group = scene()
    scores = judge(blind_critics(body)[name], group, example)
    spoilt = replace(example, annotation=corrupted(example.annotation, how))
    assert torch.equal(scores, judge(blind_critics(body)[name], group, spoilt))


@pytest.mark.parametrize("name", BLIND)
def test_scores_are_finite_even_for_bodies_behind_the_camera(name):
    body, example, group = scene()
    behind = replace(group, body=group.body.with_transl(-group.body.transl))
    behind = replace(behind, joints=behind.joints - 2 * group.body.transl[..., None, :])
    scores = judge(blind_critics(body)[name], behind, example)
    assert torch.isfinite(scores).all() and (scores.abs() <= 1).all()


@dataclass(frozen=True)
class Stubborn:
    """Says the same whatever it is asked, or raises it."""

    answer: object
    name: str = "stubborn"
    needs_truth: bool = False

    def __call__(self, hypotheses, example):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def with_one(value: float) -> torch.Tensor:
    scores = torch.zeros(6, 4)
    scores[2, 3] = value
    return scores


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (with_one(torch.nan), r"critic 'stubborn' gave person 2, hypothesis 3 the score nan; expected finite"),
        (with_one(torch.inf), r"'stubborn' gave person 2, hypothesis 3 the score inf"),
        (with_one(-torch.inf), r"'stubborn' gave person 2, hypothesis 3 the score -inf"),
        (torch.zeros(6), r"critic 'stubborn' gave scores of shape \(6,\); expected \(6, 4\)"),
        (torch.zeros(4, 6), r"'stubborn' gave scores of shape \(4, 6\)"),
        (None, r"'stubborn' gave a NoneType; expected \(6, 4\)"),
        (KeyError("frame"), r"critic 'stubborn' failed: KeyError: 'frame'"),
        (InputError("the target coincides."), r"critic 'stubborn' failed: InputError: the target coincides\."),
    ],
)
def test_a_critic_that_misbehaves_is_named_once_also_in_a_mix(answer, sentence):
    _, example, group = scene()
    bad = Stubborn(answer)
    for critic in (bad, MixCritic([(RandomCritic(torch.Generator()), 1.0), (bad, 1.0)])):
        with pytest.raises(InputError, match=f"^{sentence}" if sentence.startswith("critic") else sentence) as caught:
            judge(critic, group, example)
        assert isinstance(caught.value, CriticError) and "mix" not in str(caught.value)


def test_what_a_critic_raised_stays_to_be_seen():
    _, example, group = scene()
    cause = KeyError("frame")
    with pytest.raises(CriticError) as caught:
        judge(Stubborn(cause), group, example)
    assert caught.value.__cause__ is cause


def test_hypotheses_that_are_not_finite_are_refused_by_name():
    body, example, group = scene()
    joints = group.joints.clone()
    joints[4, 1, 7, 0] = torch.nan
    broken = replace(group, joints=joints)
    with pytest.raises(InputError, match=r"'oracle_mpjpe' failed.*not finite"):
        judge(OracleCritic(), broken, example)
    with pytest.raises(InputError, match="'plausibility' gave person 4, hypothesis 1 the score nan"):
        judge(PlausibilityCritic(body, symmetry_weight=1.0), broken, example)


def test_an_example_keeps_its_landmarks_when_it_is_indexed_or_loses_its_truth():
    _, example, _ = scene()
    assert torch.equal(example[2:4].landmarks3d.points, example.landmarks3d.points[2:4])
    assert torch.equal(example[3].landmarks3d.confidence, example.landmarks3d.confidence[3])
    assert replace(example, annotation=None)[1].annotation is None
    assert replace(example, landmarks3d=None)[1].landmarks3d is None
    again = Landmarks3d.stack([example.landmarks3d[i] for i in range(6)])
    assert torch.equal(again.points, example.landmarks3d.points)
