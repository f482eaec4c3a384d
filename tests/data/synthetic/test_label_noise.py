"""Each kind of label noise changes what it says and nothing else."""

import math
from dataclasses import fields, replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import PARENTS
from hmralign.data.synthetic.label_noise import NOISE_KINDS, LabelNoise, drawn_bad, noisy_bodies, with_planted_noise
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_angle
from hmralign.structures import BodyParams, Example, InputError
from support.synthetic_persons import BODY, mirrored_body, persons, seeded

PERSONS = 40
EXAMPLE = persons(PERSONS)
TRUTH = EXAMPLE.annotation.body


def noisy(kind, seed=0, **settings):
    return noisy_bodies(BODY, TRUTH, LabelNoise(kind, **settings), seeded(seed))


def joint_moves(body):
    return (posed_joints(BODY, body) - posed_joints(BODY, TRUTH)).norm(dim=-1)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_only_marked_labels_change_and_observations_never(kind):
    bad = drawn_bad(PERSONS, 0.3, seeded(1))
    planted = with_planted_noise(BODY, EXAMPLE, bad, LabelNoise(kind), seeded(2))
    assert planted.observation is EXAMPLE.observation
    for name in ("global_orient", "body_pose", "betas", "transl"):
        before, after = getattr(TRUTH, name), getattr(planted.annotation.body, name)
        assert torch.equal(after[~bad], before[~bad])
    assert torch.equal(planted.annotation.joints[~bad], EXAMPLE.annotation.joints[~bad])
    assert torch.equal(planted.annotation.body.transl, TRUTH.transl)
    moved = (planted.annotation.joints - EXAMPLE.annotation.joints).norm(dim=-1).amax(-1)
    assert bool((moved[bad] > 0).all())
    torch.testing.assert_close(planted.annotation.joints[bad], posed_joints(BODY, planted.annotation.body[bad]))
    R = planted.annotation.body.rotmats
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_the_generator_decides(kind):
    a, b, c = noisy(kind, 3), noisy(kind, 3), noisy(kind, 4)
    assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(BodyParams))
    if kind not in ("depth_flip", "lean"):  # which draw nothing
        assert not torch.equal(a.rotmats, c.rotmats)


def test_the_share_of_bad_labels_is_exact():
    assert int(drawn_bad(1000, 0.15, seeded(0)).sum()) == 150
    assert not drawn_bad(10, 0.0, seeded(0)).any() and drawn_bad(10, 1.0, seeded(0)).all()


@pytest.mark.parametrize("degrees", [5.0, 20.0])
def test_joints_turn_by_the_angle_that_is_said(degrees):
    body = noisy("joint_rotations", degrees=degrees)
    angle = torch.rad2deg(rotmat_angle(body.body_pose, TRUTH.body_pose))
    assert float(angle.square().mean().sqrt()) == pytest.approx(degrees, rel=0.1)
    assert torch.equal(body.global_orient, TRUTH.global_orient) and torch.equal(body.betas, TRUTH.betas)


def test_swapped_limbs_are_those_of_the_mirrored_body():
    body, mirror = noisy("limb_swap"), mirrored_body(TRUTH)
    arms, legs = [12, 13, 15, 16, 17, 18, 19, 20, 21, 22], [0, 1, 3, 4, 6, 7, 9, 10]
    which = []
    for person in range(PERSONS):
        changed = [j for j in range(23) if not torch.equal(body.body_pose[person, j], TRUTH.body_pose[person, j])]
        pair = next(p for p in (arms, legs) if set(changed) <= set(p))
        assert torch.equal(body.body_pose[person, pair], mirror.body_pose[person, pair])
        which.append(pair is arms)
    assert {True, False} == set(which)


def test_swapping_twice_is_nothing():
    once = noisy("limb_swap", 5)
    twice = noisy_bodies(BODY, once, LabelNoise("limb_swap"), seeded(5))
    torch.testing.assert_close(twice.body_pose, TRUTH.body_pose)


def test_a_flipped_limb_moves_in_depth_and_hardly_in_the_picture():
    body = noisy("depth_flip")
    moves = joint_moves(body)
    changed = moves > 1e-3
    limbs = ([18, 20, 22, 25], [19, 21, 23, 26], [4, 7, 10, 27], [5, 8, 11, 28])
    before, after = posed_joints(BODY, TRUTH), posed_joints(BODY, body)
    for person in range(PERSONS):
        limb = next(limb for limb in limbs if set(changed[person].nonzero()[:, 0].tolist()) <= set(limb))
        a, b = before[person, limb], after[person, limb]
        start = before[person, PARENTS[limb[0]]]
        ray = start / start.norm()
        torch.testing.assert_close((b - start) @ ray, -((a - start) @ ray), atol=1e-3, rtol=0)
        across = (b - a) - ((b - a) @ ray)[:, None] * ray
        assert float(across.norm(dim=-1).max()) < 1e-3
    K = EXAMPLE.observation.K
    shift = (project(after, K) - project(before, K)).norm(dim=-1)
    turned = noisy("global_rotation")
    turned_shift = (project(posed_joints(BODY, turned), K) - project(before, K)).norm(dim=-1)
    assert float(moves.amax(1).median()) > 0.2 and float(shift.mean()) < 0.2 * float(turned_shift.mean())


def test_a_turned_body_keeps_its_pose_and_the_vertical():
    body = noisy("global_rotation")
    assert torch.equal(body.body_pose, TRUTH.body_pose)
    turn = body.global_orient @ TRUTH.global_orient.mT
    vertical = torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(turn @ vertical, vertical.expand(PERSONS, 3), atol=1e-5, rtol=0)
    angle = rotmat_angle(body.global_orient, TRUTH.global_orient)
    assert bool((angle > math.radians(45) - 1e-3).all()) and float(angle.max()) > math.radians(120)


@pytest.mark.parametrize("degrees", [10.0, 30.0])
def test_who_leans_keeps_pose_and_has_the_head_nearer_to_the_camera(degrees):
    body = noisy("lean", degrees=degrees)
    assert torch.equal(body.body_pose, TRUTH.body_pose)
    turn = body.global_orient @ TRUTH.global_orient.mT
    angle = torch.rad2deg(rotmat_angle(turn, torch.eye(3).expand_as(turn)))
    torch.testing.assert_close(angle, torch.full((PERSONS,), degrees), atol=0.1, rtol=0)
    above = turn @ torch.tensor([0.0, -1.0, 0.0])  # y points down, z away from the camera
    torch.testing.assert_close(above[:, 2], torch.full((PERSONS,), -math.sin(math.radians(degrees))))


def test_everybody_gets_another_persons_label_once():
    numbered = replace(TRUTH, betas=torch.arange(float(PERSONS))[:, None].expand(-1, 10))
    body = noisy_bodies(BODY, numbered, LabelNoise("wrong_person"), seeded(0))
    owner = body.betas[:, 0].long()
    assert sorted(owner.tolist()) == list(range(PERSONS)) and bool((owner != torch.arange(PERSONS)).all())
    assert torch.equal(body.rotmats, TRUTH.rotmats[owner]) and torch.equal(body.transl, TRUTH.transl)


def test_wrong_input():
    with pytest.raises(InputError, match="degrees"):
        LabelNoise("joint_rotations", degrees=0.0)
    with pytest.raises(InputError, match="expected 0 to 1"):
        drawn_bad(3, 1.5, seeded(0))
    one = torch.zeros(PERSONS, dtype=torch.bool)
    one[0] = True
    with pytest.raises(InputError, match="at least 2"):
        with_planted_noise(BODY, EXAMPLE, one, LabelNoise("wrong_person"), seeded(0))
    with pytest.raises(InputError, match="no annotation"):
        with_planted_noise(BODY, Example(EXAMPLE.observation), one, LabelNoise("limb_swap"), seeded(0))


def test_nobody_bad_is_nothing_changed():
    nobody = torch.zeros(PERSONS, dtype=torch.bool)
    assert with_planted_noise(BODY, EXAMPLE, nobody, LabelNoise("wrong_person"), seeded(0)) is EXAMPLE
