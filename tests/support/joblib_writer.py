"""Files as joblib writes them (0.10 to 1.6), without joblib: numbers of an array follow what describes it."""

import io
import pickle
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np


class NumpyArrayWrapper:
    """Stands for joblib's own class, under whose name it is pickled."""


NumpyArrayWrapper.__module__, NumpyArrayWrapper.__qualname__ = "joblib.numpy_pickle", "NumpyArrayWrapper"


PythonPickler: Any = pickle._Pickler  # pyright: ignore[reportAttributeAccessIssue]


class _Pickler(PythonPickler):  # the one written in Python, whose saving can be followed
    def __init__(self, file: io.BytesIO, protocol: int, alignment: int | None) -> None:
        super().__init__(file, protocol)
        self.stream, self.alignment = file, alignment
        self.wrappers: list[NumpyArrayWrapper] = []

    def save(self, obj, save_persistent_id=True):
        if type(obj) is not np.ndarray or obj.dtype.hasobject:
            return super().save(obj, save_persistent_id)
        wrapper: Any = NumpyArrayWrapper()
        fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        vars(wrapper).update(
            subclass=np.ndarray, shape=obj.shape, order="F" if fortran else "C", dtype=obj.dtype, allow_mmap=True
        )
        if self.alignment is not None:
            wrapper.numpy_array_alignment_bytes = self.alignment
        super().save(wrapper, save_persistent_id)
        self.wrappers.append(wrapper)  # an object that were gone could give its number in the memo to another
        if self.proto >= 4:
            self.framer.commit_frame(force=True)
        if self.alignment is not None:
            padding = self.alignment - (self.stream.tell() + 1) % self.alignment
            self.stream.write(bytes([padding]) + b"\xff" * padding)
        self.stream.write(obj.tobytes(order="F" if fortran else "C"))


def joblib_bytes(content: object, *, protocol: int = 4, alignment: int | None = 16) -> bytes:
    """What joblib's `dump` writes, unpacked."""
    modules = {name: types.ModuleType(name) for name in ("joblib", "joblib.numpy_pickle")}
    modules["joblib.numpy_pickle"].NumpyArrayWrapper = NumpyArrayWrapper  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        file = io.BytesIO()
        _Pickler(file, protocol, alignment).dump(content)
        return file.getvalue()
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def dump(content: object, path: Path, *, compress: bool = False, **options) -> Path:
    """Write a file."""
    raw = joblib_bytes(content, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(raw, 3) if compress else raw)
    return path
