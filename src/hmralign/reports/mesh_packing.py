"""Meshes as text for a page: int16 steps in the bounding box of a person's bodies, base64.

A box of 3 m gives steps of 0.05 mm: far below what one sees, at a quarter of the bytes of decimal text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

_LARGEST = 32767


def packed_vertices(bodies: np.ndarray) -> dict[str, Any]:
    """`bodies` (M, V, 3) in metres as `vertices` (base64, little-endian int16), `center`, `step`: center + step * q."""
    low, high = bodies.min(axis=(0, 1)).astype(np.float64), bodies.max(axis=(0, 1)).astype(np.float64)
    center = (low + high) / 2
    step = max(float((high - low).max()) / 2 / _LARGEST, 1e-9)
    steps = np.rint((bodies - center) / step).astype("<i2")
    return {"vertices": base64_text(steps), "center": center.tolist(), "step": step, "numVertices": bodies.shape[1]}


def packed_faces(faces: np.ndarray) -> dict[str, Any]:
    """Triangle indices (F, 3) as base64 of uint16, or of uint32 (`wide`) for meshes of more than 65,536 vertices."""
    wide = bool(faces.size and faces.max() > 65535)
    return {"wide": wide, "data": base64_text(faces.astype("<u4" if wide else "<u2"))}


def base64_text(array: np.ndarray) -> str:
    """The array's bytes in C order."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def page_data(persons: Iterable[tuple[np.ndarray, dict[str, Any]]]) -> str:
    """What the viewer of a page reads: an entry for each person's faces; persons with equal faces share them."""
    faces: list[np.ndarray] = []
    entries = []
    for own, entry in persons:
        known = next((i for i, f in enumerate(faces) if np.array_equal(f, own)), None)
        if known is None:
            known = len(faces)
            faces.append(own)
        entries.append({"faces": known, **entry})
    text = json.dumps({"version": 1, "faces": [packed_faces(f) for f in faces], "persons": entries})
    # A name may contain "</script>"; JSON allows the escape, HTML does not see a tag.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
