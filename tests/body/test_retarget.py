"""A person carried to another skeleton: same rotations, same limbs, same place."""

import dataclasses

import pytest
import torch

from hmralign.body import lbs
from hmralign.body.free_body import load_free_body
from hmralign.body.retarget import SHARED_JOINTS, fit_betas, retarget, span_lengths
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams
from support.toy_body import random_params


def double_body():
    return load_free_body("3k5").to(torch.float64)


def scaled(model, scale, shift=(0.0, 0.0, 0.0)):
    return dataclasses.replace(
        model,
        v_template=scale * model.v_template + torch.tensor(shift).to(model.v_template),
        shapedirs=scale * model.shapedirs,
        J_template=scale * model.J_template + torch.tensor(shift).to(model.J_template),
        J_shapedirs=scale * model.J_shapedirs,
    )


def ordinary(count):
    """Bodies in moderate poses, of ordinary shapes."""
    generator = torch.Generator().manual_seed(0)
    turns = 0.4 * torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)
    rotmats = rotvec_to_rotmat(turns)
    betas, transl = (torch.randn(count, n, generator=generator, dtype=torch.float64) for n in (10, 3))
    return BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, transl)


def gap(source, body, target, moved) -> torch.Tensor:
    shared = list(SHARED_JOINTS)
    return (lbs.posed_joints(source, body) - lbs.posed_joints(target, moved))[..., shared, :].norm(dim=-1)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_rotations_are_carried_over_as_they_are(shape):
    model, body = double_body(), random_params(shape)
    moved = retarget(model, body, scaled(model, 1.05))
    assert torch.equal(moved.rotmats, body.rotmats) and moved.batch_shape == body.batch_shape


@pytest.mark.parametrize("scale", [0.93, 1.0, 1.08])
def test_joints_agree_on_a_scaled_skeleton_that_is_elsewhere(scale):
    model, body = double_body(), ordinary(50)
    target = scaled(model, scale, (0.02, -0.25, 0.03))
    moved = retarget(model, body, target)
    distance = gap(model, body, target, moved)
    assert distance.mean() < 0.007 and distance.max() < 0.03
    assert moved.betas.norm(dim=-1).mean() < 3.2  # no larger than those of ordinary people
    plain = BodyParams(body.global_orient, body.body_pose, body.betas, moved.transl)
    if scale != 1.0:
        assert distance.mean() < 0.5 * gap(model, body, target, plain).mean()


def test_there_and_back_gives_the_same_person():
    model, body = double_body(), ordinary(10)
    target = scaled(model, 1.05, (0.0, -0.2, 0.0))
    back = retarget(target, retarget(model, body, target), model)
    assert torch.equal(back.rotmats, body.rotmats)
    assert gap(model, body, model, back).mean() < 0.01


def test_another_basis_of_the_same_shapes_is_found():
    model, body = double_body(), random_params((5,))
    turn, _ = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    target = dataclasses.replace(model, J_shapedirs=model.J_shapedirs @ turn, shapedirs=model.shapedirs @ turn)
    direct, turned = (fit_betas(m, span_lengths(lbs.rest_joints(model, body.betas))) for m in (model, target))
    torch.testing.assert_close(turned, direct @ turn, atol=1e-8, rtol=0)


def test_lengths_of_the_mean_give_the_mean_and_impossible_ones_stay_bounded():
    model = double_body()
    mean = span_lengths(model.J_template)
    assert fit_betas(model, mean).abs().max() < 1e-9
    assert fit_betas(model, 3 * mean).abs().max() < 40
    longer = mean.clone()
    longer[:12] *= 1.05
    assert (span_lengths(lbs.rest_joints(model, fit_betas(model, longer))) - longer).abs().max() < 0.03


def test_the_fit_is_the_minimum_of_what_it_says():
    model = double_body()
    lengths = span_lengths(lbs.rest_joints(model, random_params((), seed=3).betas)) * 1.03

    def cost(betas):
        return (((span_lengths(lbs.rest_joints(model, betas)) - lengths) / 0.005) ** 2).sum() + betas.square().sum()

    found = fit_betas(model, lengths)
    slope = torch.autograd.functional.jacobian(cost, found)
    assert slope.norm() < 0.05  # Gauss-Newton leaves out curvature that matters little
    for direction in torch.eye(10, dtype=torch.float64):
        assert cost(found + 0.05 * direction) > cost(found) and cost(found - 0.05 * direction) > cost(found)


def test_the_place_is_the_least_squares_one():
    model, body = double_body(), random_params((4,))
    target = scaled(model, 1.1)
    moved = retarget(model, body, target)
    shared = list(SHARED_JOINTS)
    mean = (lbs.posed_joints(model, body) - lbs.posed_joints(target, moved))[:, shared].mean(1)
    assert mean.abs().max() < 1e-9
    elsewhere = retarget(model, body.with_transl(body.transl + 1.5), target)
    torch.testing.assert_close(elsewhere.transl, moved.transl + 1.5)
