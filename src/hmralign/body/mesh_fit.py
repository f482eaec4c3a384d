"""Pose and shape of meshes that have a body's own vertices, such as alignments to scans: rotations, betas, translation.

    skin of each joint -> rigid turn (Umeyama 1991) -> Gauss-Newton on turns, shape and place together

Vertices of fingers are left out, since the 24 joints do not articulate them; what pose and shape cannot say
(expression, clothes, corrections of a scan) stays in the residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.geometry.procrustes import procrustes
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, InputError, TensorRecord
from hmralign.structures.counted import counted

_HANDS = slice(22, NUM_JOINTS)
_TURNED = 22
"""Joints that are turned: all but the hands, whose fingers a mesh may have in any pose."""
_LOOKED_AT, _STEPS, _AT_ONCE = 400, 6, 8
_EPS, _DAMPING = 1e-6, 1e-8
_LEAST_SKIN = 1.0
_LARGEST_BETA = 10.0


@dataclass(frozen=True)
class MeshFit(TensorRecord):
    """Bodies in the frame of the meshes."""

    body: BodyParams
    residual: Float[Tensor, " n"]
    """Mean distance of the vertices that were looked at, metres."""


@torch.no_grad()
def fit_meshes(body: BodyModel, meshes: Float[Tensor, "n vert 3"]) -> MeshFit:
    """Fit the body to meshes with its own vertices in its own order, metres, any frame.

    Raises InputError for meshes of another number of vertices.
    """
    if meshes.shape[1] != body.num_vertices:
        raise InputError(
            f"meshes have {counted(meshes.shape[1], 'vertex', 'vertices')}, the body has {body.num_vertices}: they are "
            "not of this body"
        )
    exact, looked_at = body.to(torch.float64), _skin(body)
    parts = [_fitted(exact, some, looked_at) for some in meshes[:, looked_at].double().split(_AT_ONCE)]
    return MeshFit.cat(parts).map(lambda tensor: tensor.float())


def _skin(body: BodyModel) -> Int[Tensor, " vert"]:
    """Vertices spread over the mesh that are not skin of fingers."""
    own = (body.weights[:, _HANDS].sum(1) < 0.1).nonzero()[:, 0]
    return own[torch.linspace(0, len(own) - 1, min(_LOOKED_AT, len(own))).round().long()]


def _fitted(body: BodyModel, target: Float[Tensor, "n p 3"], ids: Int[Tensor, " p"]) -> MeshFit:
    n, betas = len(target), target.new_zeros(len(target), body.num_betas)
    rotmats = _by_parts(body, target, ids)
    found = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, target.new_zeros(n, 3))
    found = found.with_transl((target - vertices(body, found, ids)).mean(1))
    for _ in range(_STEPS):
        found = _moved(found, _change(body, found, target, ids))
    return MeshFit(found, (target - vertices(body, found, ids)).norm(dim=-1).mean(-1))


def _by_parts(body: BodyModel, target: Float[Tensor, "n p 3"], ids: Int[Tensor, " p"]) -> Float[Tensor, "n 24 3 3"]:
    """The turn of each joint from the skin that it carries at rest and in the mesh."""
    rest = body.v_template[ids].expand_as(target)
    eye = torch.eye(3).to(target).expand(len(target), 3, 3)
    world, local = [], []
    for joint in range(NUM_JOINTS):
        above = eye if joint == 0 else world[body.parents[joint]]
        share = body.weights[ids, joint]
        known = joint < _TURNED and float(share.sum()) > _LEAST_SKIN
        turn = procrustes(rest, target, share.expand(target.shape[:2]), with_scale=False)[1][0] if known else above
        world.append(turn)
        local.append(above.mT @ turn)
    return torch.stack(local, dim=1)


def _change(
    body: BodyModel, found: BodyParams, target: Float[Tensor, "n p 3"], ids: Int[Tensor, " p"]
) -> Float[Tensor, "n state"]:
    """Least-squares change of turns, shape and place; derivatives are differences in double precision."""
    size = 3 * _TURNED + found.betas.shape[-1] + 3
    ways = _EPS * torch.eye(size).to(target)
    many = found[:, None].map(lambda x: x.expand(len(x), size, *x.shape[2:]))
    here = vertices(body, found, ids)  # (n, p, 3)
    J = ((vertices(body, _moved(many, ways.expand(len(here), -1, -1)), ids) - here[:, None]) / _EPS).flatten(2).mT
    normal = J.mT @ J + _DAMPING * torch.eye(size).to(J)  # (n, state, state)
    return torch.linalg.solve(normal, (J.mT @ (target - here).flatten(1)[..., None])[..., 0])


def _moved(found: BodyParams, change: Float[Tensor, "*batch state"]) -> BodyParams:
    turns = change[..., : 3 * _TURNED].unflatten(-1, (_TURNED, 3))
    rotmats = found.rotmats.clone()
    rotmats[..., :_TURNED, :, :] = rotmats[..., :_TURNED, :, :] @ rotvec_to_rotmat(turns)
    betas = (found.betas + change[..., 3 * _TURNED : -3]).clamp(-_LARGEST_BETA, _LARGEST_BETA)
    return BodyParams(rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, found.transl + change[..., -3:])
