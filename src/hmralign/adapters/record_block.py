"""Records of one file, many at a time: the values of a key as one array whose first axis is the records.

A block fits as a whole or not at all. Where it does not, the reader halves it, down to single records, and each of
those that do not fit is told by `Fields` in its own words: one description of a format serves both.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from hmralign.adapters.faults import WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS


class Block:
    """N records of JSON by key. Every method raises WrongRecordError where a record does not fit, or has another
    shape than the others."""

    def __init__(self, records: Sequence[object], path: str = "") -> None:
        if not all(isinstance(record, Mapping) for record in records):
            Fields(next(record for record in records if not isinstance(record, Mapping)), path)
        self.records: list[Any] = list(records)
        self.path = path

    def __len__(self) -> int:
        return len(self.records)

    def __contains__(self, key: str) -> bool:
        there = sum(record.get(key) is not None for record in self.records)
        if there not in (0, len(self)):
            raise WrongRecordError(f"'{key}' is given for some records only")
        return there > 0

    def values(self, key: str) -> list[Any]:
        """What is there, as it is."""
        found = [record.get(key) for record in self.records]
        for record, value in zip(self.records, found, strict=True):
            if value is None:
                Fields(record, self.path).value(key)
        return found

    def inside(self, key: str) -> Block:
        """The objects under a key."""
        return Block(self.values(key), f"{self.path}.{key}" if self.path else key)

    def numbers(self, key: str, *shapes: tuple[int | None, ...]) -> np.ndarray:
        """(N, ...) finite numbers of one of the shapes; None stands for any length."""
        if len(self) == 1:
            return self._one.numbers(key, *shapes)[None]
        found = _stacked(self.values(key))
        if found is None or not np.isfinite(found).all():
            raise WrongRecordError(f"'{key}' is no array of finite numbers, or of several shapes")
        if shapes and not any(_fits(found.shape[1:], shape) for shape in shapes):
            raise WrongRecordError(f"'{key}' has another shape")
        return found

    def number(self, key: str) -> np.ndarray:
        """(N,) finite numbers."""
        return self.numbers(key, (), (1,)).reshape(len(self))

    def texts(self, key: str) -> list[str]:
        """Printable texts of at most 500 characters."""
        return [Fields(record, self.path).text(key) for record in self.records]

    def pose(self, key: str) -> np.ndarray:
        """(N, 24, 3) rotation vectors, root first."""
        if len(self) == 1:
            return self._one.pose(key)[None]
        return self.numbers(key, (3 * NUM_JOINTS,), (NUM_JOINTS, 3)).reshape(-1, NUM_JOINTS, 3)

    def betas(self, key: str) -> np.ndarray:
        """(N, 10): the first ten components, with zeros where there are fewer."""
        if len(self) == 1:
            return self._one.betas(key)[None]
        found = self.numbers(key, (None,), (1, None)).reshape(len(self), -1)[:, :NUM_BETAS]
        if found.shape[1] == 0:
            raise WrongRecordError(f"'{key}' has no components")
        return np.pad(found, ((0, 0), (0, NUM_BETAS - found.shape[1])))

    @property
    def _one(self) -> Fields:
        return Fields(self.records[0], self.path)


def _fits(found: tuple[int, ...], shape: tuple[int | None, ...]) -> bool:
    return len(found) == len(shape) and all(b is None or a == b for a, b in zip(found, shape, strict=True))


def _stacked(values: list[Any]) -> np.ndarray | None:
    """Nested lists of numbers of one shape as an array, four times as fast as numpy's own reading of lists.

    None where shapes differ, or something is no number (a text that looks like one is none).
    """
    shape, level = [len(values)], values
    while isinstance(level[0], list):
        size = len(level[0])
        if size == 0 or not all(isinstance(part, list) and len(part) == size for part in level):
            return None
        shape.append(size)
        level = list(chain.from_iterable(level))
    try:
        return np.array(array("d", level)).reshape(shape) if set(map(type, level)) <= {int, float} else None
    except OverflowError:
        return None
