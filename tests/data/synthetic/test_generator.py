"""Synthetic examples: what is observed agrees with the annotation, always finite, always in front of the camera."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, posed_joints, posed_keypoints, rest_joints
from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import Failures, load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.proportions import AS_MODELLED
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import random_rotmat
from hmralign.structures import InputError
from support.synthetic_persons import BODY, persons, seeded, source

MEASURED = Generator(BODY, PoseSource(load_pose_prior()), SyntheticMix(), load_measured_noise())


@pytest.fixture(scope="module", params=["generic", "measured"])
def example(request):
    """20,000 persons: rare failures are among them."""
    return (MEASURED if request.param == "measured" else source()).sample(20_000, seeded(11))


def test_everything_is_finite_and_in_range(example):
    o, body = example.observation, example.annotation.body
    for tensor in (o.keypoints, o.confidence, o.box, o.K, o.mask, body.rotmats, body.betas, body.transl,
                   example.annotation.joints):  # fmt: skip
        assert torch.isfinite(tensor).all()
    assert o.confidence.min() >= 0 and o.confidence.max() <= 1
    assert body.betas.abs().max() <= 3 and not o.has_mask.any()


def test_everybody_is_in_front_of_the_camera(example):
    assert example.annotation.joints[..., 2].min() > 0.25


def by_box_only(example):
    return (example.observation.confidence == 0).all(1)


def test_enough_is_seen_of_everybody_who_is_not_known_by_a_box_only(example):
    boxed = by_box_only(example)
    assert (example.observation.confidence[~boxed] > 0.3).sum(1).min() >= 6
    assert 0.01 < boxed.float().mean() < 0.03


def test_hand_drawn_boxes_surround_what_is_in_the_image():
    """Known by a box only: the sides are near those of the true keypoints inside the image, and never inside out."""
    example, seen = source(box_only_share=1.0, proportions=AS_MODELLED).sample_seen(500, seeded(8))
    o = example.observation
    assert (o.confidence == 0).all() and (seen.inside_image > 0.3).all()
    points = project(posed_keypoints(BODY, example.annotation.body), o.K)
    size = 2 * o.K[:, :2, 2] + 1
    inside = ((points > -0.5) & (points < size[:, None] - 0.5)).all(-1)
    tight = keypoint_box(points, inside.float())
    side = (tight[:, 2:] - tight[:, :2]).amax(1, keepdim=True)
    off = (o.box - tight) / side
    assert off.abs().median() < 0.03 and off.abs().max() < 0.2 and off.std() > 0.02
    assert (o.box[:, 2:] > o.box[:, :2]).all()


def test_reports_are_inside_the_image_and_unseen_keypoints_have_no_place(example):
    o = example.observation
    size = 2 * o.K[:, :2, 2] + 1
    seen = o.confidence > 0
    inside = ((o.keypoints > -0.5) & (o.keypoints < size[:, None] - 0.5)).all(-1)
    assert inside[seen].all()
    assert (o.keypoints[~seen] == 0).all()
    assert 0.5 < seen.float().mean() < 0.9


def test_boxes_are_those_of_the_keypoints(example):
    o, tight = example.observation, ~by_box_only(example)
    assert torch.equal(o.box[tight], keypoint_box(o.keypoints, o.confidence)[tight])


def test_confident_reports_are_near_the_projected_body(example):
    o, body = example.observation, example.annotation.body
    truth = project(posed_keypoints(BODY, body), o.K)
    side = (o.box[:, 2:] - o.box[:, :2]).amax(1)
    error = (o.keypoints - truth).norm(dim=-1) / side[:, None]
    assert error[o.confidence > 0.8].median() < 0.05
    assert error[(o.confidence > 0) & (o.confidence < 0.3)].median() > 2 * error[o.confidence > 0.8].median()


def test_joints_are_those_of_the_body(example):
    index = torch.arange(0, 20_000, 100)
    body = example.annotation.body[index]
    torch.testing.assert_close(posed_joints(BODY, body), example.annotation.joints[index], atol=1e-5, rtol=1e-5)


def test_half_of_the_cameras_are_known(example):
    assert 0.47 < example.observation.knows_camera.float().mean() < 0.53


def test_few_persons_are_repeats(example):
    assert len(example.annotation.body.transl.unique(dim=0)) > 0.93 * 20_000


@pytest.mark.parametrize("generator", [source(), MEASURED], ids=["generic", "measured"])
def test_the_generator_decides(generator):
    a, b, c = (generator.sample(64, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(a.observation.keypoints, b.observation.keypoints)
    assert torch.equal(a.annotation.body.rotmats, b.annotation.body.rotmats)
    assert not torch.equal(a.observation.keypoints, c.observation.keypoints)


def test_single_persons_can_be_drawn_even_when_the_first_is_not_seen():
    generator = source(min_keypoints=15, box_only_share=0.0)
    for seed in range(40):
        assert (generator.sample(1, seeded(seed)).observation.confidence > 0.3).sum() >= 15


def test_no_persons_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        source().sample(0, seeded(0))


def test_a_known_camera_share_of_one_and_zero():
    assert persons(30, known=1.0).observation.knows_camera.all()
    assert not persons(30, known=0.0).observation.knows_camera.any()


def kinematics(example):
    body = example.annotation.body
    return forward_kinematics(rest_joints(BODY, body.betas), body.rotmats, BODY.parents)


def test_landmark_offsets_ride_on_their_bones():
    """Turning the whole body turns every offset; bending a knee moves only what hangs below."""
    example = persons(6)
    body = example.annotation.body
    offsets = 0.05 * torch.randn(27, 3, generator=seeded(3))

    def displacement(rotmats):
        G, joints = forward_kinematics(rest_joints(BODY, body.betas), rotmats, BODY.parents)
        return landmark_points(BODY, body.betas, G, joints, offsets) - landmark_points(
            BODY, body.betas, G, joints, None
        )

    plain = displacement(body.rotmats)
    torch.testing.assert_close(plain.norm(dim=-1), offsets.norm(dim=-1).expand(6, 27), atol=1e-5, rtol=0)
    R = random_rotmat((6,), seeded(4))
    turned = body.rotmats.clone()
    turned[:, 0] = R @ turned[:, 0]
    torch.testing.assert_close(displacement(turned), plain @ R.mT, atol=1e-5, rtol=0)
    bent = body.rotmats.clone()
    bent[:, 4] = bent[:, 4] @ random_rotmat((6,), seeded(5))
    moved = (displacement(bent) - plain).norm(dim=-1).amax(0) > 1e-4
    below_left_knee = [15, 17, 18, 19]  # ankle, toes, heel
    assert moved[below_left_knee].all() and not moved[[0, 5, 9, 11, 12, 14, 16, 20, 21, 22]].any()


def test_without_offsets_landmarks_are_the_keypoints():
    example = persons(6)
    body = example.annotation.body
    G, joints = kinematics(example)
    got = landmark_points(BODY, body.betas, G, joints + body.transl[:, None], None)
    torch.testing.assert_close(got, posed_keypoints(BODY, body), atol=1e-5, rtol=0)


def test_a_detectors_offsets_move_what_it_reports():
    """Reports without noise land on the displaced landmarks, and those are not the body's own keypoints."""
    noise = load_measured_noise()
    silent = replace(noise, residuals=torch.zeros_like(noise.residuals), confidence=torch.ones_like(noise.confidence))
    perfect = Failures(**dict.fromkeys(vars(Failures()), 0.0))
    mix = SyntheticMix(measured_share=1.0, failures=perfect, proportions=AS_MODELLED)
    example = replace(MEASURED, noise=silent, mix=mix).sample(50, seeded(0))
    o, body = example.observation, example.annotation.body
    G, joints = kinematics(example)
    joints = joints + body.transl[:, None]
    displaced, own = (
        project(landmark_points(BODY, body.betas, G, joints, offsets), o.K) for offsets in (noise.offsets, None)
    )
    seen = o.confidence > 0
    torch.testing.assert_close(o.keypoints[seen], displaced[seen], atol=0.05, rtol=0)
    assert (o.keypoints - own).norm(dim=-1)[seen].median() > 1


def test_observed_bodies_have_other_limbs_and_the_same_rotations():
    """What is seen is the stretched skeleton in the annotated rotations; reports without noise fall on it."""
    perfect = Failures(**dict.fromkeys(vars(Failures()), 0.0))
    silent = replace(load_measured_noise(), residuals=torch.zeros_like(load_measured_noise().residuals))
    mix = SyntheticMix(measured_share=1.0, failures=perfect)
    example, seen = replace(MEASURED, noise=silent, mix=mix).sample_seen(60, seeded(3))
    body = example.annotation.body
    G, joints = kinematics(example)
    torch.testing.assert_close(seen.global_rotmats, G, atol=1e-5, rtol=0)
    points = landmark_points(BODY, body.betas, seen.global_rotmats, seen.joints, silent.offsets)
    confident = example.observation.confidence > 0
    torch.testing.assert_close(
        example.observation.keypoints[confident], project(points, example.observation.K)[confident], atol=0.05, rtol=0
    )
    away = (seen.joints - joints - body.transl[:, None]).norm(dim=-1)
    assert away[:, 0].max() < 1e-5 and 0.01 < away[:, 7:9].median() < 0.12


def test_shapes_spread_as_much_as_is_said():
    def betas(spread):
        mix = SyntheticMix(beta_sd=spread, proportions=AS_MODELLED)
        return Generator(BODY, PoseSource(load_pose_prior()), mix).sample(300, seeded(1)).annotation.body.betas

    assert torch.equal(betas(0.0), torch.zeros(300, 10))
    assert abs(float(betas(0.5).std()) - 0.5) < 0.03
