import math
from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.data.synthetic.rig import RigPersons, sample_rig
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.rig_fit import RigFitConfig, first_guess, fit_rig
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_angle, rotvec_to_rotmat
from hmralign.metrics.joint_errors import mpjpe
from hmralign.structures import InputError

BODY = load_free_body("3k5")
NOISE = noise_of("mediapipe")


def perfect_rig(count: int = 8, cameras: int = 3) -> RigPersons:
    """All keypoints seen where the detector's landmarks of the true body are."""
    persons = sample_rig(world_generator("lab", "train"), count, cameras, torch.Generator().manual_seed(3))
    seen, truth = persons.views.observation, persons.views.annotation
    assert truth is not None
    turns, joints = forward_kinematics(rest_joints(BODY, truth.body.betas), truth.body.rotmats, BODY.parents)
    joints = joints + truth.body.transl[..., None, :]
    flat = landmark_points(
        BODY, truth.body.betas.flatten(0, 1), turns.flatten(0, 1), joints.flatten(0, 1), NOISE.offsets
    )
    pixels = project(flat.unflatten(0, seen.box.shape[:2]), seen.K)
    seen = replace(seen, keypoints=pixels, confidence=torch.ones_like(seen.confidence))
    return replace(persons, views=replace(persons.views, observation=seen))


def guess_off_by(persons: RigPersons, degrees: float) -> torch.Tensor:
    assert persons.views.annotation is not None
    rotmats = persons.views.annotation.body.rotmats[:, 0]
    turn = math.radians(degrees) * torch.randn(*rotmats.shape[:2], 3, generator=torch.Generator().manual_seed(1))
    return rotmats @ rotvec_to_rotmat(turn / math.sqrt(3))


def errors(fit, persons: RigPersons) -> torch.Tensor:
    assert persons.views.annotation is not None
    truth = persons.views.annotation.joints[:, 0, :24]
    return mpjpe(posed_joints(BODY, fit.body)[:, :24], truth, root=0)


def fitted(persons: RigPersons, guess: torch.Tensor, views: int | None = None):
    seen, T = persons.views[:, :views].observation, persons.T_view_first[:, :views]
    return fit_rig(BODY, guess, torch.zeros(len(guess), BODY.num_betas), seen, T, NOISE)


def test_views_that_agree_bring_a_wrong_guess_to_the_truth_and_place_it():
    persons = perfect_rig()
    guess = guess_off_by(persons, 20.0)
    found = fitted(persons, guess)
    start = fitted(persons, guess, views=1)
    assert errors(found, persons).mean() < 0.025
    assert errors(found, persons).mean() < 0.5 * errors(start, persons).mean()  # one view does not know depth
    assert persons.views.annotation is not None
    pelvis = persons.views.annotation.joints[:, 0, 0]
    assert (posed_joints(BODY, found.body)[:, 0] - pelvis).norm(dim=-1).max() < 0.05
    assert found.agreement.min() > 0.9


def test_a_view_that_sees_somebody_else_loses_its_say():
    persons = perfect_rig(8, 4)
    seen = persons.views.observation
    keypoints = seen.keypoints.clone()
    keypoints[:, 2] = keypoints[:, 2].roll(1, 0)
    wrong = replace(persons, views=replace(persons.views, observation=replace(seen, keypoints=keypoints)))
    guess = guess_off_by(persons, 12.0)
    assert errors(fitted(wrong, guess), persons).median() < 0.04
    assert fitted(wrong, guess).agreement.mean() < fitted(persons, guess).agreement.mean() - 0.1


def test_keypoints_that_nobody_observed_have_no_say():
    persons = perfect_rig(4)
    seen = persons.views.observation
    confidence, keypoints = seen.confidence.clone(), seen.keypoints.clone()
    confidence[:, 1, 5:9] = 0.0
    keypoints[:, 1, 5:9] = 1e4
    hidden = replace(persons, views=replace(persons.views, observation=replace(seen, confidence=confidence)))
    absurd = replace(hidden, views=replace(hidden.views, observation=replace(
        hidden.views.observation, keypoints=keypoints)))  # fmt: skip
    guess = guess_off_by(persons, 12.0)
    a, b = fitted(hidden, guess), fitted(absurd, guess)
    assert torch.allclose(a.body.rotmats, b.body.rotmats, atol=1e-4)


def test_the_first_guess_is_the_same_body_seen_from_every_camera():
    persons = perfect_rig(4)
    assert persons.views.annotation is not None
    rotmats = persons.views.annotation.body.rotmats
    assert torch.allclose(first_guess(rotmats, persons.T_view_first), rotmats[:, 0], atol=1e-4)


def test_views_without_a_place_are_refused():
    persons = perfect_rig(2)
    with pytest.raises(InputError, match="transforms"):
        fit_rig(
            BODY, guess_off_by(persons, 1.0), torch.zeros(2, BODY.num_betas), persons.views.observation,
            persons.T_view_first[:, :2], NOISE,
        )  # fmt: skip


def test_how_far_the_answer_may_go_from_the_guess_is_a_setting():
    persons = perfect_rig(4)
    guess, moved = guess_off_by(persons, 20.0), []
    for prior_deg in (0.05, 5.0, 30.0):
        seen, config = persons.views.observation, RigFitConfig(prior_deg=prior_deg)
        found = fit_rig(BODY, guess, torch.zeros(4, BODY.num_betas), seen, persons.T_view_first, NOISE, config)
        moved.append(float(rotmat_angle(guess, found.body.rotmats).mean()))
    assert moved[0] < math.radians(0.1) and moved[0] < moved[1] < moved[2]
