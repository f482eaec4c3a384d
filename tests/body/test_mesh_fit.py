"""Pose and shape are found again in meshes that were posed; meshes of something else have a large residual."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.mesh_fit import fit_meshes
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, InputError

BODY = load_free_body("3k5")


def posed(count: int) -> BodyParams:
    draw = torch.Generator().manual_seed(3)
    vectors = 0.4 * torch.randn(count, 24, 3, generator=draw)
    vectors[:, 0] *= 4  # in any direction
    vectors[:, 22:] = 0
    rotmats = rotvec_to_rotmat(vectors)
    betas = torch.randn(count, BODY.num_betas, generator=draw)
    return BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, torch.randn(count, 3, generator=draw))


def test_the_body_of_a_mesh_is_found():
    true = posed(3)
    mesh = vertices(BODY, true)
    mesh = mesh + 0.05 * BODY.weights[:, 22:].sum(1)[:, None]  # fingers somewhere else
    found = fit_meshes(BODY, mesh)
    assert float((posed_joints(BODY, found.body) - posed_joints(BODY, true))[:, :22].norm(dim=-1).max()) < 2e-3
    assert float((found.body.betas - true.betas).abs().max()) < 0.1 and float(found.residual.max()) < 2e-3


def test_a_mesh_of_another_unit_order_or_body_is_not_fitted():
    mesh = vertices(BODY, posed(1))
    assert float(fit_meshes(BODY, 1000 * mesh).residual) > 1
    assert float(fit_meshes(BODY, mesh.flip(1)).residual) > 0.05
    with pytest.raises(InputError, match="the body has 3"):
        fit_meshes(BODY, mesh[:, :-1])
