"""A motion: what it refuses, and that a change of axes is the same person seen otherwise."""

import dataclasses

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.export.motion import Motion
from hmralign.geometry.frames import CAM_TO_Y_UP, Y_UP_TO_Z_UP
from hmralign.structures import InputError
from support.motions import example_motion, upright

BODY = load_free_body("3k5")


def test_with_y_up_the_same_joints_stand_in_turned_axes():
    motion = example_motion(seed=4)
    turned = motion.y_up(BODY)
    model = BODY.to(torch.float64)
    expected = upright(posed_joints(model, motion.body.map(torch.Tensor.double)))
    torch.testing.assert_close(posed_joints(model, turned.body), expected, atol=1e-6, rtol=0)
    assert turned.frame == "y_up" and turned.fps == motion.fps
    again = turned.y_up(BODY)
    assert torch.equal(again.rotmats, turned.rotmats) and torch.equal(again.transl, turned.transl)


@pytest.mark.parametrize("turn", [CAM_TO_Y_UP, Y_UP_TO_Z_UP])
def test_axes_are_turned_and_never_mirrored(turn):
    matrix = torch.tensor(turn)
    assert torch.equal(matrix @ matrix.mT, torch.eye(3)) and float(torch.linalg.det(matrix)) == 1.0


def test_bodies_become_frames():
    motion = example_motion()
    assert torch.equal(Motion.of_body(motion.body, 25.0).rotmats, motion.rotmats)
    one = Motion.of_body(motion.body[2])
    assert one.num_frames == 1 and torch.equal(one.rotmats[0], motion.rotmats[2])
    two_shapes = dataclasses.replace(motion.body, betas=torch.arange(6.0)[:, None].expand(6, 10))
    with pytest.raises(InputError, match="betas change"):
        Motion.of_body(two_shapes)


def test_a_motion_that_is_none_is_refused_by_name():
    good = example_motion()
    mirror = good.rotmats.clone()
    mirror[1, 5] = -mirror[1, 5]
    changes = {
        "no frame": {"rotmats": good.rotmats[:0], "transl": good.transl[:0]},
        "joint 5 in frame 1 is no rotation": {"rotmats": mirror},
        "rotmats holds numbers that are not finite": {"rotmats": good.rotmats * float("nan")},
        "transl holds numbers that are not finite": {"transl": good.transl * float("inf")},
        "0.0 frames per second": {"fps": 0.0},
        "nan frames per second": {"fps": float("nan")},
    }
    for words, change in changes.items():
        with pytest.raises(InputError, match=words):
            dataclasses.replace(good, **change)
    with pytest.raises(InputError, match="expected 10"):
        dataclasses.replace(good, betas=torch.zeros(3)).y_up(BODY)
