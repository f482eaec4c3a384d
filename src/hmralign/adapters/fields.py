"""Values of one record of somebody else's file, checked as they are asked for.

A record is a dictionary out of JSON, or out of a pickle whose arrays have not been built yet
(`body.restricted_pickle`). What does not fit is a `WrongRecordError` that names the key and says what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hmralign.adapters.faults import WrongRecordError
from hmralign.body.restricted_pickle import is_pickled_array, pickled_array
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS
from hmralign.data.pose_parameters import POSES_WITHOUT
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.structures.errors import shown

MAX_LIST = 1_000_000
"""Items of one list of a record."""

_NOT_A_ROTATION = 1e-2


def plain_array(value: object) -> np.ndarray | None:
    """The numbers of a value: an array, a pickled one, nested lists, or a number; None for anything else."""
    try:
        if is_pickled_array(value):
            value = pickled_array(value)
        elif isinstance(value, list | tuple):
            if len(value) > MAX_LIST:
                return None
            if any(map(is_pickled_array, value)):
                value = np.array([v if (v := _item(part)) is not None else part for part in value])
        array = np.asarray(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return array if array.dtype.kind in "iuf" else None


def _item(part: object) -> object | None:
    """An array in a list of a pickle; None for what numpy understands itself."""
    return pickled_array(part) if is_pickled_array(part) else None


class Fields:
    """The values of a record by key. Every method raises WrongRecordError for what does not fit."""

    def __init__(self, record: object, path: str = "") -> None:
        if not isinstance(record, Mapping):
            raise WrongRecordError(f"'{path}' is no object with keys" if path else "is no object with keys")
        self.record, self.path = record, path

    def __contains__(self, key: str) -> bool:
        return self.record.get(key) is not None

    def value(self, key: str) -> Any:
        """What is there, as it is."""
        if self.record.get(key) is None:
            raise WrongRecordError(f"has no '{self._at(key)}'")
        return self.record[key]

    def inside(self, key: str) -> Fields:
        """The object under a key."""
        return Fields(self.value(key), self._at(key))

    def numbers(self, key: str, *shapes: tuple[int | None, ...]) -> np.ndarray:
        """Finite numbers of one of the shapes; None stands for any length."""
        array = plain_array(self.value(key))
        if array is None:
            raise WrongRecordError(f"'{self._at(key)}' is no array of numbers")
        if shapes and not any(_fits(array.shape, shape) for shape in shapes):
            expected = " or ".join(str(shape).replace("None", "N") for shape in shapes)
            raise WrongRecordError(f"'{self._at(key)}' has the shape {array.shape}, expected {expected}")
        if not np.isfinite(array).all():
            raise WrongRecordError(f"'{self._at(key)}' is not finite")
        return array.astype(np.float64)

    def number(self, key: str) -> float:
        """One finite number."""
        return float(self.numbers(key, (), (1,)).reshape(()))

    def numbers_or_flags(self, key: str, count: int) -> np.ndarray:
        """So many flags, written as truth values or as numbers."""
        value = self.value(key)
        try:
            array = pickled_array(value) if is_pickled_array(value) else np.asarray(value)
        except (ValueError, IndexError, TypeError) as error:
            raise WrongRecordError(f"'{self._at(key)}' is no array of flags") from error
        if array.dtype.kind not in "biuf" or array.shape != (count,):
            raise WrongRecordError(f"'{self._at(key)}' has the shape {array.shape}, expected {count} flags")
        return array.astype(bool)

    def flag(self, key: str) -> bool:
        """One truth value."""
        value = self.value(key)
        return bool(pickled_array(value).reshape(-1)[0]) if is_pickled_array(value) else bool(value)

    def text(self, key: str) -> str:
        """Printable text of at most 500 characters."""
        found = self.value(key)
        found = found.decode("latin1") if isinstance(found, bytes) else found
        if not isinstance(found, str) or not 0 < len(found) <= 500 or not found.isprintable():
            raise WrongRecordError(f"'{self._at(key)}' is no text of at most 500 characters")
        return found

    def items(self, key: str) -> Sequence[Any]:
        """A list, or the rows of an array."""
        found = self.value(key)
        if is_pickled_array(found):
            found = plain_array(found)
            found = None if found is None or found.ndim == 0 else list(found)
        if not isinstance(found, list | tuple) or len(found) > MAX_LIST:
            raise WrongRecordError(f"'{self._at(key)}' is no list")
        return found

    def pose(self, key: str) -> np.ndarray:
        """Rotation vectors (24, 3), root first, from as many numbers or from matrices."""
        return pose_of(self.numbers(key), self._at(key))

    def betas(self, key: str) -> np.ndarray:
        """The first ten components, with zeros where there are fewer."""
        found = self.numbers(key, (None,), (1, None)).reshape(-1)
        if len(found) == 0:
            raise WrongRecordError(f"'{self._at(key)}' has no components")
        return np.pad(found[:NUM_BETAS], (0, max(0, NUM_BETAS - len(found))))

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def pose_of(numbers: np.ndarray, name: str) -> np.ndarray:
    """Rotation vectors (24, 3) of one body's pose. Raises WrongRecordError saying what a shorter one is."""
    if numbers.size in POSES_WITHOUT and numbers.ndim <= 2:
        raise WrongRecordError(
            f"'{name}' has {numbers.size} numbers, which are {POSES_WITHOUT[numbers.size]}; expected 72, root first"
        )
    if numbers.size == 9 * NUM_JOINTS and numbers.shape[-1] in (3, 9, 9 * NUM_JOINTS):
        return rotvecs_of(numbers.reshape(NUM_JOINTS, 3, 3), name)
    if numbers.size != 3 * NUM_JOINTS or numbers.ndim > 2:
        raise WrongRecordError(f"'{name}' has the shape {numbers.shape}, expected 72 numbers, root first")
    return numbers.reshape(NUM_JOINTS, 3)


def rotvecs_of(matrices: np.ndarray, name: str) -> np.ndarray:
    """Rotation vectors of matrices (..., 3, 3). Raises WrongRecordError where one is no rotation."""
    import torch

    away = np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3)).max() if matrices.size else 0.0
    if away > _NOT_A_ROTATION or (np.linalg.det(matrices) < 0).any():
        raise WrongRecordError(f"'{name}' has a matrix that is no rotation")
    return rotmat_to_rotvec(torch.from_numpy(np.ascontiguousarray(matrices, np.float64))).numpy()


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(b is None or a == b for a, b in zip(found, shape, strict=True))


def said(value: object) -> str:
    """A value as a sentence may quote it."""
    return shown(value, 60)
