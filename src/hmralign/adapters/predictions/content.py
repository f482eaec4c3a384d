"""What a file of predictions holds, of whatever kind: an archive of arrays, a pickle, or what `torch.save` wrote.

Nothing of a file is run: pickles go through the restricted reader, PyTorch's through the reader of snapshots.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hmralign.body.joblib_pickle import read_joblib
from hmralign.body.npz_file import npz_object_axes, npz_sizes, read_npz, read_object_bytes
from hmralign.body.restricted_pickle import is_pickled_array, read_object_array, read_plain_object
from hmralign.models.published.snapshot import inspected
from hmralign.structures import InputError
from hmralign.structures.errors import shown

MAX_BYTES = 8 * 2**30
"""Largest pickle, unpacked: tracks of an hour of film, with their appearance, have some GB."""
MAX_OPCODES = 50_000_000
MAX_OBJECT_BYTES, MAX_OBJECT_OPCODES = 2**30, 10_000_000
MAX_DEPTH = 8


@dataclass(frozen=True)
class Content:
    """A file that was read; what it holds is not checked yet."""

    path: Path
    value: Any
    """Dictionaries and lists, with arrays of numpy, or pickled ones, at their ends."""

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The dictionary that the file is; empty where it is none."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def first(self) -> Mapping[str, Any]:
        """The first dictionary inside: of a list, or the first value of a dictionary that is one, or has one first."""
        found = self.value
        for _ in range(2):
            items = list(found.values())[:1] if isinstance(found, Mapping) else found[:1] if is_list(found) else []
            if not items:
                return {}
            found = items[0]
            if isinstance(found, Mapping):
                return found
        return {}

    def words(self) -> str:
        """What was found, for a sentence."""
        if isinstance(self.value, Mapping):
            names = [str(key) for key in list(self.value)[:12]]
            inside = f", and in the first of them {shown([str(k) for k in list(self.first)[:12]], 200)}"
            return f"a dictionary with {shown(names, 300)}{inside if self.first else ''}"
        if is_list(self.value):
            inside = f" of {shown([str(k) for k in list(self.first)[:12]], 300)}" if self.first else ""
            return f"a list of {len(self.value)}{inside}"
        return f"an array or a {type(self.value).__name__}"


def is_list(value: object) -> bool:
    """Whether a value is a list or a tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def read_content(path: Path) -> Content:
    """Read a file. Raises InputError, naming it, where it is missing, damaged, too large, or names code."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of predictions")
    if not zipfile.is_zipfile(path):
        found = read_joblib(path, "predictions", max_bytes=MAX_BYTES, max_opcodes=MAX_OPCODES)
        return Content(path, found)
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in npz_sizes(path)):
        return Content(path, _as_arrays(inspected(path).loaded()))
    return Content(path, _of_archive(path))


def _of_archive(path: Path) -> Any:
    """The arrays, and the dictionaries and lists that were saved among them."""
    objects = npz_object_axes(path)
    found: dict[str, Any] = dict(read_npz(path, [name for name in npz_sizes(path) if name not in objects]))
    for name, axes in objects.items():
        found[name] = _object(path, name, axes)
    if set(found) == {"arr_0"} and not hasattr(found["arr_0"], "dtype"):
        return found["arr_0"]  # `numpy.savez(path, outputs)`
    return found


def _object(path: Path, name: str, axes: int) -> Any:
    content, what = read_object_bytes(path, name, MAX_OBJECT_BYTES, axes), f"{path}: '{shown(name)}'"
    try:
        if axes:
            return read_object_array(what, content, max_opcodes=MAX_OBJECT_OPCODES)
        return read_plain_object(what, content, max_opcodes=MAX_OBJECT_OPCODES)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{what} is damaged ({shown(f'{type(error).__name__}: {error}', 200)})") from error


def _as_arrays(value: Any, depth: int = 0) -> Any:
    """Tensors as arrays, however deep."""
    if depth > MAX_DEPTH or is_pickled_array(value):
        return value
    if isinstance(value, torch.Tensor):
        plain = value.detach()
        return (plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()
    if isinstance(value, Mapping):
        return {key: _as_arrays(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_arrays(item, depth + 1) for item in value]
    return value
