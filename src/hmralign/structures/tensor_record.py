"""The base of every structure of tensors that share their leading axes: index, move, stack, join, choose.

A record is a frozen dataclass whose fields are tensors, other records, or None where something is optional. The leading
axes of all its tensors are the same batch axes; what follows them is each field's own business.

    record[index]              the batch axes of every tensor indexed
    record.to(device)          every tensor moved
    record.map(function)       a function of every tensor
    record.where(rows, other)  row by row the one record or the other
    record.tensors()           every tensor by name
    Record.stack(items, dim)   several records along a new batch axis
    Record.cat(items, dim)     several records along a batch axis that they have

Idea: Yi et al. 2024 (EgoAllo), `tensor_dataclass.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.structures.errors import InputError

Record = TypeVar("Record", bound="TensorRecord")


class TensorRecord:
    """Base of frozen dataclasses of tensors; each field is a tensor, a record, or None."""

    def __getitem__(self: Record, index: Any) -> Record:
        """Index the batch axes, as each tensor is indexed.

        Raises TypeError for `...`, which would reach the axes behind the batch: they differ from field to field.
        """
        if index is Ellipsis or (type(index) is tuple and any(i is Ellipsis for i in index)):
            raise TypeError(f"{type(self).__name__} is indexed with '...'; expected an index of its first axes")
        parts = map(self.__dict__.get, _names(type(self)))
        return type(self)(*[part[index] if isinstance(part, _HELD) else _absent(self, part) for part in parts])

    def to(self: Record, device: torch.device | str) -> Record:
        """Move every tensor to a device."""
        parts = map(self.__dict__.get, _names(type(self)))
        return type(self)(*[part.to(device) if isinstance(part, _HELD) else _absent(self, part) for part in parts])

    def map(self: Record, function: Callable[..., Tensor], *others: Record) -> Record:
        """The record of `function(tensor, *tensors of the same field of the others)`; None stays None.

        Raises TypeError for records of another class, and InputError for a field that some have and others lack.
        """
        return _each(lambda _, *tensors: function(*tensors), self, *others)

    def where(self: Record, rows: Bool[Tensor, "*rows"], other: Record) -> Record:
        """This record in the rows that are true, the other one elsewhere; `rows` has the first batch axis or more."""

        def chosen(mine: Tensor, its: Tensor) -> Tensor:
            return torch.where(rows.view(*rows.shape, *[1] * (mine.ndim - rows.ndim)), mine, its)

        return self.map(chosen, other)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by field, those of a record inside by both names (`body.transl`); fields that are None are absent."""
        return dict(self._named(""))

    @classmethod
    def stack(cls: type[Record], items: Sequence[Record], dim: int = 0) -> Record:
        """Stack records along a new batch axis.

        Raises InputError for no records, a field whose shapes differ or that some records lack, and a negative `dim`,
        which would be another axis in each field; TypeError for records of another class.
        """

        def stacked(what: str, *tensors: Tensor) -> Tensor:
            if len({tensor.shape for tensor in tensors}) > 1:
                raise _unequal(what, tensors)
            return torch.stack(tensors, dim)

        return _together(cls, items, dim, stacked)

    @classmethod
    def cat(cls: type[Record], items: Sequence[Record], dim: int = 0) -> Record:
        """Join records along a batch axis, the only one that may differ. Raises as `stack`."""

        def joined(what: str, *tensors: Tensor) -> Tensor:
            if len({(tensor.shape[:dim], tensor.shape[dim + 1 :], tensor.ndim > dim) for tensor in tensors}) > 1:
                raise _unequal(what, tensors)
            return torch.cat(tensors, dim)

        return _together(cls, items, dim, joined)

    def _named(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name in _names(type(self)):
            part = getattr(self, name)
            if isinstance(part, TensorRecord):
                yield from part._named(f"{prefix}{name}.")
            elif isinstance(part, Tensor):
                yield f"{prefix}{name}", part
            else:
                _absent(self, part)


_HELD = (Tensor, TensorRecord)


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))  # pyright: ignore[reportArgumentType]


def _absent(record: TensorRecord, part: Any) -> None:
    """What stands for a part that is None. Raises TypeError for one that is neither that nor held by records."""
    if part is not None:
        raise TypeError(f"{type(record).__name__} holds a {type(part).__name__}; expected tensors, records and None")


def _each(function: Callable[..., Tensor], first: Record, *others: Record) -> Record:
    """`function(name of the field, *its tensors)` of every field of records of one class."""
    kind = type(first)
    for other in others:
        if type(other) is not kind:
            raise TypeError(f"expected records of {kind.__name__} alone, got a {type(other).__name__} too")
    return kind(*[_of_field(function, name, first, *others) for name in _names(kind)])


def _of_field(function: Callable[..., Tensor], name: str, *records: TensorRecord) -> Any:
    parts: list[Any] = [getattr(record, name) for record in records]
    what, first = f"{type(records[0]).__name__}.{name}", parts[0]
    if any((part is None) != (first is None) for part in parts):
        raise InputError(f"{what} is None in some of the records and not in others; expected it in all or in none")
    if isinstance(first, TensorRecord):
        return _each(function, *parts)
    return function(what, *parts) if isinstance(first, Tensor) else _absent(records[0], first)


def _together(kind: type[Record], items: Sequence[Record], dim: int, function: Callable[..., Tensor]) -> Record:
    if not items:
        raise InputError(f"there are no records of {kind.__name__} to put together; expected at least one")
    if dim < 0:
        raise InputError(f"{kind.__name__}: batch axes are counted from the first, got axis {dim}")
    if not isinstance(items[0], kind):
        raise TypeError(f"expected records of {kind.__name__}, got a {type(items[0]).__name__}")
    return _each(function, *items)


def _unequal(what: str, tensors: Sequence[Tensor]) -> InputError:
    shapes = dict.fromkeys(str(tuple(tensor.shape)) for tensor in tensors)
    return InputError(f"{what} has the shapes {' and '.join(shapes)}, which do not fit together")
