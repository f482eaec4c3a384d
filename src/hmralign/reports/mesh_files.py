"""Meshes as files for other programs: GLB and OBJ, both in metres and both in the *viewing* frame.

The viewing frame is glTF's: x right, y up, the camera of the photo at the origin and looking along -z. It is the `cam`
frame turned by 180 degrees about x, (x, y, z) -> (x, -y, -z), so a body stands upright where OpenCV's axes would show
it on its head. The turn is its own inverse.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hmralign.rendering.colormap import srgb_to_linear
from hmralign.rendering.shading import MANNEQUIN
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError

_TURN = np.array([1.0, -1.0, -1.0])

# Names of the glTF 2.0 specification.
_FLOAT, _UNSIGNED_INT, _UNSIGNED_BYTE = 5126, 5125, 5121
_CORNERS, _OF_VERTICES = 34963, 34962  # targets of buffer views


def write_glb(
    path: Path,
    vertices: Float[np.ndarray, "vert 3"],
    faces: Int[np.ndarray, "face 3"],
    colors: Float[np.ndarray, "vert 3"] | None = None,
) -> Path:
    """Write a binary glTF file, whole or not at all; `vertices` are `cam` metres, `colors` RGB in [0, 1] per vertex.

    Without colours the body is a matt mannequin. Normals make it look smooth.
    """
    placed = _viewing_vertices(vertices)
    arrays = {"POSITION": placed.astype("<f4"), "NORMAL": _smooth_normals(placed, faces).astype("<f4")}
    if colors is not None:
        rgb = np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
        arrays["COLOR_0"] = np.concatenate([rgb, np.full((len(rgb), 1), 255, np.uint8)], axis=1)
    return write_whole(path, _glb(arrays, faces))


def _glb(attributes: dict[str, np.ndarray], faces: np.ndarray) -> bytes:
    """One mesh with those attributes of its vertices; see the glTF 2.0 specification, sections 3 and 4.4."""
    content, views = b"", []
    for part in (np.ascontiguousarray(faces, "<u4"), *attributes.values()):
        target = _OF_VERTICES if views else _CORNERS
        views.append({"buffer": 0, "byteOffset": len(content), "byteLength": part.nbytes, "target": target})
        content += part.tobytes()  # each is a multiple of four bytes long, as alignment asks
    corners = {"bufferView": 0, "componentType": _UNSIGNED_INT, "count": faces.size, "type": "SCALAR"}
    primitive: dict[str, Any] = {"attributes": {name: n for n, name in enumerate(attributes, start=1)}, "indices": 0}
    header = {
        "asset": {"version": "2.0", "generator": "hmralign"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "body", "mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [corners, *(_accessor(n, array) for n, array in enumerate(attributes.values(), start=1))],
        "bufferViews": views,
        "buffers": [{"byteLength": len(content)}],
    }
    if "COLOR_0" not in attributes:
        base = [*srgb_to_linear(np.array(MANNEQUIN)).tolist(), 1.0]
        surface = {"baseColorFactor": base, "metallicFactor": 0.0, "roughnessFactor": 0.75}
        header["materials"] = [{"name": "mannequin", "pbrMetallicRoughness": surface}]
        primitive["material"] = 0
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(content), b"BIN\0") + content
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _accessor(view: int, array: np.ndarray) -> dict[str, Any]:
    said = {"bufferView": view, "count": len(array), "type": f"VEC{array.shape[1]}", "componentType": _FLOAT}
    if array.dtype == np.uint8:
        return {**said, "componentType": _UNSIGNED_BYTE, "normalized": True}
    low, high = array.min(0).astype(float).tolist(), array.max(0).astype(float).tolist()
    return {**said, "min": low, "max": high}


def _smooth_normals(
    vertices: Float[np.ndarray, "vert 3"], faces: Int[np.ndarray, "face 3"]
) -> Float[np.ndarray, "vert 3"]:
    """Unit normals, mean of the incident faces' weighted by their angle there; along y where there is none.

    Source: Thürmer and Wüthrich 1998, Computing vertex normals from polygonal facets.
    """
    corners = vertices[faces]  # (F, 3, 3)
    ahead = corners[:, [1, 2, 0]] - corners
    lengths = np.linalg.norm(ahead, axis=-1, keepdims=True)
    ahead = ahead / np.where(lengths > 0, lengths, 1)
    angles = np.arccos(np.clip(-(ahead * ahead[:, [2, 0, 1]]).sum(-1), -1, 1))  # (F, 3)
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(outward, axis=-1, keepdims=True)
    outward = outward / np.where(areas > 0, areas, 1)
    weighted = (angles[..., None] * outward[:, None]).reshape(-1, 3)
    place = faces.reshape(-1)
    total = np.stack([np.bincount(place, weighted[:, axis], len(vertices)) for axis in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), [0.0, 1.0, 0.0])


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
