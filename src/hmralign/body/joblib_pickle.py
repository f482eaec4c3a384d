"""Pickles that joblib wrote: arrays lie in the stream behind the object that describes them.  Source: joblib 0.10-1.6.

    pickle:  ... NumpyArrayWrapper{shape, order, dtype, ...} BUILD | padding | raw numbers | the pickle goes on ...

Nothing is run, as in `body.restricted_pickle`: the wrapper is a recorder, the numbers become an array of checked bytes.
A plain pickle is one without wrappers, so this reads both. Files packed by zlib or gzip, which joblib writes with
`compress`, are unpacked up to a limit; other packings are refused.
"""

from __future__ import annotations

import math
import pickle
import zlib
from pathlib import Path
from typing import Any

from hmralign.body.restricted_pickle import (
    DATA_GLOBALS,
    MAX_VALUES,
    PickledArray,
    PickledInstance,
    Recorder,
    pickled_item_bytes,
)
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.errors import shown

_ZLIB, _GZIP = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), b"\x1f\x8b"
_PACKED_OTHERWISE = {b"BZ": "bzip2", b"\xfd7": "xz", b"\x5d\x00": "lzma", b"\x04\x22": "lz4"}
_BUILD = b"b"[0]
_MOST_PADDING = 255
EXPECTED = "numpy arrays, joblib's of them, and plain containers"


class _Wrapper(PickledInstance):
    """`joblib.numpy_pickle.NumpyArrayWrapper`: what is said of the numbers that follow it."""

    def array(self, stream: Any) -> PickledArray:
        """The array, its numbers taken from the stream. Raises ValueError where they are not all there."""
        shape, order, dtype = self.part("shape"), self.part("order"), self.part("dtype")
        if self.part("subclass") is not PickledArray or order not in ("C", "F"):
            raise ValueError("an array is of no plain kind")
        if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("its shape is no tuple of lengths")
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(f"it has {math.prod(shape)} values, expected at most {MAX_VALUES}")
        size = math.prod(shape) * pickled_item_bytes(dtype)
        alignment = self.state.get("numpy_array_alignment_bytes") if isinstance(self.state, dict) else None
        if alignment is not None:
            length = stream.read(1)
            stream.read(min(length[0], _MOST_PADDING) if length else 0)
        raw = stream.read(size)
        if len(raw) != size:
            raise ValueError(f"it is cut off: {len(raw)} of {size} bytes of an array are there")
        array = PickledArray()
        array.state = (shape, dtype, order == "F", raw)
        return array


class JoblibRecorder(Recorder):
    """A recorder that puts an array in the place of each wrapper, as soon as the wrapper is complete."""

    def load_build(self) -> None:
        """Follow BUILD, whose state completes a wrapper."""
        pickle._Unpickler.dispatch[_BUILD](self)  # pyright: ignore
        top = self.stack[-1]  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(top, _Wrapper):
            self.stack[-1] = top.array(self.stream)  # pyright: ignore[reportAttributeAccessIssue]

    dispatch = Recorder.following(_BUILD, load_build)


_GLOBALS = {
    **DATA_GLOBALS,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
}


def read_joblib(path: Path, what: str, *, max_bytes: int, max_opcodes: int) -> object:
    """What a pickle or a file of joblib holds; `restricted_pickle.pickled_array` turns values in it into arrays.

    `what` is its meaning, as in "tracks of 4D-Humans"; `max_bytes` is the size unpacked. Raises InputError, naming the
    file, where it is missing, too large, damaged, packed in a way that is not read, or names anything else.
    """
    try:
        content = _unpacked(path, read_limited(path, max_bytes), max_bytes)
        return JoblibRecorder(str(path), content, _GLOBALS, EXPECTED, max_opcodes=max_opcodes).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        said = ", ".join(filter(None, [type(error).__name__, shown(str(error), 200)]))
        raise InputError(f"{path}: not {what} ({said})") from error


def _unpacked(path: Path, content: bytes, max_bytes: int) -> bytes:
    if (how := _PACKED_OTHERWISE.get(content[:2])) is not None:
        raise InputError(f"{path}: is packed by {how}, expected a file of joblib without packing, or with zlib or gzip")
    if content[:2] not in (*_ZLIB, _GZIP):
        return content
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    found = unpacker.decompress(content, max_bytes + 1)
    if len(found) > max_bytes:
        raise InputError(f"{path}: unpacks to more than {max_bytes >> 20} MB")
    if not unpacker.eof:
        raise InputError(f"{path}: is cut off, its packed content does not end")
    return found
