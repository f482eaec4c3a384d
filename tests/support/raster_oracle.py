"""The z-buffer again, slowly and another way: barycentric coordinates by a linear solve, one triangle at a time."""

import numpy as np


def rasterize(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, size: tuple[int, int], near: float = 0.05):
    """One mesh (V, 3): depth (H, W), face index (H, W) and smooth normals (H, W, 3), in double precision."""
    vertices = vertices.astype(np.float64)
    depth = np.full(size, np.inf)
    index = np.full(size, -1)
    weights_of = np.zeros((*size, 3))
    uv = (vertices / vertices[:, 2:]) @ K.astype(np.float64).T
    rows, columns = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    for number, face in enumerate(faces):
        if vertices[face, 2].min() <= near:
            continue
        corners = np.vstack([uv[face, :2].T, np.ones(3)])
        if abs(np.linalg.det(corners)) < 1e-12:
            continue
        flat = np.linalg.solve(corners, pixels)  # screen weights of every pixel
        inside = (flat >= 0).all(axis=0).reshape(size)
        inverse = (flat / vertices[face, 2][:, None]).sum(axis=0).reshape(size)
        z = np.where(inside, 1 / np.where(inverse == 0, 1, inverse), np.inf)
        closer = z < depth
        depth[closer], index[closer] = z[closer], number
        perspective = (flat / vertices[face, 2][:, None]).T.reshape(*size, 3) * z[..., None].clip(max=1e9)
        weights_of[closer] = perspective[closer]
    return depth, index, _smooth_normals(vertices, faces, index, weights_of)


def _smooth_normals(vertices, faces, index, weights):
    at_vertices = np.zeros_like(vertices)
    for face in faces:
        a, b, c = vertices[face]
        at_vertices[face] += np.cross(b - a, c - a)
    at_vertices /= np.linalg.norm(at_vertices, axis=1, keepdims=True).clip(1e-30)
    normals = (at_vertices[faces[index]] * weights[..., None]).sum(axis=-2)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True).clip(1e-30)
    return np.where(index[..., None] >= 0, normals, 0)
