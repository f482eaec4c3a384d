"""The arrays of a binary glTF 2.0 file; pygltflib writes the container.

glTF is little-endian; every array begins at a multiple of four bytes.
"""

from __future__ import annotations

import numpy as np
import pygltflib

_COMPONENTS = {
    np.dtype(np.uint8): pygltflib.UNSIGNED_BYTE,
    np.dtype(np.uint16): pygltflib.UNSIGNED_SHORT,
    np.dtype(np.uint32): pygltflib.UNSIGNED_INT,
    np.dtype(np.float32): pygltflib.FLOAT,
}
_KINDS = {(): pygltflib.SCALAR, (3,): pygltflib.VEC3, (4,): pygltflib.VEC4, (4, 4): pygltflib.MAT4}
_ALIGNMENT = 4


class GlbArrays:
    """Collects arrays and puts them into one file."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._views: list[pygltflib.BufferView] = []
        self._accessors: list[pygltflib.Accessor] = []

    def vertices(self, array: np.ndarray, *, normalized: bool = False) -> int:
        """Accessor of an array with a row for each vertex; `normalized` integers mean 0 to 1."""
        return self._add(array, pygltflib.ARRAY_BUFFER, normalized)

    def faces(self, faces: np.ndarray) -> int:
        """Accessor of triangles, (F, 3) vertex numbers, as small as they fit."""
        # The largest number of a type is reserved for strips.
        kind = np.uint16 if faces.max() < 2**16 - 1 else np.uint32
        return self._add(faces.astype(kind).reshape(-1), pygltflib.ELEMENT_ARRAY_BUFFER)

    def values(self, array: np.ndarray) -> int:
        """Accessor of matrices or of the values of an animation; (n, 4, 4) matrices as one writes them, row by row."""
        return self._add(array.swapaxes(-1, -2) if array.ndim == 3 else array, None)

    def _add(self, array: np.ndarray, target: int | None, normalized: bool = False) -> int:
        array = np.ascontiguousarray(array)
        self._bytes += bytes(-len(self._bytes) % _ALIGNMENT)
        content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        view = pygltflib.BufferView(buffer=0, byteOffset=len(self._bytes), byteLength=len(content), target=target)
        self._bytes += content
        self._views.append(view)
        flat = array.reshape(len(array), -1)
        bounded = array.dtype == np.float32
        self._accessors.append(
            pygltflib.Accessor(
                bufferView=len(self._views) - 1,
                componentType=_COMPONENTS[array.dtype],
                count=len(array),
                type=_KINDS[array.shape[1:]],
                normalized=normalized,
                min=flat.min(axis=0).tolist() if bounded else None,
                max=flat.max(axis=0).tolist() if bounded else None,
            )
        )
        return len(self._accessors) - 1

    def file(self, content: pygltflib.GLTF2) -> bytes:
        """The file that holds `content`, which names accessors by number, and all arrays."""
        content.accessors, content.bufferViews = self._accessors, self._views
        content.buffers = [pygltflib.Buffer(byteLength=len(self._bytes))]
        content.set_binary_blob(bytes(self._bytes))
        return b"".join(content.save_to_bytes())
