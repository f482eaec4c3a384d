"""Published files of pairs and groups: disk -> `PublishedPool`, and back.

    file                                             what a record is
    JSON, a list of objects                          a pair: ADHMR (Shen et al. 2025)
    npz with the object array `grpo_pair_list`       a group: group preference alignment (GPA)

The key names of groups are known, the shapes of their arrays are inferred from what the code does with them; whatever
does not fit is refused by name, or not carried and named.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmralign.body.npz_file import npz_sizes, read_object_bytes
from hmralign.body.restricted_pickle import is_pickled_array, pickled_array, read_object_array
from hmralign.preferences.published_pool import AFFINE, JOINTS, MEASURES, TWIST, PublishedPool
from hmralign.storage.json_file import JsonLimits, read_json
from hmralign.storage.whole_file import whole_file, write_json
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

OBJECT_ARRAY = "grpo_pair_list"

MAX_POOL_BYTES = 2 * 2**30
"""Unpacked bytes of a published file of groups: 20,000 groups of 52 take about 1.3 GB."""

MAX_OPCODES = 50_000_000
"""Instructions of the pickle of groups: a record takes some hundred."""

MAX_NUMBERS = 400_000_000
"""Numbers under one key of all records; a few bytes of a pickle can name the same record again and again."""

MAX_MEMBERS = 4096
MAX_PATH = 500
"""Characters of the path of an image."""
_LARGEST = 1e30

JSON_LIMITS = JsonLimits(max_bytes=512 * 2**20, max_depth=8, max_values=60_000_000)

_PAIR_KEYS = ("img_path", "img_idx", "l_joints", "l_twist", "w_joints", "w_twist", "trans", "trans_inv")
_GROUP_KEYS = ("img_path", "img_idx", "pred_joints_uvd_29", "pred_twist", "trans", "trans_inv")
_TRUTH_KEYS = ("gt_joints", "gt_twist")


@dataclass(frozen=True)
class ReadPool:
    """A pool, and the keys of the published file that it does not carry."""

    pool: PublishedPool
    not_carried: tuple[str, ...] = ()


def read_published(path: str | Path) -> ReadPool:
    """Read a published JSON of pairs or a published npz of groups; nothing in it is run.

    Raises InputError, naming the file, where it is missing, damaged, too large, names code, or does not fit.
    """
    path = Path(path)
    return _pairs(path) if path.suffix == ".json" else _groups(path)


def is_published(path: str | Path) -> bool:
    """Whether a file is a published one rather than one of ours. Raises InputError where it is missing or damaged."""
    path = Path(path)
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}, expected a pool of pairs (.json) or groups (.npz)")
    return path.suffix == ".json" or OBJECT_ARRAY in npz_sizes(path)


def _pairs(path: Path) -> ReadPool:
    records = read_json(path, "a list of pairs", JSON_LIMITS)
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: not a list of pairs, expected objects with the keys {', '.join(_PAIR_KEYS)}")
    for number, record in enumerate(records):
        _require_keys(path, number, record, _PAIR_KEYS)
    column = _Columns(path, records)
    better, worse = (column.numbers(f"{who}_joints", JOINTS) for who in "wl")
    better_twist, worse_twist = (column.numbers(f"{who}_twist", TWIST) for who in "wl")
    joints, twist = torch.stack([better, worse], 1), torch.stack([better_twist, worse_twist], 1)
    pool = PublishedPool("pairs", **column.images(), joints=joints, twist=twist)
    return ReadPool(pool, tuple(sorted({key for record in records for key in record} - set(_PAIR_KEYS))))


def _groups(path: Path) -> ReadPool:
    content = read_object_bytes(path, OBJECT_ARRAY, MAX_POOL_BYTES)
    try:
        records = read_object_array(f"{path}: the pool", content, max_opcodes=MAX_OPCODES)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path}: damaged pool ({shown(f'{type(error).__name__}: {error}', 200)})") from error
    if not records:
        raise InputError(f"{path}: holds no groups")
    for number, record in enumerate(records):
        _require_keys(path, number, record, _GROUP_KEYS)
    column = _Columns(path, records)
    members = column.members("pred_joints_uvd_29")
    keys = set.intersection(*(set(record) for record in records))  # type: ignore[arg-type]
    measures = {name: column.numbers(name, (members,)) for name in MEASURES if name in keys}
    truth = {name: column.truth(name) for name in _TRUTH_KEYS if set(_TRUTH_KEYS) <= keys}
    known = {*_GROUP_KEYS, *measures, *(name for name, value in truth.items() if value is not None)}
    others = {str(name): array for name in sorted(keys - known) if (array := column.other(name)) is not None}
    pool = PublishedPool(
        "groups", **column.images(), joints=column.numbers("pred_joints_uvd_29", (members, *JOINTS)),
        twist=column.numbers("pred_twist", (members, *TWIST)), measures=measures,
        truth_joints=truth.get("gt_joints"), truth_twist=truth.get("gt_twist"), others=others,
    )  # fmt: skip
    everything = {str(name) for record in records for name in record}  # type: ignore[attr-defined]
    return ReadPool(pool, tuple(sorted(everything - {str(name) for name in known} - set(others))))


def _require_keys(path: Path, number: int, record: object, keys: Sequence[str]) -> None:
    if not isinstance(record, dict):
        raise InputError(
            f"{path}: record {number} is a {type(record).__name__.strip('_')}, expected an object with keys"
        )
    if missing := [key for key in keys if key not in record]:
        raise InputError(f"{path}: record {number} lacks '{missing[0]}', expected {', '.join(keys)}")


@dataclass(frozen=True)
class _Columns:
    """Values of one key over all records, held to one shape."""

    path: Path
    records: Sequence[Any]

    def images(self) -> dict[str, Any]:
        """What says which image a record is of, and where it was cut."""
        return {
            "image_paths": tuple(self._text(number) for number in range(len(self.records))),
            "image_index": torch.tensor([self._index(number) for number in range(len(self.records))]),
            "A_crop_image": self.numbers("trans", AFFINE),
            "A_image_crop": self.numbers("trans_inv", AFFINE),
        }

    def numbers(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """(record, *shape), finite."""
        if len(self.records) * math.prod(shape) > MAX_NUMBERS:
            raise InputError(f"{self.path}: '{key}' has more than {MAX_NUMBERS} numbers in all records")
        arrays = np.empty((len(self.records), *shape), np.float32)
        for number, record in enumerate(self.records):
            found = _plain(record[key], shape)
            if found is None:
                raise self._wrong(number, key, f"is no array of {shape} numbers")
            if not (np.abs(found) < _LARGEST).all():  # NaN is not
                raise self._wrong(number, key, "is not finite")
            arrays[number] = found
        return torch.from_numpy(arrays)

    def members(self, key: str) -> int:
        """Members of all groups. Raises InputError where they are not equally many."""
        counts = [len(found) if (found := _axis(record[key])) is not None else 0 for record in self.records]
        if not 2 <= counts[0] <= MAX_MEMBERS:
            raise self._wrong(0, key, f"has {counted(counts[0], 'member')}, expected 2 to {MAX_MEMBERS}")
        if other := [number for number, count in enumerate(counts) if count != counts[0]]:
            raise self._wrong(other[0], key, f"has {counted(counts[other[0]], 'member')}, record 0 has {counts[0]}")
        return counts[0]

    def truth(self, key: str) -> Tensor | None:
        """The truth, where it is of the shape of a member."""
        shape = JOINTS if key == "gt_joints" else TWIST
        fits = all(_plain(record[key], shape) is not None for record in self.records)
        return self.numbers(key, shape) if fits else None

    def other(self, key: str) -> np.ndarray | None:
        """Numbers of one shape in all records; None for anything else."""
        first = _any_numbers(self.records[0][key])
        if first is None or first.size * len(self.records) > MAX_NUMBERS:
            return None
        arrays = np.empty((len(self.records), *first.shape), first.dtype)
        for number, record in enumerate(self.records):
            found = _any_numbers(record[key])
            if found is None or found.shape != first.shape or found.dtype != first.dtype:
                return None
            arrays[number] = found
        return arrays

    def _text(self, number: int) -> str:
        value = self.records[number]["img_path"]
        if not isinstance(value, str) or not 0 < len(value) <= MAX_PATH or not value.isprintable():
            raise self._wrong(number, "img_path", f"is no path of at most {MAX_PATH} characters")
        return value

    def _index(self, number: int) -> int:
        value = self.records[number]["img_idx"]
        value = pickled_array(value).tolist() if is_pickled_array(value) else value
        if type(value) is not int or not -(2**62) < value < 2**62:
            raise self._wrong(number, "img_idx", "is no whole number")
        return value

    def _wrong(self, number: int, key: str, what: str) -> InputError:
        return InputError(f"{self.path}: '{key}' of record {number} {what}")


def _axis(value: object) -> Sequence[object] | np.ndarray | None:
    """A value with a first axis; None for anything else."""
    if is_pickled_array(value):
        value = _array(value)
    return value if (isinstance(value, np.ndarray) and value.ndim > 0) or isinstance(value, list | tuple) else None


def _array(value: object) -> np.ndarray | None:
    try:
        return pickled_array(value)
    except (ValueError, IndexError, TypeError):
        return None


def _plain(value: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """Numbers of a shape, or the same with its last two axes in one; None for anything else.

    Lists are followed no further than the shape says: one that holds another many times costs no more than it has.
    """
    if is_pickled_array(value):
        array = _array(value)
        joined = (*shape[:-2], math.prod(shape[-2:]))
        fits = array is not None and array.dtype.kind in "iuf" and array.shape in (shape, joined)
        return array.reshape(shape) if array is not None and fits else None
    numbers: list[float] = []
    return np.array(numbers).reshape(shape) if _collect(value, shape, numbers) else None


def _collect(value: object, shape: tuple[int, ...], into: list[float]) -> bool:
    """Whether nested lists have a shape; their numbers are added in order."""
    if shape:
        return (
            isinstance(value, list | tuple)
            and len(value) == shape[0]
            and all(_collect(part, shape[1:], into) for part in value)
        )
    if is_pickled_array(value):
        array = _array(value)
        value = array.item() if array is not None and array.shape == () else None
    if type(value) not in (int, float) or (type(value) is int and value.bit_length() > 90):
        return False
    into.append(float(value))  # type: ignore[arg-type]
    return True


def _any_numbers(value: object) -> np.ndarray | None:
    if is_pickled_array(value):
        array = _array(value)
        return array if array is not None and array.dtype.kind in "iufb" else None
    return np.array(value) if type(value) in (int, float, bool) and abs(value) < 2**62 else None  # type: ignore


# -- back to the published files ---------------------------------------------------------------------------------------


def write_published(path: Path, pool: PublishedPool) -> Path:
    """Write a pool as the public code reads it: pairs as JSON, groups as npz with an array of objects.

    The npz is a pickle, which that code unpickles. Raises InputError for a name that is not of the pool's kind.
    """
    suffix = ".json" if pool.kind == "pairs" else ".npz"
    if path.suffix != suffix:
        raise InputError(f"'{path}' is no name for published {pool.kind}, expected one that ends in {suffix}")
    if pool.kind == "pairs":
        return write_json(path, [_pair_record(pool, number) for number in range(len(pool))], indent=None)
    records = np.empty(len(pool), object)
    records[:] = [_group_record(pool, number) for number in range(len(pool))]
    content = io.BytesIO()
    np.savez_compressed(content, **{OBJECT_ARRAY: records})  # pyright: ignore[reportArgumentType]
    with whole_file(path) as part:
        part.write_bytes(content.getbuffer())
    return path


def _image_record(pool: PublishedPool, number: int) -> dict[str, Any]:
    return {
        "img_path": pool.image_paths[number],
        "img_idx": int(pool.image_index[number]),
        "trans": pool.A_crop_image[number].numpy(),
        "trans_inv": pool.A_image_crop[number].numpy(),
    }


def _pair_record(pool: PublishedPool, number: int) -> dict[str, Any]:
    record = _image_record(pool, number)
    for member, who in enumerate("wl"):
        record[f"{who}_joints"] = pool.joints[number, member].numpy()
        record[f"{who}_twist"] = pool.twist[number, member].numpy()
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in record.items()}


def _group_record(pool: PublishedPool, number: int) -> dict[str, Any]:
    record = _image_record(pool, number) | {name: values[number].copy() for name, values in pool.others.items()}
    record |= {"pred_joints_uvd_29": pool.joints[number].numpy(), "pred_twist": pool.twist[number].numpy()}
    record |= {name: values[number].numpy() for name, values in pool.measures.items()}
    if pool.truth_joints is not None and pool.truth_twist is not None:
        record |= {"gt_joints": pool.truth_joints[number].numpy(), "gt_twist": pool.truth_twist[number].numpy()}
    return record
