"""Annotated persons of a file as columns: what every adapter makes of its format, before any body is known.

Poses and places stay in the axes of the file, with the rigid transform that leads to the camera: SMPL turns about its
rest pelvis, so a place can only be carried over once the body that the labels belong to is there (`adapters.persons`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from hmralign.adapters.faults import Faults
from hmralign.structures import InputError

Gender = Literal["neutral", "male", "female"]
GENDERS: tuple[Gender, ...] = ("neutral", "male", "female")

_ROWS_AT_ONCE = 65_536

LARGEST_BETA = 20.0
"""Largest component of a shape; published ones stay below 6."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "size": (2,), "K": (3, 3), "poses": (24, 3), "betas": (10,), "transl": (3,), "pelvis": (3,), "joints": (29, 3),
    "points": (29, 2), "keypoints": (27, 2), "confidence": (27,), "box": (4,), "R_cam_file": (3, 3), "t_cam_file": (3,),
}  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """N annotated persons. Numbers that the file does not give are NaN.

    `K`, `points`, `keypoints` and `box` (x0, y0, x1, y1) are pixels of the full image, (0, 0) the centre of its
    top-left pixel. `p_cam = R_cam_file @ p + t_cam_file` leads from the axes of `poses` (radians, root first) and
    `transl` (metres) to `cam`; `pelvis` and `joints` (metres) are in `cam` already.
    """

    name: np.ndarray
    """(N,) texts: file and record, no two the same."""
    image: np.ndarray
    """(N,) texts: path below the folder of images; empty where there is none."""
    size: np.ndarray
    """(N, 2) width and height of the image; NaN where the file does not say."""
    K: np.ndarray
    """(N, 3, 3); NaN where the camera is not known."""
    gender: np.ndarray
    """(N,) index into `GENDERS`."""
    poses: np.ndarray
    """(N, 24, 3) rotation vectors."""
    betas: np.ndarray
    """(N, 10)."""
    transl: np.ndarray
    """(N, 3) what is added to the body's joints and vertices, in the axes of the file."""
    pelvis: np.ndarray
    """(N, 3) the pelvis joint, where there is no `transl`."""
    joints: np.ndarray
    """(N, 29, 3) the annotated body's joints as the file gives them."""
    points: np.ndarray
    """(N, 29, 2) where the file says that these joints are in the image."""
    keypoints: np.ndarray
    """(N, 27, 2) what was detected or marked by hand in the image."""
    confidence: np.ndarray
    """(N, 27); 0 everywhere where the file has no keypoints."""
    box: np.ndarray
    """(N, 4)."""
    R_cam_file: np.ndarray
    """(N, 3, 3)."""
    t_cam_file: np.ndarray
    """(N, 3)."""

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, rows: slice | np.ndarray) -> Labels:
        """Some of the persons."""
        found = {"name": self.name[rows]}
        for field in fields(self)[1:]:
            column = getattr(self, field.name)
            found[field.name] = same_for_all(column[0], len(found["name"])) if is_same(column) else column[rows]
        return Labels(**found)

    @staticmethod
    def cat(parts: Sequence[Labels]) -> Labels:
        """Persons of several files. Raises InputError where there are none at all."""
        if not parts:
            raise InputError("there are no annotated persons")
        return Labels(**{f.name: _concatenated([getattr(part, f.name) for part in parts]) for f in fields(Labels)})

    @staticmethod
    def of(name: Sequence[str] | np.ndarray, *, image: Sequence[str] | np.ndarray | None = None,
           gender: np.ndarray | None = None, **columns: np.ndarray) -> Labels:  # fmt: skip
        """Columns with a first axis of N, or one value for all; those that are not given are NaN.

        Without `R_cam_file` and `t_cam_file` the file's axes are those of `cam`.
        """
        n = len(name)
        columns = {"R_cam_file": np.eye(3), "t_cam_file": np.zeros(3), "confidence": np.zeros(27), **columns}
        filled = {}
        for column, shape in _SHAPES.items():
            given = np.asarray(columns.pop(column, np.nan), np.float32)
            if given.shape == (n, *shape):
                filled[column] = np.ascontiguousarray(given)
            elif given.ndim > len(shape):
                filled[column] = np.array(np.broadcast_to(given, (n, *shape)))
            else:
                filled[column] = same_for_all(np.array(np.broadcast_to(given, shape)), n)
        assert not columns, columns
        return Labels(
            np.asarray(name, np.str_), np.asarray([""] * n if image is None else image, np.str_),
            gender=np.zeros(n, np.int64) if gender is None else np.asarray(gender, np.int64), **filled,
        )  # fmt: skip


class LabelColumns:
    """Labels that arrive some at a time. Columns of numbers grow in place, so that no two copies of them are held."""

    def __init__(self) -> None:
        self._columns = {field.name: _Column() for field in fields(Labels)}

    def add(self, some: Labels) -> None:
        """Some more persons."""
        for name, column in self._columns.items():
            column.add(getattr(some, name))

    def labels(self) -> Labels:
        """All of them, none where nothing was added; nothing is held here any more."""
        columns, self._columns = self._columns, {}
        if not columns["name"].rows:
            return Labels.of([])
        return Labels(**{name: columns.pop(name).whole() for name in list(columns)})


class _Column:
    """One column. What is one value for all rows stays that; texts, whose widths differ, are put together late."""

    def __init__(self) -> None:
        self.rows, self.parts, self.grown = 0, list[np.ndarray](), np.empty(0)

    def add(self, some: np.ndarray) -> None:
        """Some more rows."""
        if self.rows == 0 and not self._is_held_in_parts(some):
            self.grown = np.empty((0, *some.shape[1:]), some.dtype)
        if self.rows == 0 or self.parts:
            if self._is_held_in_parts(some) and (not self.parts or self._goes_with(some)):
                self.parts.append(some)
                self.rows += len(some)
                return
            if self.parts:
                self.grown, self.parts = _concatenated(self.parts).copy(), []
        end = self.rows + len(some)
        if end > len(self.grown):
            self.grown.resize((end + end // 8, *self.grown.shape[1:]), refcheck=False)
        self.grown[self.rows : end] = some
        self.rows = end

    def whole(self) -> np.ndarray:
        """All rows."""
        if self.parts:
            return _concatenated(self.parts)
        self.grown.resize((self.rows, *self.grown.shape[1:]), refcheck=False)
        return self.grown

    def _is_held_in_parts(self, some: np.ndarray) -> bool:
        return some.dtype.kind == "U" or is_same(some)

    def _goes_with(self, some: np.ndarray) -> bool:
        first = self.parts[0]
        return some.dtype.kind == "U" or (is_same(first) and np.array_equal(first[0], some[0], equal_nan=True))


def _concatenated(some: list[np.ndarray]) -> np.ndarray:
    """Columns one behind the other; those that are one value for all rows of all stay that."""
    same = all(map(is_same, some)) and all(np.array_equal(some[0][0], c[0], equal_nan=True) for c in some)
    return same_for_all(some[0][0], sum(map(len, some))) if same else np.concatenate(some)


def same_for_all(value: np.ndarray, count: int) -> np.ndarray:
    """A column of so many rows that all are one value in memory; nobody writes into a column of labels."""
    return np.lib.stride_tricks.as_strided(value, (count, *value.shape), (0, *value.strides))


def is_same(column: np.ndarray) -> bool:
    """Whether a column is one value for all rows, as those that a file does not give."""
    return column.ndim > 1 and len(column) > 0 and column.strides[0] == 0


def usable(labels: Labels, faults: Faults) -> Labels:
    """Those that say enough and nothing impossible; the others are counted and named."""
    bad = np.zeros(len(labels), bool)
    for first in range(0, len(labels), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        bad[rows] = _unusable(labels[rows], faults)
    return labels[~bad] if bad.any() else labels


def _unusable(labels: Labels, faults: Faults) -> np.ndarray:
    wrong = {
        "has no pose that is finite": ~_finite(labels.poses),
        "has no betas that are finite": ~_finite(labels.betas),
        f"has a beta beyond {LARGEST_BETA:g}": (np.abs(labels.betas) > LARGEST_BETA).any(1),
        "has a rotation of more than two turns": np.linalg.norm(labels.poses, axis=-1).max(-1) > 4 * np.pi,
        "has neither a translation nor a pelvis nor points in the image": ~(
            _finite(labels.transl) | _finite(labels.pelvis) | (np.isfinite(labels.points).all(-1).sum(1) >= 4)
            | ((labels.confidence > 0).sum(1) >= 4)
        ),
        "has a camera with a focal length that is not positive": (labels.K[:, [0, 1], [0, 1]] <= 0).any(1),
        "has neither a camera nor the size of its image": ~(_finite(labels.K) | _finite(labels.size)),
        "has a box that is empty": (labels.box[:, 2:] <= labels.box[:, :2]).any(1),
        "has a gender that is none": ~np.isin(labels.gender, range(len(GENDERS))),
    }  # fmt: skip
    bad = np.zeros(len(labels), bool)
    for why, rows in wrong.items():
        for row in np.flatnonzero(rows & ~bad):
            faults.add(str(labels.name[row]), why)
        bad |= rows
    return bad


def _finite(column: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(column).all(axis=tuple(range(1, column.ndim))))


def gender_code(text: str) -> int:
    """Index into `GENDERS`; -1 for what is none, so that the record is counted among the faults.

    >>> gender_code("m"), gender_code("Female"), gender_code("neutral"), gender_code("robot")
    (1, 2, 0, -1)
    """
    known = {"n": 0, "m": 1, "f": 2}
    word = text.strip().lower()
    return known[word[0]] if word in ("n", "m", "f", "neutral", "male", "female") else -1


def intrinsics(focal: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(..., 3, 3) of focal lengths (..., 2) and principal points (..., 2), pixels."""
    K = np.zeros((*np.shape(focal)[:-1], 3, 3))
    K[..., [0, 1], [0, 1]], K[..., :2, 2], K[..., 2, 2] = focal, centre, 1.0
    return K


def box_of_xywh(xywh: np.ndarray) -> np.ndarray:
    """(x0, y0, x1, y1) of COCO's (x, y, width, height)."""
    return np.concatenate([xywh[..., :2], xywh[..., :2] + xywh[..., 2:4]], axis=-1)
