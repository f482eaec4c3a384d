"""How near two surfaces are: P2S, Chamfer distance and normal consistency, metres, of triangle meshes.

    accuracy (P2S)      mean distance from points of the made surface to the true surface
    completeness        mean distance from points of the true surface to the made one
    chamfer             half their sum
    normal_consistency  mean cosine between the normal at a point and that of the nearest triangle of the other surface,
                        both ways, halved; 1 for equal surfaces, -1 for one turned inside out

Points are drawn uniformly by area, as many from each surface, and distances are to triangles, not to other samples
(Tatarchenko et al. 2019, sec. 3, on why; Saito et al. 2019 for P2S). No unit, number or alignment is agreed on among
published tables: a figure says all three. Surfaces need not be watertight, but normals mean something only where
triangles are wound alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.rendering.warp_start import launch
from hmralign.structures import InputError
from hmralign.structures.counted import counted

SurfaceAlignment = Literal["none", "centre"]

_LEAST_AREA = 1e-12


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh. Raises InputError for one that has no surface, or cannot be one."""

    vertices: Float[Tensor, "vert 3"]
    """Metres, in any axes."""
    faces: Int[Tensor, "face 3"]

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise InputError(
                f"a mesh has vertices of shape {tuple(self.vertices.shape)} and faces of "
                f"{tuple(self.faces.shape)}; expected (vertices, 3) and triangles (faces, 3)"
            )
        if not bool(torch.isfinite(self.vertices).all()):
            raise InputError("a mesh has vertices that are not finite; expected metres")
        if len(self.faces) == 0 or int(self.faces.min()) < 0 or int(self.faces.max()) >= len(self.vertices):
            raise InputError(
                f"a mesh has {counted(len(self.faces), 'face')} of which some name no vertex, or none; it has "
                f"{counted(len(self.vertices), 'vertex')}"
            )
        if float(self.areas.sum()) < _LEAST_AREA:
            raise InputError("a mesh has no area; expected triangles in metres")

    @property
    def _crosses(self) -> Float[Tensor, "face 3"]:
        a, b, c = self.vertices.double()[self.faces.long()].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    @property
    def areas(self) -> Float[Tensor, " face"]:
        """Square metres of each triangle, double precision."""
        return self._crosses.norm(dim=-1) / 2

    @property
    def normals(self) -> Float[Tensor, "face 3"]:
        """Unit normals by winding, zeros for triangles without area; double precision."""
        return torch.nn.functional.normalize(self._crosses, dim=-1)

    @property
    def middle(self) -> Float[Tensor, " 3"]:
        """Middle of the bounding box of the vertices that faces use."""
        used = self.vertices[self.faces.long().unique()]
        return (used.amin(0) + used.amax(0)) / 2

    def moved(self, by: Float[Tensor, " 3"]) -> Mesh:
        """The same mesh elsewhere."""
        return Mesh(self.vertices + by, self.faces)

    def open_edges(self) -> int:
        """Edges that do not belong to exactly two triangles; 0 for a watertight mesh."""
        edges = self.faces.long()[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
        _, shared = edges.unique(dim=0, return_counts=True)
        return int((shared != 2).sum())


@dataclass(frozen=True)
class SurfaceErrors:
    """Distances in metres, see the module."""

    accuracy: float
    completeness: float
    chamfer: float
    normal_consistency: float
    samples: int
    """Points drawn from each surface."""
    alignment: SurfaceAlignment

    def stated(self) -> str:
        """The figures as a report gives them, with what they mean."""
        how = {"none": "not aligned", "centre": "middles of the bounding boxes aligned"}[self.alignment]
        return (
            f"Chamfer {1000 * self.chamfer:.1f} mm, P2S {1000 * self.accuracy:.1f} mm, normal consistency "
            f"{self.normal_consistency:.3f} ({self.samples} samples, {how})"
        )


def surface_errors(
    made: Mesh,
    true: Mesh,
    generator: torch.Generator,
    *,
    samples: int = 10_000,
    alignment: SurfaceAlignment = "none",
) -> SurfaceErrors:
    """Errors of a made surface; with `centre` it is moved so that both bounding boxes have one middle.

    Raises InputError for less than one sample.
    """
    if samples < 1:
        raise InputError(f"surfaces are compared by {counted(samples, 'sample')}, expected at least 1")
    if alignment == "centre":
        made = made.moved(true.middle.to(made.vertices) - made.middle)
    ways = []
    for of, to in ((made, true), (true, made)):
        points, normals = sampled_surface(of, samples, generator)
        distance, face = closest_points(points, to)
        ways.append((float(distance.mean()), float((normals * to.normals[face]).sum(-1).mean())))
    (accuracy, there), (completeness, back) = ways
    return SurfaceErrors(accuracy, completeness, (accuracy + completeness) / 2, (there + back) / 2, samples, alignment)


def sampled_surface(
    mesh: Mesh, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "count 3"], Float[Tensor, "count 3"]]:
    """Points drawn uniformly by area, and their unit normals; double precision."""
    face = torch.multinomial(mesh.areas, count, replacement=True, generator=generator)
    weights = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    outside = weights.sum(1) > 1  # folded back into the triangle
    weights[outside] = 1 - weights[outside]
    a, b, c = mesh.vertices.double()[mesh.faces.long()[face]].unbind(1)
    return a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a), mesh.normals[face]


def closest_points(
    points: Float[Tensor, "point 3"], mesh: Mesh
) -> tuple[Float[Tensor, " point"], Int[Tensor, " point"]]:
    """Distance to the surface (metres, found in single precision about the mesh's middle) and the nearest triangle."""
    from hmralign.metrics import closest_point_kernels as kernels

    wp = kernels.wp
    middle = mesh.middle.double()
    near, vertices = ((x.double() - middle).float().contiguous() for x in (points, mesh.vertices))
    reach = 2 * float(max(near.norm(dim=-1).max(), vertices.norm(dim=-1).max())) + 1.0
    corners = mesh.faces.to(torch.int32).flatten().contiguous()
    warp_mesh = wp.Mesh(points=wp.from_torch(vertices, dtype=wp.vec3), indices=wp.from_torch(corners))
    places, faces = torch.zeros_like(near), torch.zeros(len(near), dtype=torch.int32)
    found = [wp.from_torch(places, dtype=wp.vec3), wp.from_torch(faces)]
    given = [warp_mesh.id, wp.from_torch(near, dtype=wp.vec3), reach]
    launch(kernels.closest, len(near), [*given, *found], "cpu")
    if int(faces.min()) < 0:
        raise InputError("a point has no nearest triangle; expected a mesh without degenerate bounds")
    return (points.double() - middle - places).norm(dim=-1), faces.long()
