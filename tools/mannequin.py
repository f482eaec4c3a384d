"""The surface of a mannequin: the free body's mesh without nipples, navel, genital fold and gluteal cleft.

People see themselves and others in this body, so it is drawn as shop windows show one. In five small regions the
surface is replaced by the smooth one nearest to it: x minimises, over the surface,

    integral of  |x - x_0|^2 + length^4 |Laplacian x|^2

(Botsch and Kobbelt 2004, "An intuitive framework for real-time freeform modeling", eq. 4, with a data term). Waves
shorter than `length` vanish, longer ones stay. With the operator of the mean shape this is linear in x, so the shape
directions are smoothed by the same matrix and no shape brings the details back. In the crotch the skinning weights are
smoothed too, or a seated body would bulge there. Skeleton, triangles, leaves, keypoints and capsules stay as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

_STEEPEST_COTANGENT = 5.0
"""Slivers would otherwise dominate the operator."""


@dataclass(frozen=True)
class Region:
    """An ellipsoid in the canonical frame, metres from the pelvis, on both sides of the body."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    length: float
    """Waves shorter than this, in metres, are smoothed away."""
    inner: float = 0.4
    """Share of the radii within which the smoothing is full; it fades out until 1.1."""

    def strength(self, points: np.ndarray) -> np.ndarray:
        """Weight of the smoothness of each point (P, 3), metres to the fourth."""
        beside = np.abs(points[:, 0])[:, None]
        offset = (np.concatenate([beside, points[:, 1:]], axis=1) - self.center) / self.radii
        share = np.clip((1.1 - np.linalg.norm(offset, axis=1)) / (1.1 - self.inner), 0, 1)
        return self.length**4 * (share**2 * (3 - 2 * share)) ** 3


REGIONS = {
    "chest": Region((0.082, 0.31, 0.13), (0.105, 0.115, 0.10), 0.032, inner=0.45),
    "navel": Region((0.0, 0.13, 0.125), (0.05, 0.06, 0.06), 0.30, inner=0.5),
    "pubic": Region((0.0, -0.07, 0.09), (0.055, 0.05, 0.05), 0.022),
    "crotch": Region((0.0, -0.10, 0.03), (0.035, 0.035, 0.08), 0.022),
    "cleft": Region((0.0, -0.01, -0.09), (0.055, 0.10, 0.07), 0.035),
}

SKIN = {"crotch": Region((0.0, -0.09, -0.01), (0.09, 0.08, 0.14), 0.05, inner=0.3)}
"""Where weights are smoothed."""


def smoothed(
    template: np.ndarray, faces: np.ndarray, values: np.ndarray, regions: dict[str, Region] = REGIONS
) -> np.ndarray:
    """`values` (V, ...), linear in the vertices, smoothed on the mesh `template` (V, 3); outside all regions equal."""
    strength = sum(region.strength(template) for region in regions.values())
    assert isinstance(strength, np.ndarray)
    laplacian, mass = cotangent_laplacian(template, faces)
    system = (sparse.diags(mass) + laplacian.T @ sparse.diags(strength / mass) @ laplacian).tocsr()
    # Rows beside a region are moved by its Laplacian too; held fixed, the surface joins what lies around it.
    free = strength > 0
    flat = values.reshape(len(values), -1).astype(np.float64)
    result = flat.copy()
    right = mass[free, None] * flat[free] - system[free][:, ~free] @ flat[~free]
    result[free] = splu(system[free][:, free].tocsc()).solve(right)
    return result.reshape(values.shape)


def cotangent_laplacian(vertices: np.ndarray, faces: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Integrated Laplacian (V, V) and the area of each vertex (V,); Pinkall and Polthier 1993."""
    count, rows, columns, weights = len(vertices), [], [], []
    mass = np.zeros(count)
    for corner in range(3):
        i, j, o = (faces[:, (corner + k) % 3] for k in (1, 2, 0))
        a, b = vertices[i] - vertices[o], vertices[j] - vertices[o]
        double_area = np.linalg.norm(np.cross(a, b), axis=1)
        cotangent = np.clip((a * b).sum(axis=1) / double_area, -_STEEPEST_COTANGENT, _STEEPEST_COTANGENT) / 2
        rows += [i, j]
        columns += [j, i]
        weights += [cotangent, cotangent]
        np.add.at(mass, o, double_area / 6)
    where = (np.concatenate(rows), np.concatenate(columns))
    neighbours = sparse.csr_matrix((np.concatenate(weights), where), shape=(count, count))
    return neighbours - sparse.diags(np.asarray(neighbours.sum(axis=1)).ravel()), mass
