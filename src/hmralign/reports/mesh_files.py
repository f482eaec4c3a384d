"""Meshes as files for other programs: GLB and OBJ, both in metres and both in the *viewing* frame.

The viewing frame is glTF's: x right, y up, the camera of the photo at the origin and looking along -z. It is the `cam`
frame turned by 180 degrees about x, (x, y, z) -> (x, -y, -z), so a body stands upright where OpenCV's axes would show
it on its head. The turn is its own inverse.
"""

from __future__ import annotations

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

    mesh = _viewing_mesh(vertices, faces, colors)
    if colors is None:
        base = [*srgb_to_linear(np.array(MANNEQUIN)), 1.0]
        surface = PBRMaterial(name="mannequin", baseColorFactor=base, metallicFactor=0.0, roughnessFactor=0.75)
        mesh.visual = TextureVisuals(material=surface)
    content = mesh.export(file_type="glb", include_normals=True)
    assert isinstance(content, bytes)
    return write_whole(path, content)


def write_obj(path: Path, vertices: Float[np.ndarray, "vert 3"], faces: Int[np.ndarray, "face 3"]) -> Path:
    """Write a Wavefront OBJ file, whole or not at all; `vertices` are `cam` metres."""
    from trimesh.exchange.obj import export_obj

    header = "hmralign: metres, y up, camera at the origin looking along -z"
    text = export_obj(_viewing_mesh(vertices, faces), include_normals=False, include_color=False, header=header)
    assert isinstance(text, str)
    return write_whole(path, text)


def _viewing_mesh(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None = None):
    import trimesh

    if not np.isfinite(vertices).all():
        raise InputError("Mesh vertices contain NaN or infinity; expected finite metres.")
    rgb = None if colors is None else np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    return trimesh.Trimesh(vertices.astype(np.float64) * _TURN, faces, vertex_colors=rgb, process=False)
