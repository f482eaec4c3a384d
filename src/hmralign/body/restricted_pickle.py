"""Arrays out of the pickles in which SMPL-family bodies are released, without running anything in them.

A pickle is a program: it names callables and calls them. Here every name leads to a recorder of ours: the few that
body files need (numpy arrays, sparse matrices of SciPy, chumpy's `Ch` and `Select`, plain containers) note what they
are given, and any other name ends the reading. Neither numpy's nor SciPy's own constructors are reached, because both
trust the state they are handed; arrays are built afterwards, from checked bytes. chumpy is not needed.

A program of a few bytes can also ask for much: the memo lets it name one long text again and again, and a tuple that
holds itself twice, forty levels deep, is never done being hashed. So a pickle has a budget: `MAX_OPCODES` instructions,
and for what calls are handed, twice its own size in texts and as many things; keys are texts and plain numbers.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_PICKLE_BYTES = 1_000_000_000
"""Larger files are refused unread; the largest released body takes a quarter of it."""

MAX_VALUES = 200_000_000
"""Numbers in one array."""

MAX_SPARSE_VALUES = 20_000_000
"""Numbers in one array that is sparse in the file: 55 joints of 100,000 vertices have a quarter of it."""

MAX_OPCODES = 300_000
"""Instructions of one pickle; released bodies have some thousands."""

_DTYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})


class _Dtype:
    """`numpy.dtype(code, align, copy)`; its state only tells the byte order."""

    def __init__(self, code: object, *flags: object):
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class PickledArray:
    """`numpy.ndarray`: shape, dtype, memory order and raw bytes, as the pickle tells them."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array has no state that fits")
        self.state = state[-4:]  # a version number may come first


class PickledInstance:
    """An object that is nothing but its attributes."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def part(self, name: str) -> Any:
        """One attribute. Raises ValueError where there is none."""
        if not isinstance(self.state, dict) or name not in self.state:
            raise ValueError(f"a pickled object lacks its part {name!r}")
        return self.state[name]


class _Csc(PickledInstance):
    """`scipy.sparse.csc_matrix`."""


class _Csr(PickledInstance):
    """`scipy.sparse.csr_matrix`."""


class _Ch(PickledInstance):
    """`chumpy.ch.Ch`: an array `x` with the machinery of differentiation around it."""


class _Select(PickledInstance):
    """`chumpy.reordering.Select`: elements `idxs` of the flattened `a`, in `preferred_shape`."""


class _Function:
    """A callable that a pickle may call but not alter: state is what it would write attributes with."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]):
        self._call = call

    def __call__(self, *args: object) -> object:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a function has no state")


_OBJECT = _Function(lambda: None)


def _new_array(kind: object, *shape_and_code: object) -> PickledArray:
    if kind is not PickledArray:
        raise ValueError("an array is of no plain kind")
    return PickledArray()


def _filled_array(shape: object, dtype: object, fortran: object, raw: object) -> PickledArray:
    array = PickledArray()
    array.state = (shape, dtype, fortran, raw)
    return array


def _new_instance(kind: object, base: object, state: object) -> object:
    """`copyreg._reconstructor`, by which old protocols make an instance of a class."""
    if not (isinstance(kind, type) and issubclass(kind, PickledArray | PickledInstance)) or base is not _OBJECT:
        raise ValueError("an instance is of no known kind")
    return kind()


def _encoded(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise ValueError(f"bytes are encoded as {shown(encoding)}, expected latin1")
    return text.encode("latin1")


def _require_key(key: object) -> None:
    """Raise ValueError for what may take long to hash, or to hash again."""
    if not (type(key) in (str, bytes, float, bool, type(None)) or (type(key) is int and key.bit_length() <= 64)):
        raise ValueError(f"a key is a {type(key).__name__.strip('_')}, expected a text or a number")


def _of_keys(kind: Callable[..., object]) -> Callable[..., object]:
    """A constructor of sets."""

    def make(items: object = ()) -> object:
        if not isinstance(items, _CONTAINERS):
            raise ValueError("a set is made of no container")
        for item in items:
            _require_key(item)
        return kind(items)

    return make


def _of_pairs(kind: Callable[..., object]) -> Callable[..., object]:
    """A constructor of dictionaries."""

    def make(pairs: object = ()) -> object:
        if not isinstance(pairs, _CONTAINERS):
            raise ValueError("a dictionary is made of no container")
        if not isinstance(pairs, dict):
            for key, _ in pairs:
                _require_key(key)
        return kind(pairs)

    return make


def _of_anything(kind: Callable[..., object]) -> Callable[..., object]:
    """A constructor of lists or tuples."""

    def make(items: object = ()) -> object:
        if not isinstance(items, _CONTAINERS):
            raise ValueError("a list is made of no container")
        return kind(items)

    return make


_CONTAINERS = (list, tuple, set, frozenset, dict)


def _globals() -> dict[tuple[str, str], Any]:
    """All that a body file may name -> what stands for it."""
    allowed: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): _Dtype,
        ("chumpy.ch", "Ch"): _Ch,
        ("chumpy", "Ch"): _Ch,
        ("chumpy.reordering", "Select"): _Select,
        ("_codecs", "encode"): _Function(_encoded),
        ("collections", "OrderedDict"): _Function(_of_pairs(OrderedDict)),
    }
    for numpy_core in ("numpy.core", "numpy._core"):
        allowed[f"{numpy_core}.multiarray", "_reconstruct"] = _Function(_new_array)
        allowed[f"{numpy_core}.multiarray", "scalar"] = _Function(
            lambda dtype, raw: _filled_array((), dtype, False, raw)
        )
        allowed[f"{numpy_core}.numeric", "_frombuffer"] = _Function(
            lambda raw, dtype, shape, order: _filled_array(shape, dtype, order == "F", raw)
        )
    for module in ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse._csc"):
        allowed[module, "csc_matrix"] = _Csc
    for module in ("scipy.sparse", "scipy.sparse.csr", "scipy.sparse._csr"):
        allowed[module, "csr_matrix"] = _Csr
    for module in ("copy_reg", "copyreg"):  # Python 2, Python 3
        allowed[module, "_reconstructor"] = _Function(_new_instance)
    for module in ("__builtin__", "builtins"):
        allowed |= {(module, kind.__name__): _Function(_of_keys(kind)) for kind in (set, frozenset)}
        allowed |= {(module, kind.__name__): _Function(_of_anything(kind)) for kind in (list, tuple)}
        allowed[module, "dict"] = _Function(_of_pairs(dict))
        allowed[module, "object"] = _OBJECT
        allowed[module, "bytes"] = _Function(lambda: b"")  # old protocols write only empty bytes this way
    return allowed


_GLOBALS = _globals()
DATA_GLOBALS = {name: made for name, made in _GLOBALS.items() if name[0].split(".")[0] not in ("scipy", "chumpy")}
"""Without what only bodies need."""

_EXPECTED = "numpy arrays, SciPy's sparse matrices, chumpy's Ch and plain containers"


_REFUSED_OPCODES = frozenset(b"PQ\x82\x83\x84\x97\x98")
"""Persistent ids, registered extensions and buffers beside the file: no body has them."""

_BINPERSID = b"Q"[0]

_BYTEARRAY8 = 0x96


def _counted(load: Callable[[Any], None], before: Callable[[Any], None] | None = None) -> Callable[[Any], None]:
    """An instruction that is counted, and checked by what it finds on the stack."""

    def counted(self: Any) -> None:
        self.opcodes += 1
        if self.opcodes > self.most_opcodes:
            raise ValueError(f"it has more than {self.most_opcodes} instructions")
        if before is not None:
            before(self)
        load(self)

    return counted


def _read_bytearray(self: Any) -> None:
    """As the original, which first reserves the claimed size."""
    self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))


def _every_key(step: int) -> Callable[[Any], None]:
    """Checks the keys among what stands on the stack since the last mark."""

    def check(self: Any) -> None:
        for key in self.stack[::step]:
            _require_key(key)

    return check


def _no_key_twice(into: int | None, keys: slice) -> Callable[[Any], None]:
    """Checks that what a dictionary is given is new; it lies at `into` of the stack, or below the last mark."""

    def check(self: Any) -> None:
        there = self.metastack[-1][-1] if into is None else self.stack[into]
        seen = set(there) if isinstance(there, dict) else set()
        for key in self.stack[keys]:
            _require_key(key)
            if key in seen:
                raise ValueError(f"the key {shown(repr(key))} is given twice")
            seen.add(key)

    return check


_CHECKS: dict[int, Callable[[Any], None]] = {
    b"s"[0]: lambda self: _require_key(self.stack[-2]),  # SETITEM
    b"u"[0]: _every_key(2),  # SETITEMS
    b"d"[0]: _every_key(2),  # DICT
    b"\x90"[0]: _every_key(1),  # ADDITEMS
    b"\x91"[0]: _every_key(1),  # FROZENSET
    b"R"[0]: lambda self: self.charge(self.stack[-1]),  # REDUCE
    b"\x81"[0]: lambda self: self.charge(self.stack[-1]),  # NEWOBJ
    b"\x92"[0]: lambda self: self.charge((self.stack[-2], self.stack[-1])),  # NEWOBJ_EX
    b"b"[0]: lambda self: self.charge(self.stack[-1]),  # BUILD
}
"""What is looked at before an instruction is followed."""


class Recorder(pickle._Unpickler):
    """Finds the recorders it is given and nothing else; imports nothing, and keeps to its budget.

    It is the unpickler written in Python, because the one in C reserves memory for whatever size or memo number a few
    damaged bytes claim. Bodies have few opcodes and large strings, so it is hardly slower.

    `names` maps all that the pickle may name to what stands for it, `expected` says in words what that is, `what` is
    how a sentence names the file. `load` raises InputError for any other name, and almost anything for what is damaged.
    """

    dispatch = {  # noqa: RUF012
        code: _counted(_read_bytearray if code == _BYTEARRAY8 else load, _CHECKS.get(code))
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in _REFUSED_OPCODES
    }

    @staticmethod
    def following(opcode: int, load: Callable[[Any], None]) -> dict[int, Callable[[Any], None]]:
        """The instructions of a recorder, counted and checked as here, with one that is followed otherwise."""
        return {**Recorder.dispatch, opcode: _counted(load, _CHECKS.get(opcode))}

    def __init__(
        self,
        what: str,
        content: bytes,
        names: Mapping[tuple[str, str], Any],
        expected: str,
        *,
        max_opcodes: int | None = None,
    ) -> None:
        self.stream = BytesIO(content)
        super().__init__(self.stream, encoding="latin1")
        self.what, self.names, self.expected, self.opcodes = what, names, expected, 0
        self.most_opcodes = MAX_OPCODES if max_opcodes is None else max_opcodes
        self.items_left, self.bytes_left = 2 * self.most_opcodes, 2 * len(content) + self.most_opcodes

    def charge(self, given: object) -> None:
        """Count what a call is given: it copies as much. Raises ValueError where it is beyond the budget."""
        if isinstance(given, tuple):
            self.items_left -= len(given)
        for part in given if isinstance(given, tuple) and self.items_left >= 0 else [given]:
            if isinstance(part, str | bytes | bytearray):
                self.bytes_left -= len(part)
            elif isinstance(part, _CONTAINERS):
                self.items_left -= len(part)
        if min(self.items_left, self.bytes_left) < 0:
            raise ValueError("it repeats more than it holds")

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.charge(tuple(args))
        super()._instantiate(klass, args)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a global of the pickle. Raises InputError for a global that is not needed."""
        if (module, name) not in self.names:
            raise InputError(
                f"{self.what} was refused: it wants to use '{shown(f'{module[:80]}.{name[:80]}')}', expected "
                f"only {self.expected}."
            )
        return self.names[module, name]


class StorageRecorder(Recorder):
    """A recorder of pickles whose numbers lie beside them, as PyTorch's: `persistent` is called with what they name.

    A dictionary that is given a key twice raises ValueError: the last would silently count.
    """

    dispatch = {  # noqa: RUF012
        **Recorder.dispatch,
        _BINPERSID: _counted(pickle._Unpickler.load_binpersid),  # pyright: ignore[reportAttributeAccessIssue]
        b"s"[0]: _counted(pickle._Unpickler.load_setitem, _no_key_twice(-3, slice(-2, None, 2))),  # pyright: ignore
        b"u"[0]: _counted(pickle._Unpickler.load_setitems, _no_key_twice(None, slice(None, None, 2))),  # pyright: ignore
    }

    persistent: Callable[[object], object]

    def persistent_load(self, pid: object) -> object:
        """What stands for numbers beside the pickle."""
        return self.persistent(pid)


def read_pickle(path: Path) -> dict[str, object]:
    """The dictionary in a pickle of Python 2 or 3; `pickled_array` turns its values into arrays.

    Raises:
        InputError: the file is too large, cannot be read, is no dictionary, or wants a global that no body needs.
    """
    raw = b"."
    try:
        if path.stat().st_size > MAX_PICKLE_BYTES:
            raise InputError(f"Body file {path} has {path.stat().st_size} bytes, expected at most {MAX_PICKLE_BYTES}.")
        raw = read_limited(path, MAX_PICKLE_BYTES)
        content = Recorder(f"Body file {path}", raw, _GLOBALS, _EXPECTED).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"Cannot read the body file {path}: {_reason(error, raw)}.") from error
    if not isinstance(content, dict):
        raise InputError(f"Body file {path} holds a {type(content).__name__.strip('_')}, expected a dictionary.")
    return content


def read_object_array(what: str, content: bytes, *, max_opcodes: int) -> list[object]:
    """The items of a pickled one-axis array of objects; `pickled_array` turns values in them into arrays.

    `what` is how a sentence names the file. Raises InputError where it names anything but numpy arrays and plain
    containers, and almost anything for what is damaged or exceeds `max_opcodes` instructions.
    """
    array = Recorder(what, content, DATA_GLOBALS, "numpy arrays and plain containers", max_opcodes=max_opcodes).load()
    if not isinstance(array, PickledArray) or len(array.state) != 4:
        raise ValueError("it holds no array of objects")
    shape, _, _, items = array.state
    if not isinstance(items, list) or shape != (len(items),):
        raise ValueError("its array of objects has another shape than its items")
    return items


def read_data_pickle(path: Path, what: str, *, max_bytes: int, max_opcodes: int) -> object:
    """What a pickle of annotations or results holds: numpy arrays and plain containers, nothing that runs.

    `what` is its meaning, as in "a sequence of 3DPW"; `pickled_array` turns values in it into arrays. Raises
    InputError, naming the file, where it is missing, too large, damaged, or names anything else.
    """
    content = b"."
    try:
        content = read_limited(path, max_bytes)
        return Recorder(str(path), content, DATA_GLOBALS, "numpy arrays and plain containers",
                        max_opcodes=max_opcodes).load()  # fmt: skip
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(f"{path}: not {what} ({_reason(error, content)})") from error


def _reason(error: Exception, content: bytes) -> str:
    """Why a pickle cannot be read; a name alone, such as EOFError, would say nothing to a user."""
    if isinstance(error, EOFError) or not content.endswith(b"."):  # the last instruction of every pickle
        return "the file ends too early: it is cut off, or empty"
    return ", ".join(filter(None, [type(error).__name__, shown(str(error), 200)]))


def read_plain_object(what: str, content: bytes, *, max_opcodes: int) -> object:
    """The one value of a pickled array of objects without axes, as `numpy.savez` writes a dictionary.

    Raises InputError as `read_object_array`, and almost anything for what is damaged.
    """
    array = Recorder(what, content, DATA_GLOBALS, "numpy arrays and plain containers", max_opcodes=max_opcodes).load()
    if not isinstance(array, PickledArray) or len(array.state) != 4 or array.state[0] != ():
        raise ValueError("it holds no single object")
    items = array.state[3]
    if not isinstance(items, list) or len(items) != 1:
        raise ValueError("it holds no single object")
    return items[0]


def is_pickled_array(value: object) -> bool:
    """Whether a value stands for an array, a single number of numpy among them."""
    return isinstance(value, PickledArray)


def pickled_array(value: object) -> np.ndarray:
    """The array that a value of `read_pickle` stands for; sparse ones become dense.

    Raises ValueError, IndexError or TypeError for anything else, and for arrays whose parts do not fit.
    """
    if isinstance(value, PickledArray):
        return _dense(value)
    if isinstance(value, _Ch):
        return _dense(value.part("x"))
    if isinstance(value, _Select):
        source = value.part("a")
        whole = _dense(source.part("x") if isinstance(source, _Ch) else source).ravel()
        return whole[_dense(value.part("idxs"))].reshape(_shape(value.part("preferred_shape")))
    if isinstance(value, _Csc | _Csr):
        return _dense_matrix(value)
    raise ValueError(f"it is a {type(value).__name__.strip('_')}, expected an array")


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > 8 or not all(type(n) is int and 0 <= n < 2**62 for n in value):
        raise ValueError("its shape is no tuple of lengths")
    if math.prod(value) > MAX_VALUES:
        raise ValueError(f"it has {math.prod(value)} values, expected at most {MAX_VALUES}")
    return value


def pickled_item_bytes(dtype: object) -> int:
    """Bytes of one number of an array. Raises ValueError for what is no type of plain numbers."""
    return _plain_dtype(dtype).itemsize


def _plain_dtype(dtype: object) -> np.dtype:
    code, order = (dtype.code, dtype.order) if isinstance(dtype, _Dtype) else (None, None)
    if (
        not isinstance(code, str)
        or code not in _DTYPES
        or not isinstance(order, str)
        or order not in ("<", ">", "=", "|")
    ):
        raise ValueError("it holds no plain numbers")
    return np.dtype(code).newbyteorder(order)


def _dense(array: object) -> np.ndarray:
    if not isinstance(array, PickledArray) or len(array.state) != 4:
        raise ValueError("an array was expected")
    shape, dtype, fortran, raw = array.state
    shape = _shape(shape)
    plain = _plain_dtype(dtype)
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes | bytearray):
        raise ValueError("its content is no bytes")
    if len(raw) != math.prod(shape) * plain.itemsize:
        raise ValueError(f"it has {counted(len(raw), 'byte')}, expected {math.prod(shape) * plain.itemsize}")
    return np.frombuffer(bytearray(raw), plain).reshape(shape, order="F" if fortran else "C")


def _dense_matrix(matrix: _Csc | _Csr) -> np.ndarray:
    shape = _shape(matrix.part("_shape"))
    values, minor, starts = (_dense(matrix.part(name)) for name in ("data", "indices", "indptr"))
    major_axis = 1 if isinstance(matrix, _Csc) else 0
    if (
        len(shape) != 2
        or values.ndim != 1
        or values.shape != minor.shape
        or starts.shape != (shape[major_axis] + 1,)
        or minor.dtype.kind not in "iu"
        or starts.dtype.kind not in "iu"
    ):
        raise ValueError("it is no sparse matrix: the lengths of its parts do not fit")
    if math.prod(shape) > MAX_SPARSE_VALUES:
        raise ValueError(f"it is sparse and has {math.prod(shape)} values, expected at most {MAX_SPARSE_VALUES}")
    lengths = np.diff(starts.astype(np.int64))
    inside = ((minor >= 0) & (minor < shape[1 - major_axis])).all()
    if starts[0] != 0 or starts[-1] != len(values) or (lengths < 0).any() or not inside:
        raise ValueError("it is no sparse matrix: an index points outside")
    major = np.repeat(np.arange(len(lengths)), lengths)
    dense = np.zeros(shape)
    np.add.at(dense, (minor, major) if major_axis == 1 else (major, minor), values)
    return dense
