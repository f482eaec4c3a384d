"""Meshes as files for other programs: GLB and OBJ, both in metres and both in the *viewing* frame.

The viewing frame is glTF's: x right, y up, the camera of the photo at the origin and looking along -z. It is the `cam`
frame turned by 180 degrees about x, (x, y, z) -> (x, -y, -z), so a body stands upright where OpenCV's axes would show
it on its head. The turn is its own inverse.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hmralign.rendering.colormap import srgb_to_linear
from hmralign.rendering.shading import MANNEQUIN
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError

_TURN = np.array([1.0, -1.0, -1.0])


def write_glb(
    path: Path,
    vertices: Float[np.ndarray, "vert 3"],
    faces: Int[np.ndarray, "face 3"],
    colors: Float[np.ndarray, "vert 3"] | None = None,
) -> Path:
    """Write a binary glTF file, whole or not at all; `vertices` are `cam` metres, `colors` RGB in [0, 1] per vertex.

    Without colours the body is a matt mannequin. Normals make it look smooth.
    """
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    mesh = _mesh(vertices, faces, colors)
    if colors is None:
        base = [*srgb_to_linear(np.array(MANNEQUIN)), 1.0]
        surface = PBRMaterial(name="mannequin", baseColorFactor=base, metallicFactor=0.0, roughnessFactor=0.75)
        mesh.visual = TextureVisuals(material=surface)
    content = mesh.export(file_type="glb", include_normals=True)
    assert isinstance(content, bytes)
    return write_whole(path, content)


def _mesh(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None):
    import trimesh

    rgb = None if colors is None else np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    return trimesh.Trimesh(_viewing_vertices(vertices), faces, vertex_colors=rgb, process=False)


def write_obj(path: Path, vertices: Float[np.ndarray, "vert 3"], faces: Int[np.ndarray, "face 3"]) -> Path:
    """Write a Wavefront OBJ file, whole or not at all; `vertices` are `cam` metres, written to 8 decimals."""
    placed = _viewing_vertices(vertices)
    head = "# hmralign: metres, y up, camera at the origin looking along -z\n"
    points = "v %.8f %.8f %.8f\n" * len(placed) % tuple(placed.ravel().tolist())
    return write_whole(path, f"{head}{points}{_face_lines(np.ascontiguousarray(faces, np.int64).tobytes())}\n")


@lru_cache(maxsize=4)
def _face_lines(content: bytes) -> str:
    """The lines of the faces, counted from 1; all bodies of one model share them."""
    corners = (np.frombuffer(content, np.int64) + 1).tolist()
    return "f %d %d %d\n" * (len(corners) // 3) % tuple(corners)


def _viewing_vertices(vertices: np.ndarray) -> Float[np.ndarray, "vert 3"]:
    if not np.isfinite(vertices).all():
        raise InputError("Mesh vertices contain NaN or infinity; expected finite metres.")
    return vertices.astype(np.float64) * _TURN
