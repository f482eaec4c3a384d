"""Bodies fitted to keypoints in 3D: the own ones come back; keypoints that are missing or wrong hurt little."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.body.retarget import BONE_SPANS, fit_betas, span_lengths
from hmralign.fitting.point_fit import PointFitConfig, fit_points
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams
from support.published_datasets import body_file, people

BODY = load_free_body("3k5")


@pytest.fixture(scope="module")
def who(tmp_path_factory):
    return people(body_file(str(tmp_path_factory.mktemp("body"))), 12)


def turned(rotmats: torch.Tensor, degrees: float) -> torch.Tensor:
    noise = torch.randn(*rotmats.shape[:2], 3, generator=torch.Generator().manual_seed(3))
    return rotmats @ rotvec_to_rotmat(torch.deg2rad(torch.tensor(degrees)) * noise)


def test_the_body_that_the_points_are_of_comes_back(who):
    """From a guess whose joints are each turned by some 15 degrees, on a body whose pelvis is not the origin."""
    points, joints = posed_keypoints(who.body, who.params), who.joints[:, :24]
    guess = turned(who.params.rotmats, 15)
    start = BodyParams(guess[:, 0], guess[:, 1:], who.params.betas, who.params.transl)
    found = fit_points(who.body, guess, torch.zeros(len(who), 10), points)
    before = (posed_joints(who.body, start)[:, :24] - joints).norm(dim=-1).mean()
    after = (posed_joints(who.body, found.body)[:, :24] - joints).norm(dim=-1).mean()
    assert float(after) < 0.02 < 0.05 < float(before)
    assert float(found.residual.mean()) < 0.003


def test_a_moved_and_turned_person_gives_the_same_body_moved_and_turned(who):
    points, guess = posed_keypoints(who.body, who.params), who.params.rotmats
    betas = who.params.betas
    R, t = rotvec_to_rotmat(torch.tensor([0.3, -1.0, 0.5])), torch.tensor([1.0, 2.0, 3.0])
    there = fit_points(who.body, guess, betas, points)
    rotated = guess.clone()
    rotated[:, 0] = R @ guess[:, 0]
    other = fit_points(who.body, rotated, betas, points @ R.mT + t)
    moved = posed_joints(who.body, there.body) @ R.mT + t
    assert torch.allclose(posed_joints(who.body, other.body), moved, atol=2e-3)


def test_points_that_are_missing_or_wrong_hurt_little(who):
    points = posed_keypoints(who.body, who.params)
    points[:, [0, 3]] = torch.nan
    points[:, 10] += torch.tensor([0.0, 0.5, 0.0])  # a wrist half a metre off
    found = fit_points(who.body, who.params.rotmats, who.params.betas, points)
    assert bool(found.residual[:, [0, 3]].isnan().all()) and bool((found.residual[:, 10] > 0.4).all())
    off = (posed_joints(who.body, found.body)[:, :20] - who.joints[:, :20]).norm(dim=-1)
    assert float(off.mean()) < 0.02


def test_another_kind_of_body_is_carried_over_better_than_by_its_joints_alone(who):
    joints = who.joints[:, :24]
    betas = fit_betas(BODY, span_lengths(joints, BONE_SPANS), BONE_SPANS)
    no_hands = who.params.rotmats
    found = fit_points(BODY, turned(no_hands, 10), betas, posed_keypoints(who.body, who.params))
    off = (posed_joints(BODY, found.body)[:, :24] - joints).norm(dim=-1)
    assert float(off.mean()) < 0.012 and float(found.residual.mean()) < 0.006


def test_more_steps_never_fit_worse(who):
    points, guess = posed_keypoints(who.body, who.params), turned(who.params.rotmats, 15)
    means = [
        float(fit_points(who.body, guess, who.params.betas, points, PointFitConfig(steps=n)).residual.mean())
        for n in (1, 4, 12)
    ]
    assert means[0] > means[1] > means[2]
