"""Refinement: hypotheses move onto the keypoints and towards the truth, and wrong keypoints do not drag them along."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.skeleton import MIRROR_JOINTS
from hmralign.fitting import keypoint_update
from hmralign.fitting.evidence import Evidence, KeypointNoise, predict
from hmralign.fitting.keypoint_update import (
    RefinementConfig,
    gauss_newton_update,
    geman_mcclure,
    place,
    prior_covariance,
    refine_group,
    tangent_coordinates,
)
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import rotmat_angle, rotvec_to_rotmat
from hmralign.models.person_frame import person_frame
from support.synthetic_persons import BODY, SWAP, exact, persons, seeded

PERSONS, HYPS = 40, 12
NOISE = KeypointNoise(torch.full((27, 5), 0.01), torch.zeros(27, 3))
METHODS = ("ensemble", "gauss_newton")
FLIP = torch.tensor([-1.0, 1.0])


def visible(example):
    """Persons of whom every joint is at least a metre away, so that pixels mean something."""
    return (example.annotation.joints[..., 2] > 1.0).all(1).nonzero()[:PERSONS, 0]


DRAWN = exact(persons(160, seed=3, known=1.0))
CHOSEN = visible(DRAWN)
OBSERVED, TRUE_BODY = DRAWN.observation[CHOSEN], DRAWN.annotation.body[CHOSEN]
FRAME = person_frame(OBSERVED)
TRUE = TRUE_BODY.rotmats.clone()
TRUE[:, 0] = FRAME.R_person_cam @ TRUE[:, 0]
BETAS = TRUE_BODY.betas[:, None].expand(-1, HYPS, -1).clone()
EVIDENCE = Evidence(FRAME.keypoints_tan, OBSERVED.confidence, NOISE)


def starts(degrees=10.0, seed=0):
    """The truth, every joint turned by Gaussian noise."""
    noise = torch.deg2rad(torch.tensor(degrees)) * torch.randn(PERSONS, HYPS, 24, 3, generator=seeded(seed))
    return TRUE[:, None] @ rotvec_to_rotmat(noise)


START = starts()


def reprojection(rotmats, betas=BETAS, evidence=EVIDENCE, config=RefinementConfig(robust=0.0)):  # noqa: B008
    """Mean distance of each hypothesis from the keypoints, in shares of the person's longer side."""
    points = predict(BODY, rotmats, betas, evidence.noise.offsets, derivatives=False).points
    residual = place(points, evidence, config)
    seen = (evidence.confidence > 0).float()[:, None]
    extent = (EVIDENCE.tangents.amax(1) - EVIDENCE.tangents.amin(1)).amax(1)
    return (residual.error.norm(dim=-1) * seen).sum(-1) / seen.sum(-1) / extent[:, None]


def mpjpe(rotmats, betas=BETAS):
    def joints(r, b):
        _, posed = forward_kinematics(rest_joints(BODY, b), r, BODY.parents)
        return posed - posed[..., :1, :]

    truth = joints(TRUE, TRUE_BODY.betas)[:, None]
    return (joints(rotmats, betas) - truth).norm(dim=-1).mean(-1)


def refined(method="gauss_newton", start=START, evidence=EVIDENCE, betas=BETAS, **options):
    return refine_group(BODY, start, betas, evidence, RefinementConfig(method=method, **options))


@pytest.mark.parametrize(("method", "left"), [("ensemble", 0.6), ("gauss_newton", 0.35)])
def test_hypotheses_move_onto_the_keypoints(method, left):
    rotmats, betas = refined(method)
    assert reprojection(rotmats, betas).mean() < left * reprojection(START).mean()
    assert (reprojection(rotmats, betas).mean(1) < reprojection(START).mean(1)).all(), "of every person"


@pytest.mark.parametrize("method", METHODS)
def test_and_towards_the_truth(method):
    rotmats, betas = refined(method)
    assert mpjpe(rotmats, betas).mean() < 0.85 * mpjpe(START).mean()
    assert (mpjpe(rotmats, betas).mean(1) < mpjpe(START).mean(1)).float().mean() >= 0.9


@pytest.mark.parametrize("method", METHODS)
def test_results_are_rotations(method):
    rotmats, _ = refined(method)
    torch.testing.assert_close(rotmats @ rotmats.mT, torch.eye(3).expand_as(rotmats), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotmats), torch.ones(PERSONS, HYPS, 24), atol=1e-4, rtol=0)


def test_the_truth_stays_the_truth():
    rotmats, betas = refined(start=TRUE[:, None].expand(-1, HYPS, -1, -1, -1))
    assert torch.rad2deg(rotmat_angle(rotmats, TRUE[:, None].expand_as(rotmats))).max() < 1.0
    torch.testing.assert_close(betas, BETAS, atol=0.05, rtol=0)


def test_better_keypoints_are_trusted_more():
    """Reprojection falls as the noise shrinks; with keypoints that say nothing, nobody moves.

    Three steps: one linearisation cannot follow keypoints that are a hundred times sharper than the start is near.
    """
    levels = [0.3, 0.03, 0.003]
    errors = [reprojection(*refined(noise_scale=level / 0.01, steps=3)).mean() for level in levels]
    assert errors[0] > errors[1] > errors[2]
    rotmats, betas = refined(noise_scale=1e4)
    assert rotmat_angle(rotmats, START).max() < 0.02 and (betas - BETAS).abs().max() < 0.02


def test_method_none_leaves_everything_alone():
    rotmats, betas = refined("none")
    assert rotmats is START and betas is BETAS


def wrong_wrist():
    """One wrist with its knuckles seen on somebody else, a whole body height away."""
    tangents = EVIDENCE.tangents.clone()
    extent = (tangents.amax(1) - tangents.amin(1)).amax(1)
    tangents[:, [9, 23, 24], 0] += extent[:, None]
    return replace(EVIDENCE, tangents=tangents)


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_keypoint_hardly_changes_the_result(method):
    clean = mpjpe(*refined(method)).mean()
    robust = mpjpe(*refined(method, evidence=wrong_wrist())).mean()
    trusting = mpjpe(*refined(method, evidence=wrong_wrist(), robust=0.0)).mean()
    assert robust < clean + 0.01, "metres"
    assert trusting > robust + 0.01, "without robustness it does"


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_keypoint_does_not_move_the_body(method):
    config = RefinementConfig(method=method)
    rotmats, betas = refined(method)
    points = predict(BODY, rotmats, betas, NOISE.offsets, derivatives=False).points
    clean, wrong = (place(points, e, config).transl for e in (EVIDENCE, wrong_wrist()))
    distance = (clean - wrong).norm(dim=-1) / clean.norm(dim=-1)
    assert distance.median() < 0.02 and distance.quantile(0.95) < 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seen", [0, 1])
def test_persons_without_keypoints_come_back_as_they_were(method, seen):
    confidence = EVIDENCE.confidence.clone()
    confidence[3] = 0
    confidence[3, :seen] = 1.0
    rotmats, betas = refined(method, evidence=replace(EVIDENCE, confidence=confidence))
    assert torch.equal(rotmats[3], START[3]) and torch.equal(betas[3], BETAS[3])
    assert torch.isfinite(rotmats).all() and not torch.equal(rotmats[2], START[2])


@pytest.mark.parametrize("method", METHODS)
def test_what_an_unseen_keypoint_says_does_not_matter(method):
    confidence = EVIDENCE.confidence.clone()
    confidence[:, [9, 15]] = 0
    tangents = EVIDENCE.tangents.clone()
    tangents[:, [9, 15]] = 50.0
    a = refined(method, evidence=replace(EVIDENCE, confidence=confidence))
    b = refined(method, evidence=replace(EVIDENCE, confidence=confidence, tangents=tangents))
    assert rotmat_angle(a[0], b[0]).max() < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_persons_are_independent(method):
    together = refined(method)
    for k in (0, 4):
        alone = refine_group(
            BODY,
            START[k : k + 1],
            BETAS[k : k + 1],
            Evidence(EVIDENCE.tangents[k : k + 1], EVIDENCE.confidence[k : k + 1], NOISE),
            RefinementConfig(method=method),
        )
        assert rotmat_angle(alone[0][0], together[0][k]).max() < 5e-3
        torch.testing.assert_close(alone[1][0], together[1][k], atol=5e-3, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_mirrored_person_gets_the_mirrored_answer(method):
    mirrored = Evidence(EVIDENCE.tangents[:, SWAP] * FLIP, EVIDENCE.confidence[:, SWAP], NOISE)
    rotmats, betas = refined(method)
    other, other_betas = refined(method, start=mirror_rotmats(START, MIRROR_JOINTS[:24]), evidence=mirrored)
    angle = torch.rad2deg(rotmat_angle(mirror_rotmats(other, MIRROR_JOINTS[:24]), rotmats))
    assert torch.quantile(angle.flatten(), 0.99) < 0.5
    torch.testing.assert_close(other_betas, betas, atol=0.02, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_hypotheses_does_not_matter(method):
    order = torch.randperm(HYPS, generator=seeded(1))
    rotmats, _ = refined(method)
    shuffled, _ = refined(method, start=START[:, order], betas=BETAS[:, order])
    assert rotmat_angle(shuffled, rotmats[:, order]).max() < 5e-3


def test_the_shape_moves_within_its_prior_and_stays_where_that_is_closed():
    wrong = BETAS + 1.5 * torch.randn(PERSONS, 1, 10, generator=seeded(2))
    fixed = refined(betas=wrong, betas_sd=0.0)[1]
    assert torch.equal(fixed, wrong.clamp(-4, 4))
    free, freer = (refined(betas=wrong, betas_sd=sd)[1] for sd in (0.3, 3.0))
    near, far = ((b - wrong).norm(dim=-1).mean() for b in (free, freer))
    assert 0 < near < far and freer.abs().max() <= 4
    height = lambda b: rest_joints(BODY, b)[..., 24, 1] - rest_joints(BODY, b)[..., 27, 1]  # noqa: E731
    assert height(free).min() > 1.0, "still people"


def test_the_ensemble_leaves_the_shape_alone():
    assert torch.equal(refined("ensemble")[1], BETAS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hyps", [1, 2, 3])
def test_small_groups(method, hyps):
    rotmats, betas = refined(method, start=START[:, :hyps], betas=BETAS[:, :hyps])
    assert rotmats.shape == (PERSONS, hyps, 24, 3, 3) and torch.isfinite(rotmats).all()
    if hyps < 3 or method == "gauss_newton":
        assert (reprojection(rotmats, betas).mean(1) < reprojection(START[:, :hyps], BETAS[:, :hyps]).mean(1)).all()


def test_groups_whose_members_are_equal_stay_finite():
    same = START[:, :1].expand(-1, HYPS, -1, -1, -1)
    for method in METHODS:
        rotmats, _ = refined(method, start=same)
        assert torch.isfinite(rotmats).all()
        assert torch.quantile(rotmat_angle(rotmats, rotmats[:, :1].expand_as(rotmats)), 0.99) < 1e-2


def test_no_steps_no_change():
    rotmats, betas = gauss_newton_update(BODY, START, BETAS, EVIDENCE, RefinementConfig(steps=0))
    assert torch.equal(rotmats, START) and torch.equal(betas, BETAS)


def test_robust_weights():
    assert geman_mcclure(torch.tensor([0.0, 3.0, 1e6]), 3.0).tolist() == pytest.approx([1, 0.25, 0], abs=1e-6)
    assert geman_mcclure(torch.tensor([0.0, 1e6]), 0.0).tolist() == [1, 1]


@pytest.mark.parametrize(("steps", "expected"), [(3, [12, 6, 3]), (2, [12, 3]), (1, [6])])
def test_the_cutoff_tightens(steps, expected):
    config = RefinementConfig(steps=steps)
    assert [config.cutoff(k) for k in range(steps)] == pytest.approx(expected)


def test_tangent_coordinates_lead_back():
    mean, turns = tangent_coordinates(START)
    back = mean[:, None] @ rotvec_to_rotmat(turns.unflatten(-1, (24, 3)))
    assert rotmat_angle(back, START).max() < 2e-3
    assert torch.rad2deg(turns).square().mean().sqrt() == pytest.approx(10 * (11 / 12) ** 0.5, rel=0.05)


def test_prior_covariance_is_that_of_the_group_plus_the_floor():
    _, turns = tangent_coordinates(START)
    config = RefinementConfig(own_share=0.25, floor_deg=4.0)
    got = prior_covariance(turns, config)
    floor = torch.deg2rad(torch.tensor(4.0)) ** 2 * torch.eye(72)
    torch.testing.assert_close(got[2], 0.25 * torch.cov(turns[2].T) + 0.75 * floor, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(prior_covariance(turns[:, :1], config)[0], floor)


def test_bodies_are_placed_where_they_are():
    """The true pose and shape, placed by the keypoints alone, is where the annotation has it."""
    points = predict(BODY, TRUE[:, None], BETAS[:, :1], NOISE.offsets, derivatives=False).points
    transl = place(points, EVIDENCE, RefinementConfig()).transl[:, 0]
    rest = rest_joints(BODY, TRUE_BODY.betas)[:, 0]
    pelvis = ((TRUE_BODY.transl + rest)[:, None] @ FRAME.R_person_cam.mT)[:, 0]
    torch.testing.assert_close(transl + rest, pelvis, atol=0.01, rtol=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_the_persons_give_what_all_at_once_give(method, monkeypatch):
    config = RefinementConfig(method=method)
    together = refine_group(BODY, START, BETAS, EVIDENCE, config, START)
    monkeypatch.setattr(keypoint_update, "_BODIES_AT_ONCE", 1)
    for one, other in zip(together, refine_group(BODY, START, BETAS, EVIDENCE, config, START), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    nobody = Evidence(EVIDENCE.tangents[:0], EVIDENCE.confidence[:0], NOISE)
    assert refine_group(BODY, START[:0], BETAS[:0], nobody, config)[0].shape == START[:0].shape


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_computed_where_the_hypotheses_are(method):
    """On the `meta` device, which computes shapes only but refuses to mix devices as an accelerator does."""
    there = lambda t: t.to("meta")  # noqa: E731
    evidence = Evidence(there(EVIDENCE.tangents), there(EVIDENCE.confidence), NOISE)
    rotmats, betas = refine_group(
        BODY.to("meta"), there(START), there(BETAS), evidence, RefinementConfig(method=method)
    )
    assert rotmats.device.type == betas.device.type == "meta" and rotmats.shape == START.shape
