"""Columns of an npz archive of annotations: arrays with one row for each person, some of them in dictionaries.

Dictionaries are pickled objects in such archives; they are read without running anything (`body.restricted_pickle`).
Wrong numbers of rows are an error of the whole file: which row belongs to which is then not known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.adapters.fields import plain_array
from hmralign.body.npz_file import npz_sizes, read_npz, read_object_bytes
from hmralign.body.restricted_pickle import is_pickled_array, pickled_array, read_plain_object
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_OBJECT_BYTES = 2 * 2**30
MAX_OPCODES = 20_000_000
"""Instructions of one pickled dictionary: lists of texts take some for each entry."""


class Columns:
    """Arrays of a file by name; all have the same number of rows as the first of `required`."""

    def __init__(self, path: Path, required: Collection[str], optional: Collection[str] = ()) -> None:
        self.path = path
        there = npz_sizes(path)
        if missing := [name for name in required if name not in there]:
            raise InputError(f"{path}: lacks the arrays {missing}; it has {shown(sorted(there), 200)}")
        self.arrays = read_npz(path, [name for name in (*required, *optional) if name in there])
        self.rows = _rows(path, next(iter(required)), self.arrays)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __len__(self) -> int:
        return self.rows

    def numbers(self, name: str, *shapes: tuple[int | None, ...]) -> np.ndarray:
        """(rows, *shape) numbers; NaN is left to whoever looks at each record. Raises InputError for another shape."""
        return row_numbers(self.path, name, self.arrays[name], self.rows, shapes)

    def texts(self, name: str) -> list[str]:
        """A text for each row. Raises InputError for anything else."""
        return row_texts(self.path, name, self.arrays[name], self.rows)


def _rows(path: Path, name: str, arrays: dict[str, np.ndarray]) -> int:
    if arrays[name].ndim == 0:
        raise InputError(f"{path}: '{name}' has no rows")
    return len(arrays[name])


def row_numbers(
    path: Path, name: str, value: object, rows: int, shapes: Collection[tuple[int | None, ...]]
) -> np.ndarray:
    """The numbers of a column. Raises InputError naming file and column where they are not (rows, *shape)."""
    array = plain_array(value)
    if array is None:
        raise InputError(f"{path}: '{name}' holds no numbers")
    if array.ndim == 0 or len(array) != rows:
        found = "no rows" if array.ndim == 0 else f"{counted(len(array), 'row')}"
        raise InputError(f"{path}: '{name}' has {found}, expected {rows}, one for each person: lengths are unequal")
    for shape in shapes:
        if len(shape) == array.ndim - 1 and all(b in (None, a) for a, b in zip(array.shape[1:], shape, strict=True)):
            return array if array.dtype.kind == "f" else array.astype(np.float64)
    expected = " or ".join(str((rows, *shape)).replace("None", "N") for shape in shapes)
    raise InputError(f"{path}: '{name}' has the shape {array.shape}, expected {expected}")


def row_texts(path: Path, name: str, value: object, rows: int) -> list[str]:
    """The texts of a column. Raises InputError naming file and column."""
    found = value.tolist() if isinstance(value, np.ndarray) else value
    if is_pickled_array(found):
        raise InputError(f"{path}: '{name}' holds no texts")
    found = [t.decode("latin1") if isinstance(t, bytes) else t for t in found] if isinstance(found, list) else None
    if found is None or not all(isinstance(text, str) for text in found):
        raise InputError(f"{path}: '{name}' holds no texts")
    if len(found) != rows:
        raise InputError(f"{path}: '{name}' has {counted(len(found), 'row')}, expected {rows}: lengths are unequal")
    return found


def read_dictionary(path: Path, name: str) -> Mapping[str, Any]:
    """The dictionary that an array without axes holds. Raises InputError where it is none, or names code."""
    content = read_object_bytes(path, name, MAX_OBJECT_BYTES, axes=0)
    try:
        found = read_plain_object(f"{path}: '{shown(name)}'", content, max_opcodes=MAX_OPCODES)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(
            f"{path}: '{shown(name)}' is damaged ({shown(f'{type(error).__name__}: {error}', 200)})"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: '{shown(name)}' is no dictionary")
    return {key: pickled_array(v) if is_pickled_array(v) and _has_numbers(v) else v for key, v in found.items()}


def _has_numbers(value: object) -> bool:
    try:
        pickled_array(value)
    except (ValueError, IndexError, TypeError):
        return False
    return True
