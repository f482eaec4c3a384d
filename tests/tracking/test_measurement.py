"""Where bodies stand by their keypoints, and what one frame's group says near its linked hypothesis."""

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.fitting.evidence import KeypointNoise
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import axis_rotmat, rotmat_angle
from hmralign.structures import Observation
from hmralign.systems.recover.demo_scene import demo_scene
from hmralign.tracking.measurement import measure
from hmralign.tracking.placing import place_by_keypoints
from hmralign.tracking.readings import exchanged_sides

BODY = load_free_body("3k5")
SCENE = demo_scene(BODY)
NOISE = KeypointNoise(torch.full((27, 5), 0.01), torch.zeros(27, 3))


def observation(shift=None):
    keypoints = project(posed_keypoints(BODY, SCENE.truth), torch.from_numpy(SCENE.K))[None]
    if shift is not None:
        keypoints[0, 0] += shift
    return Observation(
        keypoints, torch.full((1, 27), 0.9), torch.tensor([[0.0, 0, 640, 800]]), torch.from_numpy(SCENE.K)[None],
        torch.ones(1, dtype=torch.bool), torch.zeros(1, 1, 1), torch.zeros(1, dtype=torch.bool),
    )  # fmt: skip


def placed(seen, rotmats=None):
    rotmats = SCENE.truth.rotmats if rotmats is None else rotmats
    return place_by_keypoints(BODY, rotmats[None, None], SCENE.truth.betas[None, None], seen, NOISE)


def test_the_true_body_stands_where_it_stood_and_fits():
    found = placed(observation())
    assert torch.allclose(found.transl[0, 0], SCENE.truth.transl, atol=2e-3) and float(found.misfit[0, 0]) < 0.01


def test_one_wrong_keypoint_moves_nothing_and_counts_at_most_as_one():
    far, further = placed(observation(torch.tensor([150.0, 0.0]))), placed(observation(torch.tensor([300.0, 0.0])))
    assert (far.transl[0, 0] - SCENE.truth.transl).norm() < 0.05
    assert 1 < float(far.misfit[0, 0]) < float(further.misfit[0, 0]) + 1e-3 < 0.5 * 3.0**2 + 1.5


def test_the_right_reading_fits_better_than_the_other():
    assert float(placed(exchanged_sides(observation())).misfit) > 20 * float(placed(observation()).misfit) + 1


def test_exchanging_twice_changes_nothing():
    seen = observation()
    twice = exchanged_sides(exchanged_sides(seen))
    assert torch.equal(twice.keypoints, seen.keypoints) and torch.equal(twice.confidence, seen.confidence)


def group():
    bent = [axis_rotmat("x", torch.tensor(angle)) for angle in (0.0, 0.1, 1.2)]
    rotmats = SCENE.truth.rotmats.expand(3, 24, 3, 3).clone()
    for number, turn in enumerate(bent):
        rotmats[number, 18] = turn
    return rotmats, torch.stack([posed_joints(BODY, SCENE.truth)] * 3)


def test_hypotheses_far_from_the_linked_one_have_little_say():
    rotmats, joints = group()
    near = measure(rotmats, joints, torch.tensor([0.0, 0.001, 0.25]), near=0.1)
    assert abs(float(rotmat_angle(near.rotmats[18], rotmats[0, 18])) - 0.05) < 0.01
    alike = measure(rotmats, joints, torch.zeros(3), near=0.1)
    assert float(alike.variance[18]) > 10 * float(near.variance[18])
    assert float(near.variance[5]) == float(torch.deg2rad(torch.tensor(1.0)) ** 2)  # the floor: no scatter there


def test_the_spread_is_that_of_the_whole_group():
    rotmats, joints = group()
    joints = joints + torch.tensor([0.0, 0.1, -0.1])[:, None, None] * torch.arange(29.0)[None, :, None].clamp(max=1)
    found = measure(rotmats, joints, torch.tensor([0.0, 1.0, 1.0]), near=0.1)
    expected = (joints - joints[:, :1]).var(0, correction=0).sum(-1)
    assert torch.allclose(found.joint_variance, expected, atol=1e-6)
