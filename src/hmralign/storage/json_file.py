"""JSON that anybody may have made: bytes, depth and number of values are counted before it is parsed.

`json.loads` takes what it is given: 200,000 brackets end its recursion, a key that is given twice silently loses a
value, and `NaN`, which is no JSON, is a number. Everything that comes from a file goes through here instead.

| what is read                        | with               | wrong content raises                                |
| ----------------------------------- | ------------------ | --------------------------------------------------- |
| a file                              | `read_json`        | InputError: `<path>: not <what> (<reason>)`         |
| a record with a version             | `read_record`      | the same, and for another version                   |
| a file with a value in each line    | `read_json_lines`  | InputError: `<path>: line 3 is no <what> (<reason>)` |
| text from elsewhere, such as a header | `parse_json`     | JsonError: the reason alone                         |
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from hmralign.storage.limited_file import read_limited, require_regular
from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError, shown

LONGEST_NUMBER = 300
"""Digits in a row of a number: longer ones do not survive as floating-point numbers."""

_CHUNK = 2**20
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_STEPS = bytes.maketrans(b"[{]}", b"\1\1\xff\xff")
"""A bracket as the signed byte by which it changes the depth."""
_NOT_BRACKETS = bytes(c for c in range(256) if c not in b"[]{}")


@dataclass(frozen=True)
class JsonLimits:
    """How much is parsed."""

    max_bytes: int = 16 * 2**20
    max_depth: int = 32
    """Lists and objects inside of each other."""
    max_values: int = 1_000_000
    """Numbers, texts, lists and objects, all together."""
    max_digits: int = LONGEST_NUMBER
    """Digits in a row of a number."""


@dataclass(frozen=True)
class LineLimits:
    """How much is read of a file with a value in each line."""

    max_bytes: int = 512 * 2**20
    max_lines: int = 4_000_000
    line: JsonLimits = JsonLimits(max_bytes=2**20, max_values=100_000)


RECORD = JsonLimits()
"""Records, plans, reports: larger than any that the package writes."""
HEADER = JsonLimits(max_bytes=2**20, max_values=10_000)
"""Configurations in the headers of checkpoints, and settings."""
REPLY = JsonLimits(max_digits=4300)
"""What servers say: a count of tokens may be absurd, and the answer beside it is still one. Python reads no more."""
LINES = LineLimits()


class JsonError(ValueError):
    """Content is no JSON within the limits; its text says why."""


class Line(NamedTuple):
    """A line of a file."""

    number: int
    """Counted from 1."""
    value: Any
    end: int
    """Bytes up to the end of this line."""


def parse_json(content: bytes | str, limits: JsonLimits = RECORD, *, nan: bool = False) -> Any:
    """The value that a text stands for.

    Raises JsonError for what is no JSON, is not UTF-8, gives a key twice, exceeds the limits, has a number of more
    digits than the limits allow, or, without `nan`, one that is not finite.
    """
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(data) > limits.max_bytes:
        raise JsonError(f"it has {counted(len(data), 'byte')}, expected at most {limits.max_bytes}")
    _count(data, limits)
    try:
        text = content if isinstance(content, str) else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"it is not UTF-8 text, byte {error.start} is wrong") from error
    finite: dict[str, Any] = {} if nan else {"parse_float": _finite, "parse_constant": _not_finite}
    try:
        return json.loads(text, object_pairs_hook=_unique, **finite)
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg}: line {error.lineno} column {error.colno}") from error


def read_json(path: Path, what: str, limits: JsonLimits = RECORD, *, nan: bool = False) -> Any:
    """The value in a file; `what` is the file's meaning, as in "the plan of a cleaning". Raises InputError."""
    try:
        return parse_json(read_limited(path, limits.max_bytes), limits, nan=nan)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: not {what} ({error.strerror or error})") from error
    except JsonError as error:
        raise InputError(f"{path}: not {what} ({error})") from error


def read_record(
    path: Path, what: str, version: int, limits: JsonLimits = RECORD, *, key: str = "format_version"
) -> dict[str, Any]:
    """The object in a file that says its version. Raises InputError as `read_json`, and for any other version."""
    record = read_json(path, what, limits)
    require_version(record, version, str(path), key=key)
    return record


def require_version(record: object, version: int, where: str, *, key: str = "format_version") -> None:
    """Raise InputError unless a value from a file is an object of this version."""
    found = record.get(key) if isinstance(record, dict) else None
    if type(found) is not int or found != version:
        raise InputError(f"{where}: format version {shown(found)}, this program reads {version}")


def read_json_lines(
    path: Path, what: str, limits: LineLimits = LINES, *, cut: bool = False, nan: bool = False
) -> Iterator[Line]:
    """The value of each line, one after the other; `what` is a line's meaning, as in "verdict".

    With `cut`, a last line without its end, which a kill leaves, is left out. Raises InputError naming the line.
    """
    end = 0
    for number, line in enumerate(_lines(path, what, limits, cut), start=1):
        end += len(line)
        try:
            yield Line(number, parse_json(line, limits.line, nan=nan), end)
        except JsonError as error:
            raise InputError(f"{path}: line {number} is no {what} ({error})") from error


def _lines(path: Path, what: str, limits: LineLimits, cut: bool) -> Iterator[bytes]:
    """Lines with their ends. A line that is too long is given with one byte too much."""
    require_regular(path)
    try:
        with path.open("rb") as file:
            read = 0
            for number in range(1, limits.max_lines + 2):
                line = file.readline(limits.line.max_bytes + 1)
                read += len(line)
                if not line or (cut and not line.endswith(b"\n") and len(line) <= limits.line.max_bytes):
                    return
                if number > limits.max_lines or read > limits.max_bytes:
                    raise InputError(
                        f"{path}: has more than {counted(limits.max_lines, 'line')} or {limits.max_bytes} "
                        "bytes, expected fewer"
                    )
                yield line
    except OSError as error:
        raise InputError(f"{path}: cannot be read as lines of {what} ({error.strerror or error})") from error


def _count(data: bytes, limits: JsonLimits) -> None:
    """Raise JsonError where there is more than the limits allow; needs little more memory than the content has."""
    opened = data.count(b"[") + data.count(b"{")
    few = opened <= limits.max_depth and opened + data.count(b",") < limits.max_values
    digits = limits.max_digits
    if few and (len(data) <= digits or not _has_long_number(data, digits)):
        return  # even if all of them were outside of texts
    values, texts, depth, tail = 1, 0, 0, b""
    for outside, quotes in _outside_of_texts(data):
        if _has_long_number(tail + outside, digits):
            raise JsonError(f"a number has more than {digits} digits")
        tail = outside[-digits:]
        texts += quotes
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if max(values, texts // 4) > limits.max_values:  # an entry of an object has at most two texts, four quotes
            raise JsonError(f"it has more than {limits.max_values} values")
        depths = list(accumulate(array("b", outside.translate(_STEPS, _NOT_BRACKETS)), initial=depth))
        if max(depths) > limits.max_depth:
            raise JsonError(f"it is nested deeper than {limits.max_depth}")
        depth = depths[-1]


def _outside_of_texts(data: bytes) -> Iterator[tuple[bytes, int]]:
    """What stands outside of quotation marks, in pieces, and the number of quotation marks in each."""
    start, inside = 0, False
    while start < len(data):
        piece = data[start : start + _CHUNK]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = data[start : start + len(piece) + 1]  # no escape is cut in two
        start += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b'"'.join(parts[inside::2]), len(parts) - 1
        inside = inside != bool((len(parts) - 1) % 2)


def _has_long_number(data: bytes, digits: int) -> bool:
    return b"0" * (digits + 1) in data.translate(_ZEROS)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise JsonError(f"the key '{shown(twice)}' is given twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> Any:
    raise JsonError(f"a number is {shown(text)}, expected finite ones")
