"""Snapshots that `torch.save` wrote, looked at before they are read: what a file may ask for is known and bounded.

A snapshot is a pickle with raw numbers beside it. `inspected` follows the pickle with recorders in place of all that it
may name (`body.restricted_pickle`): nothing of it is run, no tensor is made, and each tensor is known by its type,
shape and place. `Snapshot.loaded` then reads it by `torch.load(weights_only=True)`, which so is handed no pickle that
was not found plain before, and takes from an archive only the tensors that are looked at.

| file                                    | what is looked at                                    |
| --------------------------------------- | ---------------------------------------------------- |
| zip archive (PyTorch 1.6 and later)     | table of contents, sizes, the pickle, all tensors    |
| legacy file (earlier, or on request)    | its five pickles, the sizes of the numbers behind    |
| tar archive (before 0.4), anything else | refused                                              |
"""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hmralign.body.npz_file import opened_archive
from hmralign.body.restricted_pickle import StorageRecorder
from hmralign.storage.limited_file import require_regular
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_FILE_BYTES = 8 * 2**30
"""The largest published snapshot, weights with averages and the optimiser's state, has about a fifth of it."""

MAX_ENTRIES = 100_000
"""Tensors in one file; the largest published snapshot has about 5,500."""

MAX_PICKLE_BYTES = 32 * 2**20
"""The pickle without the numbers; it takes about 200 bytes for each tensor."""

MAX_OPCODES = 4_000_000
"""Instructions of the pickle; each tensor takes about 40."""

MAX_AXES = 8

_LEGACY_START = bytes.fromhex("8002 8a0a 6cfc 9c46 f920 6aa8 5019 2e")
"""The pickled number with which legacy files begin."""
_LEGACY_VERSION = 1001

_EXPECTED = "PyTorch's tensors and plain containers"

_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class StoredTensor(NamedTuple):
    """A tensor of a file that was not read."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Snapshot:
    """A file that was looked at and found plain."""

    path: Path
    content: Mapping[str, Any]
    """What the file holds, with a `StoredTensor` in place of each tensor."""
    is_legacy: bool

    def loaded(self) -> Mapping[str, Any]:
        """The content with tensors, on the CPU. Raises InputError where it cannot be read."""
        try:
            with warnings.catch_warnings(), _trusted(_NUMPY_SCALARS):
                warnings.simplefilter("ignore")  # of PyTorch about its own storages
                found = torch.load(self.path, map_location="cpu", weights_only=True, mmap=not self.is_legacy)
        except Exception as error:  # a damaged file raises almost anything
            raise InputError(f"{self.path}: cannot be read ({_sentence(error)})") from error
        if not isinstance(found, dict):
            raise InputError(f"{self.path}: holds a {type(found).__name__}, expected a dictionary")
        return found


def inspected(path: str | Path) -> Snapshot:
    """Look at a snapshot without making a tensor or running anything of it.

    Raises InputError, naming the file, where it is missing, a folder, too large, damaged, of another format, names
    anything but tensors and plain containers, or gives a key twice.
    """
    path = Path(path)
    _require_file(path)
    is_legacy = not zipfile.is_zipfile(path)
    try:
        content = _of_legacy(path) if is_legacy else _of_archive(path)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path}: damaged snapshot ({_sentence(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: holds no dictionary of named entries, expected one as training code saves it")
    return Snapshot(path, content, is_legacy)


def _require_file(path: Path) -> None:
    require_regular(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a snapshot that torch.save wrote")
    if not path.exists():
        raise InputError(f"{path}: no such file, expected a snapshot that torch.save wrote")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: has {path.stat().st_size} bytes, expected at most {MAX_FILE_BYTES}")


# -- zip archives ------------------------------------------------------------------------------------------------------


def _of_archive(path: Path) -> object:
    with opened_archive(path, "snapshot") as archive:
        sizes = _sizes(path, archive)
        pickles = [name for name in sizes if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("constants.pkl") for name in sizes):
            raise InputError(f"{path}: is a zip archive but no snapshot, expected one 'data.pkl' of torch.save in it")
        if sizes[pickles[0]] > MAX_PICKLE_BYTES:
            raise InputError(f"{path}: its pickle has {sizes[pickles[0]]} bytes, expected at most {MAX_PICKLE_BYTES}")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in sizes and archive.read(f"{root}byteorder") != b"little":
            raise InputError(f"{path}: its numbers are not in little-endian order, expected that")
        recorder = _recorder(path, archive.read(pickles[0]))
    content = recorder.load()
    for key, storage in recorder.storages.items():
        found, needed = sizes.get(f"{root}data/{key}"), storage.numel * storage.dtype.itemsize
        if found != needed:
            there = "is not there" if found is None else f"has {found} bytes"
            raise InputError(
                f"{path}: damaged snapshot (its entry 'data/{shown(key)}' {there}, expected {needed} bytes)"
            )
    return content


def _sizes(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """Bytes of each entry. Raises InputError for two of one name, packed ones, and more than the file has."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        if info.filename in sizes:
            raise InputError(f"{path}: has two entries '{shown(info.filename)}', expected one")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise InputError(f"{path}: '{shown(info.filename)}' is packed or locked, expected what torch.save writes")
        sizes[info.filename] = info.file_size
    if len(sizes) > MAX_ENTRIES or sum(sizes.values()) > path.stat().st_size:
        raise InputError(f"{path}: damaged snapshot ({counted(len(sizes), 'entry')} of {sum(sizes.values())} bytes)")
    return sizes


# -- legacy files ------------------------------------------------------------------------------------------------------


def _of_legacy(path: Path) -> object:
    """Five pickles: a number, the version, the machine, the content, the order of the numbers that follow."""
    with path.open("rb") as file:
        head = file.read(MAX_PICKLE_BYTES)
    if not head.startswith(_LEGACY_START) or tarfile.is_tarfile(path):
        raise InputError(f"{path}: is no snapshot, expected a file that torch.save wrote (PyTorch 0.4 or later)")
    position = len(_LEGACY_START)
    found, storages = [], {}
    for _ in range(4):
        recorder = _recorder(path, head[position:])
        found.append(recorder.load())
        position += recorder.stream.tell()
        storages |= recorder.storages
    version, _, content, order = found
    if version != _LEGACY_VERSION or not isinstance(order, list) or sorted(map(str, order)) != sorted(storages):
        raise InputError(f"{path}: damaged snapshot (its version or the list of its numbers is not what was expected)")
    needed = position + sum(8 + storage.numel * storage.dtype.itemsize for storage in storages.values())
    if path.stat().st_size != needed:
        raise InputError(f"{path}: damaged snapshot (it has {path.stat().st_size} bytes, expected {needed})")
    return content


# -- the pickle --------------------------------------------------------------------------------------------------------


class _Storage(NamedTuple):
    dtype: torch.dtype
    numel: int


class _StorageKind(NamedTuple):
    dtype: torch.dtype


class _SnapshotRecorder(StorageRecorder):
    """Keeps what is said of the numbers beside the pickle."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(f"{path}: the snapshot", content, _NAMES, _EXPECTED, max_opcodes=MAX_OPCODES)
        self.storages: dict[str, _Storage] = {}

    def persistent(self, pid: object) -> _Storage:
        """`("storage", kind, key, device, count)`, in legacy files with a view behind, which is never used."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise ValueError("its numbers are named in an unknown way")
        kind, key, numel = pid[1], pid[2], pid[4]
        if not isinstance(kind, _StorageKind) or not isinstance(key, str) or not _is_count(numel):
            raise ValueError("its numbers are named in an unknown way")
        storage = _Storage(kind.dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"numbers {shown(key)} are of two kinds")
        return storage


def _recorder(path: Path, content: bytes) -> _SnapshotRecorder:
    return _SnapshotRecorder(path, content)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _tensor(storage: object, offset: object, shape: object, stride: object, *rest: object) -> StoredTensor:
    """`torch._utils._rebuild_tensor_v2`. Raises ValueError where a tensor reaches beyond its numbers."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor has no numbers, shape or strides")
    if len(shape) != len(stride) or len(shape) > MAX_AXES or not all(map(_is_count, (offset, *shape, *stride))):
        raise ValueError(f"a tensor of shape {shown(shape)} with strides {shown(stride)}")
    assert isinstance(offset, int)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.numel:
        raise ValueError(f"a tensor of shape {shown(shape)} has only {storage.numel} numbers")
    return StoredTensor(storage.dtype, tuple(shape))


def _parameter(data: object, *rest: object) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise ValueError("a parameter is no tensor")
    return data


def _size(items: object = ()) -> tuple[object, ...]:
    """`torch.Size`."""
    if not isinstance(items, tuple | list) or not all(map(_is_count, items)):
        raise ValueError("a size is no list of numbers")
    return tuple(items)


class _Dtype:
    """`numpy.dtype(code, align, copy)` of one plain number."""

    def __init__(self, code: object = None, align: object = False, copy: object = True):
        if not isinstance(code, str) or code not in _PLAIN or (align, copy) != (False, True):
            raise ValueError("a number is of no plain type")
        self.itemsize = int(code[1])

    def __setstate__(self, state: object) -> None:
        if state not in ((3, "<", None, None, None, -1, -1, 0), (3, "|", None, None, None, -1, -1, 0)):
            raise ValueError("a number is of no plain type")


_PLAIN = frozenset({"b1", "i4", "i8", "u4", "u8", "f4", "f8"})


def _numpy_scalar(dtype: object, raw: object) -> None:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes) or len(raw) != dtype.itemsize:
        raise ValueError("a number has not the bytes of its type")


def _bytes(text: object, encoding: object) -> bytes:
    """`_codecs.encode`, by which bytes are written."""
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 8:
        raise ValueError("bytes are no number")
    return text.encode("latin1")


class _Call:
    """A callable without attributes that a pickle could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Any):
        self._call = call

    def __call__(self, *args: object) -> object:
        return self._call(*args)


def _ordered(*args: object) -> OrderedDict[object, object]:
    if args:
        raise ValueError("an ordered dictionary is made of something")
    return OrderedDict()


_NAMES: dict[tuple[str, str], Any] = {
    **{("torch", name): _StorageKind(dtype) for name, dtype in _DTYPES.items()},
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("torch", "Size"): _Call(_size),
    ("collections", "OrderedDict"): _Call(_ordered),
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _Call(_numpy_scalar),
    ("numpy._core.multiarray", "scalar"): _Call(_numpy_scalar),
    ("_codecs", "encode"): _Call(_bytes),
}
"""All that a snapshot may name. NumPy's plain numbers are errors that were measured while training."""


def _scalar_maker(module: str) -> Callable[..., object]:
    """NumPy's own maker of single numbers, under the name that a version of NumPy has for it."""
    make: Any = np.float64(0).__reduce__()[0]

    def scalar(*args: object) -> object:
        return make(*args)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


_NUMPY_SCALARS: list[Any] = [
    _scalar_maker("numpy.core.multiarray"), _scalar_maker("numpy._core.multiarray"), np.dtype,
    *(type(np.dtype(code)) for code in sorted(_PLAIN)),
]  # fmt: skip
"""What PyTorch is to know besides, for numbers that were found plain."""


@contextmanager
def _trusted(names: list[Any]) -> Iterator[None]:
    """What PyTorch may build besides tensors while this is open; what was trusted before is trusted after, alone.

    `torch.serialization.safe_globals` does that from PyTorch 2.5 on; 2.4 has the parts that it is made of.
    """
    if (own := getattr(torch.serialization, "safe_globals", None)) is not None:
        with own(names):
            yield
        return
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(names)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return shown(", ".join(filter(None, [type(error).__name__, text])), 300)
