"""Mesh files as another program reads them, in the axes of the `cam` frame."""

from pathlib import Path

import numpy as np
import trimesh


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (metres) and faces of a file that holds one mesh."""
    mesh = trimesh.load_mesh(path, process=False)
    assert isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)
    return np.asarray(mesh.vertices, np.float64) * [1.0, -1.0, -1.0], np.asarray(mesh.faces, np.int64)
