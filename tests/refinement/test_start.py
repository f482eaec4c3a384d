"""Starts: there and back again, and bodies that cannot be started from."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import posed_joints
from hmralign.refinement.start import start_of
from hmralign.structures import InputError, PersonGroup
from support.refined_persons import persons


def test_a_start_in_cam_is_the_initial_body():
    _, fit, initial = persons()
    start = start_of(fit, initial)
    joints, rotmats = start.in_cam(fit.body, start.rotmats, start.betas)
    torch.testing.assert_close(joints, posed_joints(fit.body, initial)[:, :24], atol=1e-4, rtol=0)
    torch.testing.assert_close(rotmats, initial.rotmats, atol=1e-5, rtol=0)


def test_with_guessed_intrinsics_the_placed_body_keeps_its_orientation():
    _, fit, initial = persons(known=0.0)
    root = fit.frame.R_person_cam @ initial.global_orient
    group = PersonGroup(torch.cat([root[:, None], initial.body_pose], dim=1)[:, None], initial.betas[:, None])
    seen = fit.bodies(group)[:, 0]
    start = start_of(fit, seen)
    again = fit.bodies(PersonGroup(start.rotmats[:, None], start.betas[:, None]))[:, 0]
    torch.testing.assert_close(again.global_orient, seen.global_orient, atol=0.02, rtol=0)
    torch.testing.assert_close(start.rotmats[:, 0], root, atol=0.05, rtol=0)


def test_bodies_that_do_not_fit_are_refused():
    _, fit, initial = persons()
    with pytest.raises(InputError, match=r"batch axes \(5,\), expected \(6,\)"):
        start_of(fit, initial[:5])
    with pytest.raises(InputError, match="21 joints below the root"):
        start_of(fit, replace(initial, body_pose=initial.body_pose[:, :21]))
    with pytest.raises(InputError, match="person 2: betas of the initial body is not finite"):
        start_of(fit, replace(initial, betas=initial.betas.index_fill(0, torch.tensor(2), torch.nan)))
