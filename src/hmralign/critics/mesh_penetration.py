"""How much of a body's skin lies inside another part of the body: exact on the mesh, slow, for audits and top picks.

The mesh is cut into 16 parts by skinning weight. Each part's surface is closed by a fan over every cut, and a vertex
is inside a part where the generalised winding number (Jacobson et al. 2013, eq. 5; solid angles after van Oosterom &
Strackee 1983) exceeds a half. That asks for no orientation of rays and forgives a closed surface that crosses itself,
as skinned limbs do at a bent joint. Parts that share an edge of the mesh always touch and are not held against one
another, so armpits and the inside of a bent elbow are not judged; unlike capsules, both thighs are.

`body.capsules` is the fast measure of the same thing, differentiable, and what `PlausibilityCritic` uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.structures import BodyParams, InputError

_MIDDLE = {"pelvis": "trunk", "spine1": "trunk", "spine2": "trunk", "spine3": "chest", "neck": "neck", "head": "head"}
_SIDED = {
    "collar": "chest", "shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand", "hand": "hand", "hip": "thigh",
    "knee": "shank", "ankle": "foot", "foot": "foot",
}  # fmt: skip

_PAIRS_AT_ONCE = 1 << 20
"""Vertices times triangles in memory."""


@dataclass(frozen=True)
class MeshPenetration:
    """`share` of the vertices that lie inside another part, and the `depth` of the deepest, metres.

    Depth is the distance to the nearest vertex or triangle centre of the skin of the part that it is in: too large by
    up to about half an edge, 1 cm. Both are 0 for a body that only touches itself.
    """

    share: Float[Tensor, "*batch"]
    depth: Float[Tensor, "*batch"]


@torch.no_grad()
def mesh_penetration(body: BodyModel, params: BodyParams) -> MeshPenetration:
    """Penetration of each body, one after the other; any batch axes, any frame. No gradients.

    Raises `InputError` for bodies that are not finite.
    """
    shape = params.batch_shape
    flat = BodyParams(
        params.global_orient.reshape(-1, 3, 3),
        params.body_pose.reshape(-1, *params.body_pose.shape[-3:]),
        params.betas.reshape(-1, params.betas.shape[-1]),
        # Where the body is does not matter, and near the origin float32 has the digits that solid angles need.
        torch.zeros_like(params.transl).reshape(-1, 3),
    )
    share, depth = (params.transl.new_zeros(flat.batch_shape) for _ in range(2))
    for i in range(len(share)):
        mesh = vertices(body, flat[i])
        if not bool(torch.isfinite(mesh).all()):
            raise InputError(f"body {i} has vertices that are not finite; expected points in metres.")
        depths = penetration_depths(body, mesh)
        share[i], depth[i] = (depths > 0).float().mean(), depths.max()
    return MeshPenetration(share.reshape(shape), depth.reshape(shape))


def penetration_depths(body: BodyModel, mesh: Float[Tensor, "vert 3"]) -> Float[Tensor, " vert"]:
    """Depth of each vertex inside a part that is neither its own nor next to it, metres; 0 outside of all."""
    parts = body_parts(body)
    depth = torch.zeros_like(mesh[:, 0])
    for inner, outer in parts.judged:
        own, surface = parts.vertices[inner], parts.surfaces[outer]
        skin = mesh[surface.faces]
        low, high = skin.amin((0, 1)), skin.amax((0, 1))
        near = own[((mesh[own] > low) & (mesh[own] < high)).all(-1)]
        if not len(near):
            continue
        triangles = torch.cat([skin, surface.caps(mesh)])
        inside = near[winding_number(mesh[near], triangles) > 0.5]
        if len(inside):
            landmarks = torch.cat([skin.flatten(0, 1), skin.mean(1)])
            depth[inside] = torch.maximum(depth[inside], torch.cdist(mesh[inside], landmarks).amin(1))
    return depth


def winding_number(points: Float[Tensor, "point 3"], triangles: Float[Tensor, "face 3 3"]) -> Float[Tensor, " point"]:
    """How often the triangles, counterclockwise from outside, wind around each point: 1 inside, 0 outside."""
    chunk = max(1, _PAIRS_AT_ONCE // max(1, len(triangles)))
    return torch.cat([_winding_number(part, triangles) for part in points.split(chunk)])


def _winding_number(points: Tensor, triangles: Tensor) -> Tensor:
    a, b, c = (triangles[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (v.norm(dim=-1) for v in (a, b, c))
    volume = (a * torch.linalg.cross(b, c)).sum(-1)
    flat = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return torch.atan2(volume, flat).sum(-1) / (2 * np.pi)  # the solid angle is twice the arctangent


@dataclass(frozen=True)
class _Surface:
    """Faces (F, 3) of a part, and the edges (E, 2) along its cuts with the number (E,) of the cut."""

    faces: Tensor
    rim: Tensor
    cut: Tensor
    num_cuts: int

    def caps(self, mesh: Float[Tensor, "vert 3"]) -> Float[Tensor, "rim 3 3"]:
        """Triangles from each rim edge to the middle of its cut, so that the part is closed."""
        start, end = mesh[self.rim[:, 0]], mesh[self.rim[:, 1]]
        sums = mesh.new_zeros(self.num_cuts, 3).index_add(0, self.cut, start)
        centre = sums / self.cut.bincount(minlength=self.num_cuts)[:, None]
        return torch.stack([end, start, centre[self.cut]], dim=1)


@dataclass(frozen=True)
class BodyParts:
    """Vertices and surface of each part, and the pairs (inner, outer) of parts that are not next to each other."""

    names: tuple[str, ...]
    vertices: tuple[Tensor, ...]
    surfaces: tuple[_Surface, ...]
    judged: tuple[tuple[int, int], ...]


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def body_parts(body: BodyModel) -> BodyParts:
    """The parts of a body's mesh; vertices and triangles belong to the part with the largest skinning weight."""
    of_joint = [_part_of(name) for name in JOINT_NAMES[: body.weights.shape[1]]]
    names = tuple(dict.fromkeys(of_joint))
    membership = torch.tensor([[float(part == name) for name in names] for part in of_joint]).to(body.weights)
    share = body.weights @ membership  # (V, P)
    label, face_label = share.argmax(1), share[body.faces].sum(1).argmax(1)
    touching = _touching(body.faces, label, face_label, len(names))
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j and not touching[i, j]]
    return BodyParts(
        names,
        tuple((label == p).nonzero()[:, 0] for p in range(len(names))),
        tuple(_surface(body.faces[face_label == p]) for p in range(len(names))),
        tuple(pairs),
    )


def _part_of(joint: str) -> str:
    side, _, name = joint.rpartition("_")
    part = _SIDED[name] if side else _MIDDLE[joint]
    return part if part in _MIDDLE.values() else f"{side}_{part}"


def _touching(faces: Tensor, label: Tensor, face_label: Tensor, parts: int) -> Bool[Tensor, "part part"]:
    """Parts that a triangle has in common, by its own label or its corners'."""
    touching = torch.eye(parts, dtype=torch.bool, device=faces.device)
    corners = torch.cat([label[faces], face_label[:, None]], 1)  # (F, 4)
    for i in range(4):
        for j in range(4):
            touching[corners[:, i], corners[:, j]] = True
    return touching


def _surface(faces: Tensor) -> _Surface:
    """Rim edges are those whose opposite is no edge of the part; a cut is a connected set of them."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).cpu().numpy()
    known = {tuple(edge) for edge in edges.tolist()}
    rim = np.array([edge for edge in edges.tolist() if (edge[1], edge[0]) not in known], np.int64).reshape(-1, 2)
    ends, place = np.unique(rim, return_inverse=True)
    place = place.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(rim)), (place[:, 0], place[:, 1])), shape=(len(ends), len(ends)))
    count, component = connected_components(graph, directed=False)
    cut = component[place[:, 0]]
    device = faces.device
    return _Surface(
        faces, torch.as_tensor(rim, device=device), torch.as_tensor(cut, dtype=torch.long, device=device), int(count)
    )
