"""Triangle meshes from files that anybody may have made: OBJ, PLY, GLB, OFF, STL -> vertices and faces, nothing else.

Materials, textures and other files that a mesh names are not opened.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_BYTES = 2**30
MAX_VERTICES = 5_000_000
KINDS = ("obj", "ply", "glb", "off", "stl")


def read_mesh(path: Path) -> tuple[Float[Tensor, "vert 3"], Int[Tensor, "face 3"]]:
    """Vertices in the file's own unit and axes, double precision, and triangles; several meshes are put together.

    Raises InputError, naming the file, where it is missing, damaged, too large, of another kind, has no triangles, or
    has vertices that are not finite.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise InputError(f"{path}: ends in '{shown(path.suffix)}', expected a mesh as {', '.join(KINDS)}")
    try:
        content = read_limited(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a mesh ({error.strerror or error})") from error
    vertices, faces = _parsed(path, kind, content)
    if len(vertices) > MAX_VERTICES:
        raise InputError(f"{path}: has {counted(len(vertices), 'vertex', 'vertices')}, expected at most {MAX_VERTICES}")
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path}: has no triangles, or some that name no vertex")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path}: has vertices that are not finite")
    return torch.from_numpy(vertices), torch.from_numpy(faces)


def _parsed(path: Path, kind: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    try:
        loaded = trimesh.load(
            io.BytesIO(content), file_type=kind, process=False, maintain_order=True, skip_materials=True
        )
        mesh = loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded
        return np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64)  # pyright: ignore
    except Exception as error:  # the library has many errors for what is wrong with a mesh
        raise InputError(f"{path}: no mesh that can be read ({shown(str(error), 120)})") from error
