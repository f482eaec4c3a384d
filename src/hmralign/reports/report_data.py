"""What a report shows: plain arrays and strings, so that whoever fills it needs no knowledge of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hmralign.structures import InputError
from hmralign.structures.counted import counted

MAX_HYPOTHESES = 20
"""Meshes shown per person; of more, the best are taken."""


@dataclass(frozen=True)
class LimbRow:
    """One line of the limb table: how far the hypotheses disagree (metres), how well it was seen (0 to 1 or None)."""

    name: str
    spread: float
    seen: float | None = None


@dataclass(frozen=True)
class ReportPerson:
    """One person of a photo.

    Pictures are uint8 (height, width, 3). `vertices` (M, V, 3) and `fused_vertices` (V, 3) are metres in the `cam`
    frame of the full image, `faces` (F, 3). `K` (3, 3) is the full image's camera; `window` = (left, top, right,
    bottom) is the part of it, between pixels, that `photo` shows. `scores` (M,), higher is better, order the list;
    without them the given order is kept. `thumbnails` holds, per hypothesis, pictures shown in the list (overlay, side
    view). `spread` (V,) is the disagreement of the hypotheses at each vertex in metres.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    K: np.ndarray
    window: tuple[int, int, int, int]
    photo: np.ndarray
    best_overlay: np.ndarray
    scores: np.ndarray | None = None
    fused_vertices: np.ndarray | None = None
    fused_overlay: np.ndarray | None = None
    fused_thumbnails: Sequence[np.ndarray] = ()
    keypoint_picture: np.ndarray | None = None
    thumbnails: Sequence[Sequence[np.ndarray]] = ()
    spread: np.ndarray | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    limbs: Sequence[LimbRow] = ()

    def __post_init__(self):
        count, num_vertices = _shape(self, "vertices", (None, None, 3))[:2]
        if count == 0:
            raise InputError(f"Report person '{self.name}' has no hypothesis; expected at least one.")
        _shape(self, "faces", (None, 3))
        _shape(self, "K", (3, 3))
        if self.faces.size and (self.faces.min() < 0 or self.faces.max() >= num_vertices):
            raise InputError(f"Report person '{self.name}': faces name vertices outside 0 to {num_vertices - 1}.")
        for name, shape in (("scores", (count,)), ("fused_vertices", (num_vertices, 3)), ("spread", (num_vertices,))):
            if getattr(self, name) is not None:
                _shape(self, name, shape)
        if self.thumbnails and len(self.thumbnails) != count:
            raise InputError(
                f"Report person '{self.name}' has thumbnails for "
                f"{counted(len(self.thumbnails), 'hypothesis')}; expected {count}."
            )

    def ranked(self) -> list[int]:
        """Indices of the hypotheses to show, best first (ties in the given order), at most `MAX_HYPOTHESES`."""
        order = range(len(self.vertices)) if self.scores is None else np.argsort(-self.scores, kind="stable")
        return [int(i) for i in order][:MAX_HYPOTHESES]


@dataclass(frozen=True)
class ReportPhoto:
    """One photo: the picture, all people drawn over it, and each person."""

    name: str
    photo: np.ndarray
    overlay: np.ndarray
    persons: Sequence[ReportPerson]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """One run: its photos, facts that hold for all of them, and what a reader must not overlook."""

    title: str
    photos: Sequence[ReportPhoto]
    facts: Mapping[str, str] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    index: str | None = None
    """Link to the page of all photos, relative to this one."""


def _shape(person: ReportPerson, name: str, expected: tuple[int | None, ...]) -> tuple[int, ...]:
    array: Any = getattr(person, name)
    fits = isinstance(array, np.ndarray) and array.ndim == len(expected)
    if not fits or any(e is not None and e != s for e, s in zip(expected, array.shape, strict=True)):
        found = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise InputError(f"Report person '{person.name}': {name} is {found}; expected a numpy array ({wanted}).")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"Report person '{person.name}': {name} holds values that are not finite.")
    return array.shape
