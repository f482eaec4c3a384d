"""Arrays of an `.npz` archive that anybody may have made: never unpickled, never unpacked beyond a limit.

Bodies, poses, predictions, noise and priors come in such archives. Whatever is wrong with one ends in one sentence that
names it. What an archive says of itself is not trusted: its table of contents is read up to a limit, two arrays of one
name are refused, and an array's header is compared with the bytes behind it before anything is reserved for it.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from hmralign.storage.limited_file import require_regular
from hmralign.storage.whole_file import whole_file
from hmralign.structures import InputError
from hmralign.structures.errors import shown

MAX_UNPACKED_BYTES = 2_000_000_000
"""Unpacked size of the arrays that are read from one archive; the largest released body has 250 MB of them, ten hours
of poses at 30 per second have 310 MB."""

MAX_VALUES = 500_000_000
"""Numbers in the arrays that are read from one archive: each may become one of single precision."""

MAX_DIRECTORY_BYTES = 2**20
"""The table of contents may be so long; it takes about 60 bytes for each array."""

_KINDS = "biufcUS"
"""Numbers and text; structures, dates and objects are nobody's."""


def npz_sizes(path: Path) -> dict[str, int]:
    """Unpacked bytes of each array by name, as the archive states them.

    Raises InputError where it is no archive, has two arrays of one name, or too many.
    """
    with opened_archive(path) as archive:
        return {name: info.file_size for name, info in _entries(path, archive).items()}


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each array, as its header says; no number is read. Raises InputError as `npz_sizes`."""
    return {name: shape for name, (shape, _) in _headers(path).items()}


def npz_object_axes(path: Path) -> dict[str, int]:
    """Names of the arrays of objects, and how many axes each has: what `read_npz` refuses. Raises InputError."""
    return {name: len(shape) for name, (shape, dtype) in _headers(path).items() if dtype.kind == "O"}


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    found = {}
    with opened_archive(path) as archive:
        for name, info in _entries(path, archive).items():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{path}: '{shown(name)}' is packed in an unusual way, expected what numpy writes")
            with archive.open(info) as file:
                found[name] = _header(file)  # pyright: ignore[reportArgumentType]
    return found


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The named arrays, or all; the others are not touched.

    Raises InputError, naming the file, where it is missing or damaged, lacks an array, has two of one name, holds
    pickles in place of numbers or unpacks to more than `MAX_UNPACKED_BYTES` or `MAX_VALUES`.
    """
    with opened_archive(path) as archive:
        entries = _entries(path, archive)
        names = list(entries) if names is None else list(names)
        if missing := [name for name in names if name not in entries]:
            raise InputError(f"{path}: lacks the arrays {missing}")
        chosen = {name: entries[name] for name in names}
        unpacked = sum(info.file_size for info in chosen.values())
        if unpacked > MAX_UNPACKED_BYTES:
            raise InputError(f"{path}: unpacks to {unpacked} bytes, expected at most {MAX_UNPACKED_BYTES}")
        values = sum(_values_of_header(path, archive, name, info) for name, info in chosen.items())
        if values > MAX_VALUES:
            raise InputError(f"{path}: unpacks to {values} values, expected at most {MAX_VALUES}")
        return {name: _array(archive, name, info) for name, info in chosen.items()}


def read_object_bytes(path: Path, name: str, max_bytes: int, axes: int = 1) -> bytes:
    """The pickle of an array of objects with one axis, or none, unread; `body.restricted_pickle` reads it.

    Raises InputError, naming the file, as `read_npz`, where the array holds no objects, and for one of more bytes.
    """
    with opened_archive(path) as archive:
        entries = _entries(path, archive)
        if name not in entries:
            raise InputError(f"{path}: lacks the arrays {[name]}")
        info = entries[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: '{shown(name)}' is packed in an unusual way, expected what numpy writes")
        if info.file_size > max_bytes:
            raise InputError(f"{path}: '{shown(name)}' has {info.file_size} bytes, expected at most {max_bytes}")
        with archive.open(info) as file:
            shape, dtype = _header(file)  # pyright: ignore[reportArgumentType]
            if dtype.kind != "O" or len(shape) != axes:
                raise InputError(
                    f"{path}: '{shown(name)}' is {shown(str(dtype))} of shape {shown(shape)}, expected objects"
                )
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise InputError(f"{path}: '{shown(name)}' has more than {max_bytes} bytes")
        return content


def object_entries(
    path: Path, names: Callable[[str], bool], *, max_bytes: int, max_directory: int
) -> Iterator[tuple[str, bytes]]:
    """Name and pickle, unread, of every array of one object without axes whose name is wanted, in the archive's order.

    `max_bytes` is of each, `max_directory` of the table of contents. Raises InputError as `read_object_bytes`.
    """
    with opened_archive(path, max_directory=max_directory) as archive:
        for name, info in _entries(path, archive).items():
            if not names(name):
                continue
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.file_size > max_bytes:
                raise InputError(
                    f"{path}: '{shown(name)}' is packed in an unusual way, or has more than {max_bytes} bytes"
                )
            with archive.open(info) as file:
                shape, dtype = _header(file)  # pyright: ignore[reportArgumentType]
                if dtype.kind != "O" or shape != ():
                    raise InputError(
                        f"{path}: '{shown(name)}' is {shown(str(dtype))} of shape {shown(shape)}, expected an object"
                    )
                yield name, file.read(max_bytes + 1)


def npz_rows(path: Path, names: Collection[str], at_once: int) -> Iterator[dict[str, np.ndarray]]:
    """Rows of the named arrays, so many of each at once, all of them side by side from the first row to the last.

    An array of a million rows is never in memory as a whole. Raises InputError as `read_npz`, and where arrays have
    unequal numbers of rows.
    """
    with opened_archive(path) as archive, ExitStack() as stack:
        entries = _entries(path, archive)
        if missing := [name for name in names if name not in entries]:
            raise InputError(f"{path}: lacks the arrays {missing}")
        streams = {name: _RowStream.of(path, archive, name, entries[name], stack) for name in names}
        counts = {name: stream.shape[0] for name, stream in streams.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"{path}: has arrays of unequal lengths: {counts}")
        for first in range(0, next(iter(counts.values()), 0), at_once):
            yield {name: stream.read(min(at_once, counts[name] - first)) for name, stream in streams.items()}


@dataclass(frozen=True)
class _RowStream:
    """An array of an archive that is read some rows at a time."""

    name: str
    file: Any  # a `zipfile.ZipExtFile`
    shape: tuple[int, ...]
    dtype: np.dtype

    @staticmethod
    def of(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo, stack: ExitStack) -> _RowStream:
        """Behind its header. Raises InputError for an array whose rows do not follow one another."""
        _values_of_header(path, archive, name, info)  # checks it
        file = stack.enter_context(archive.open(info))
        shape, dtype = _header(file)  # pyright: ignore[reportArgumentType]
        with archive.open(info) as again:
            fortran = _is_fortran(again)
        if not shape or (fortran and len(shape) > 1):
            raise InputError(f"{path}: '{shown(name)}' has no rows that follow one another, expected what numpy writes")
        return _RowStream(name, file, shape, dtype)

    def read(self, rows: int) -> np.ndarray:
        """The next rows. Raises ValueError where they are not there."""
        size = rows * math.prod(self.shape[1:]) * self.dtype.itemsize
        parts, left = [], size
        while left and (part := self.file.read(left)):
            parts.append(part)
            left -= len(part)
        if left:
            raise ValueError(f"'{shown(self.name)}' is cut off")
        return np.frombuffer(b"".join(parts), self.dtype).reshape(rows, *self.shape[1:])


def _is_fortran(file: Any) -> bool:
    old = np.lib.format.read_magic(file) == (1, 0)  # pyright: ignore[reportArgumentType]
    reader = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    return bool(reader(file)[1])  # pyright: ignore[reportArgumentType]


def write_npz(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> Path:
    """Write arrays as an archive, whole or not at all. Raises ValueError for objects, which would be pickled."""
    plain = {name: np.asanyarray(array) for name, array in arrays.items()}
    if objects := [name for name, array in plain.items() if array.dtype.hasobject]:
        raise ValueError(f"{path}: {objects} hold objects, expected numbers or text")
    save = np.savez_compressed if compressed else np.savez
    with whole_file(path) as part, part.open("wb") as file:  # by its handle, or numpy would add an ending to the name
        save(file, **plain)  # pyright: ignore[reportArgumentType]
    return path


class _Directory:
    """A file of which no more than the table of contents is read at once, while `opening` it."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file, self.opening, self.most = file, True, most
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        if not self.opening:
            return self.file.read(size)
        content = self.file.read(self.most + 1 if size < 0 else min(size, self.most + 1))
        if len(content) > self.most:
            raise ValueError("its table of contents is too long")
        return content


@contextmanager
def opened_archive(
    path: Path, what: str = "npz archive", *, max_directory: int | None = None
) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose table of contents is not too long; `what` is its meaning, as in "npz archive".

    Raises InputError for whatever is wrong: zipfile, zlib and numpy have a class each for every damage.
    """
    said = f"not {'an' if what.startswith('npz') else 'a'} {what}"
    try:
        require_regular(path)
        with path.open("rb") as file:
            directory = _Directory(file, MAX_DIRECTORY_BYTES if max_directory is None else max_directory)
            with zipfile.ZipFile(directory) as archive:  # pyright: ignore[reportArgumentType]
                directory.opening, said = False, f"damaged {what}"
                yield archive
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: {said} ({_sentence(error)})") from error


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in entries:
            raise InputError(f"{path}: has two arrays '{shown(name)}', expected one")
        entries[name] = info
    return entries


def _values_of_header(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> int:
    """Number of values that an array says to have. Raises InputError where it cannot have them."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python unpacks the others in pieces whose size it does not limit.
        raise InputError(f"{path}: '{shown(name)}' is packed in an unusual way, expected what numpy writes")
    try:
        with archive.open(info) as file:
            shape, dtype = _header(file)  # pyright: ignore[reportArgumentType]
            start = file.tell()
    except Exception as error:  # see `opened_archive`
        raise ValueError(f"'{shown(name)}': {_sentence(error)}") from error
    if dtype.hasobject:
        raise InputError(f"{path}: damaged npz archive ('{shown(name)}' holds objects, read with allow_pickle=False)")
    if dtype.kind not in _KINDS:
        raise InputError(f"{path}: '{shown(name)}' is of type {shown(str(dtype))}, expected numbers or text")
    values = math.prod(shape)
    if values * dtype.itemsize != info.file_size - start or values > info.file_size:
        raise InputError(
            f"{path}: damaged npz archive ('{shown(name)}' has {info.file_size - start} bytes, its header says "
            f"{shown(shape)} of {shown(str(dtype))})"
        )
    return values


def _header(file: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"an array of format {version}, expected 1.0 or 2.0")
    if len(shape) > 32 or any(n < 0 for n in shape):
        raise ValueError(f"an array of shape {shown(shape)}")
    return shape, dtype


def _array(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    try:
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
            file.read(1)  # the end, where the check sum is compared
            return array
    except Exception as error:  # see `opened_archive`
        raise ValueError(f"'{shown(name)}': {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    return shown(" ".join(str(error).split()) or type(error).__name__, 200)
