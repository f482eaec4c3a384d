"""Balance of bodies at rest."""

import math

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.body.support import MASS, imbalance
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams

BODY = load_free_body("3k5")
UP = torch.tensor([[0.0, 1.0, 0.0]])


def bodies(lean_deg: float = 0.0, **turns):
    """One body, leaning forward as a plank about its pelvis; `turns` are rotation vectors by joint."""
    pose = torch.zeros(1, 23, 3)
    for name, turn in turns.items():
        pose[0, JOINT_NAMES.index(name) - 1] = torch.tensor(turn)
    root = rotvec_to_rotmat(torch.tensor([[math.radians(lean_deg), 0.0, 0.0]]))
    return BodyParams(root, rotvec_to_rotmat(pose), torch.zeros(1, 10), torch.zeros(1, 3))


def outside(body: BodyParams, up=UP) -> float:
    return float(imbalance(BODY, posed_joints(BODY, body), body.betas, up))


def test_whoever_stands_is_balanced_and_a_leaning_plank_falls_the_further_it_leans():
    assert outside(bodies()) == 0
    falling = [outside(bodies(lean)) for lean in (20, 30, 45)]
    assert 0.05 < falling[0] < falling[1] < falling[2] < 1


def test_whoever_lies_or_sits_on_the_ground_is_balanced():
    toes_back = (1.2, 0.0, 0.0)
    assert outside(bodies(90, left_ankle=toes_back, right_ankle=toes_back)) == 0 and outside(bodies(-90)) == 0
    bent = (-math.pi / 2, 0.0, 0.0)
    assert outside(bodies(0, left_hip=bent, right_hip=bent)) < 0.03


def test_a_frame_makes_no_difference_and_neither_does_a_place():
    body = bodies(25, left_shoulder=(0.0, 0.0, -1.2))
    turn = rotvec_to_rotmat(torch.tensor([[0.4, -1.1, 2.0]]))
    turned = BodyParams(turn @ body.global_orient, body.body_pose, body.betas, body.transl)
    joints = (posed_joints(BODY, body) - 1.0) @ turn.mT + 3.0
    there = float(imbalance(BODY, joints, body.betas, (turn @ UP[..., None])[..., 0]))
    # The hull is read in some directions only, so a turn about gravity moves the figure by little.
    assert there == pytest.approx(outside(body), abs=0.02)
    assert outside(turned, (turn @ UP[..., None])[..., 0]) == pytest.approx(outside(body), abs=0.02)


def test_an_arm_that_reaches_forward_takes_the_centre_of_mass_with_it():
    there = outside(bodies(12))
    reach = (0.0, -math.pi / 2, 0.0)
    assert outside(bodies(12, left_shoulder=reach, right_shoulder=tuple(-x for x in reach))) > there


def test_masses_are_those_of_one_person():
    sided = {"upper_arm", "forearm", "hand", "thigh", "shank", "foot", "shoulder", "flank"}
    assert sum(m * (2 if name in sided else 1) for name, m in MASS.items()) == pytest.approx(1, abs=0.01)


def test_many_bodies_are_judged_as_each_alone():
    a, b = bodies(), bodies(40)
    both = BodyParams.cat([a, b])
    found = imbalance(BODY, posed_joints(BODY, both), both.betas, UP.expand(2, 3))
    assert found.tolist() == pytest.approx([outside(a), outside(b)])
