"""The rule of hard poses: each of its parts alone makes a standing person hard."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import rest_joints
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.geometry.rotations import axis_rotmat

AT = {name: number for number, name in enumerate(JOINT_NAMES)}


def standing():
    joints = rest_joints(load_free_body("3k5"), torch.zeros(10))[:24]
    return joints * torch.tensor([1.0, -1.0, -1.0])  # y down


def test_standing_is_ordinary_wherever_and_however_turned_about_the_vertical():
    joints = standing()
    assert not is_hard(joints)
    turned = joints @ axis_rotmat("y", torch.tensor(2.0)).mT + 3.0
    assert not is_hard(turned)
    assert is_hard(torch.stack([joints, joints])).shape == (2,)


@pytest.mark.parametrize(("degrees", "hard"), [(35.0, False), (45.0, True), (170.0, True)])
def test_leaning_is_hard_beyond_40_degrees(degrees, hard):
    joints = standing() @ axis_rotmat("z", torch.deg2rad(torch.tensor(degrees))).mT
    assert bool(is_hard(joints)) == hard


@pytest.mark.parametrize(("degrees", "hard"), [(50.0, False), (70.0, True)])
def test_a_raised_thigh_is_hard_beyond_60_degrees(degrees, hard):
    joints = standing()
    hip = joints[AT["left_hip"]]
    down = torch.tensor([0.0, 0.4, 0.0])
    joints[AT["left_knee"]] = hip + axis_rotmat("x", torch.deg2rad(torch.tensor(degrees))) @ down
    assert bool(is_hard(joints)) == hard


def test_a_hand_above_the_head_is_hard():
    joints = standing()
    joints[AT["right_wrist"]] = joints[AT["head"]] + torch.tensor([0.1, -0.2, 0.0])
    assert is_hard(joints)
