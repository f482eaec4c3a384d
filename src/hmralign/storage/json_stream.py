"""Items of the lists of a large JSON file, one after the other: memory is that of the largest item.

Annotation files of published data sets are one object with lists of some hundred thousand records and some hundred
megabytes. Parsed whole they take gigabytes. Here the text is cut where an item of a top list begins and ends, which
needs no more than quotes and brackets; each piece is then parsed alone.

Where it can be seen where an item ends (`}, {`), some hundred items are parsed together and no bracket is looked at: a
text that is a whole list when brackets are put around it was cut between items, and what follows the cut is the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from hmralign.storage.json_file import JsonLimits, parse_json
from hmralign.storage.limited_file import require_regular
from hmralign.structures.errors import InputError, shown

MAX_FILE_BYTES = 16 * 2**30
MAX_ITEM_BYTES = 4 * 2**20
_ITEM = JsonLimits(max_bytes=MAX_ITEM_BYTES, max_depth=64)

_CHUNK = 2**18
_MANY_TRIES = 3
"""So many pieces in a row that are no whole items, and no more are parsed together: the file is of another kind."""
_BRACKETS_BACK, _SPACES = 64, 64
"""How far the end of an item is looked for, and the spaces that may stand between two."""
_QUOTE, _BACKSLASH = (ord(c) for c in '"\\')
_STEP = np.zeros(256, np.int8)
_STEP[[ord("["), ord("{")]], _STEP[[ord("]"), ord("}")]] = 1, -1
_MARKS = _STEP != 0
_MARKS[_QUOTE] = True


@dataclass(frozen=True)
class Item:
    """One item of a list of the file."""

    key: str
    """The list's key in the top object; empty where the file is one list."""
    number: int
    """Its place in the list, from 0."""
    value: Any


def json_items(
    path: Path, what: str, keys: Collection[str] | None = None, *, to_the_end: bool = True
) -> Iterator[Item]:
    """Items of the lists under `keys` of the top object (all lists where None), or of a file that is one list.

    `what` is the file's meaning, as in "annotations of 3DPW". Without `to_the_end` what follows the last of the lists
    is not looked at. Raises InputError naming the file, and the item where one is wrong: no JSON, cut off, too large,
    a key that is given twice.
    """
    try:
        require_regular(path)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: has more than {MAX_FILE_BYTES >> 30} GB")
        yield from _items(path, what, keys, to_the_end)
    except OSError as error:
        raise InputError(f"{path}: not {what} ({error.strerror or error})") from error


def _items(path: Path, what: str, keys: Collection[str] | None, to_the_end: bool) -> Iterator[Item]:
    cutter, failed = _Cutter(path, what, keys), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if cutter.in_wanted_list and failed < _MANY_TRIES:
                chunk = cutter.taken_back() + chunk
                values, chunk = _whole_items(chunk)
                failed = 0 if values else failed + 1
                yield from (Item(cutter.key, number, value) for number, value in enumerate(values, cutter.number))
                cutter.number += len(values)
            for key, number, text in cutter.feed(chunk):
                try:
                    yield Item(key, number, _parsed(text))
                except ValueError as error:
                    raise InputError(f"{path}: item {number} of '{shown(key)}' is no JSON ({error})") from error
            if not to_the_end and keys is not None and cutter.closed.issuperset(keys):
                return
    cutter.finish()


def _whole_items(text: bytes) -> tuple[list[Any], bytes]:
    """Items at the beginning of what stands between the brackets of a list, and the text from the next one on.

    No items where the last `}, {` is not between two of them, where the careful reader has something to say of one, and
    where one may be too large.
    """
    end = _last_between(text)
    if not 0 < end <= MAX_ITEM_BYTES:
        return [], text
    piece = text[:end].lstrip(b", \t\r\n")
    try:
        values = from_json(b"[" + piece + b"]", allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return [], text
    if not all(isinstance(value, dict | list) for value in values) or piece.count(b'":') != _keys_in(values):
        return [], text
    return values, text[end:]


def _last_between(text: bytes) -> int:
    """Where the comma of the last `}, {` is; -1 where there is none among the last opening brackets."""
    opening = len(text)
    for _ in range(_BRACKETS_BACK):
        opening = text.rfind(b"{", 0, opening)
        before = text[max(0, opening - _SPACES) : max(0, opening)].rstrip()
        if before.endswith(b",") and before[:-1].rstrip().endswith(b"}"):
            return opening - _SPACES + before.rfind(b",") if opening >= _SPACES else before.rfind(b",")
    return -1


def _parsed(text: bytes) -> Any:
    """One item. Pydantic's parser is ten times as fast as the careful reader of `json_file`; what is made of numbers is
    checked where they are used. It takes the last of a key that comes twice: where there are more keys in the text than
    in the value, or they cannot be told by a count, the careful reader reads the item, and refuses such a key.

    Raises ValueError for no JSON, NaN, what is nested too deeply, and a key that is given twice."""
    if len(text) > MAX_ITEM_BYTES:
        raise ValueError(f"it has more than {MAX_ITEM_BYTES >> 20} MB")
    value = from_json(text, allow_inf_nan=False, cache_strings="keys")
    return value if text.count(b'":') == _keys_in(value) else parse_json(text, _ITEM)


def _keys_in(value: Any) -> int:
    """Keys of all objects in a value. Lists of numbers, and lists of such lists, are known by their first item: where
    an object stands further behind, fewer keys are found than the text has."""
    if isinstance(value, dict):
        return len(value) + sum([_keys_in(part) for part in value.values() if isinstance(part, dict | list)])
    if not value or not isinstance(first := value[0], dict | list):
        return 0
    if isinstance(first, list) and not (first and isinstance(first[0], dict | list)):
        return 0
    return sum([_keys_in(part) for part in value if isinstance(part, dict | list)])


class _Cutter:
    """Cuts a text into the items of its top lists; it is fed piece by piece."""

    def __init__(self, path: Path, what: str, keys: Collection[str] | None) -> None:
        self.path, self.what, self.keys = path, what, keys
        self.text, self.depth, self.quoted = b"", 0, False
        """What is not cut yet, and how deep, and whether inside of a text, its end is."""
        self.top: int | None = None
        """Depth of the items of a list: 2 in an object of lists, 1 in a list."""
        self.key, self.in_list, self.number, self.ended = "", False, 0, False
        self.seen: set[str] = set()
        """Keys of the top object whose values are lists or objects."""
        self.closed: set[str] = set()
        """Those of them that have ended."""

    @property
    def in_wanted_list(self) -> bool:
        """Whether the end of what was fed is in a list whose items are asked for."""
        return self.in_list and (self.keys is None or self.key in self.keys)

    def taken_back(self) -> bytes:
        """What was fed of an item that has not ended: it is as if only the items before it had been."""
        text, self.text, self.quoted = self.text, b"", False
        self.depth = self.top or 0
        return text

    def feed(self, chunk: bytes) -> Iterator[tuple[str, int, bytes]]:
        """Items that end in this piece."""
        if self.top is None:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
            if chunk[:1] not in (b"{", b"["):
                raise InputError(f"{self.path}: not {self.what} (it begins with neither an object nor a list)")
            self.top = 2 if chunk[:1] == b"{" else 1
        known = len(self.text)
        self.text += chunk
        if len(self.text) > MAX_ITEM_BYTES + 2 * _CHUNK:
            raise InputError(
                f"{self.path}: item {self.number} of '{shown(self.key)}' has more than {MAX_ITEM_BYTES >> 20} MB"
            )
        done = 0
        for place, depth, opens in self._brackets(known):
            done, item = self._bracket(place, depth, opens, done)
            if item is not None and (self.keys is None or self.key in self.keys):
                yield self.key, self.number - 1, item
        self.text = self.text[done:]

    def _brackets(self, start: int) -> list[tuple[int, int, bool]]:
        """Places of brackets near the top of what is new, the depth outside of each, and whether it opens."""
        raw = np.frombuffer(self.text, np.uint8)[start:]
        marks = np.flatnonzero(_MARKS[raw])  # quotes and brackets, some per cent of the text
        found = raw[marks]
        quotes = found == _QUOTE
        if b"\\" in self.text:
            quotes &= ~self._escaped(start)[marks]
        inside = (np.cumsum(quotes) + self.quoted) % 2 == 1  # true from an opening quote to before its end
        step = np.where(inside, 0, _STEP[found])
        depth = self.depth + np.cumsum(step, dtype=np.int64)
        outer = np.where(step > 0, depth - 1, depth)
        assert self.top is not None
        near = np.flatnonzero((step != 0) & (outer <= self.top))
        if len(marks):
            self.quoted, self.depth = bool(inside[-1]), int(depth[-1])
            if (depth < 0).any():
                raise InputError(f"{self.path}: not {self.what} (a bracket is closed that was not opened)")
        return [(start + int(marks[i]), int(outer[i]), bool(step[i] > 0)) for i in near]

    def _escaped(self, start: int) -> np.ndarray:
        """Which bytes of what is new stand behind an odd number of backslashes."""
        raw = np.frombuffer(self.text, np.uint8)
        back = raw == _BACKSLASH
        last_other = np.maximum.accumulate(np.where(back, -1, np.arange(len(raw))))
        run = np.arange(len(raw)) - last_other  # backslashes that end here
        escaped = np.zeros(len(raw), bool)
        escaped[1:] = run[:-1] % 2 == 1
        return escaped[start:]

    def _bracket(self, place: int, depth: int, opens: bool, done: int) -> tuple[int, bytes | None]:
        """What a bracket near the top means; how far the text is done with, and an item that has ended."""
        if depth == 0:
            self.ended = not opens
            if self.top == 1:
                self.in_list = opens
            return (place + 1 if opens else done), None
        if self.top == 2 and depth == 1:
            if not opens:
                self._require_nothing(self.text[done:place])
            if opens:
                self.key = self._key_before(self.text[done:place])
                if self.key in self.seen:
                    raise InputError(f"{self.path}: not {self.what} (the key '{shown(self.key)}' is given twice)")
                self.seen.add(self.key)
                self.in_list, self.number = self.text[place : place + 1] == b"[", 0
            else:
                self.in_list = False
                self.closed.add(self.key)
            return place + 1, None
        if depth != self.top or not self.in_list:
            return done, None
        if opens:
            self._require_nothing(self.text[done:place])
            return place, None
        item = self.text[done : place + 1]
        self.number += 1
        return place + 1, item

    def _require_nothing(self, text: bytes) -> None:
        """Raise InputError where something stands between the items of a list that is no object and no list."""
        wanted = self.keys is None or self.key in self.keys
        if self.in_list and wanted and (other := text.strip(b", \t\r\n")):
            raise InputError(
                f"{self.path}: item {self.number} of '{shown(self.key)}' is "
                f"{shown(other.decode('utf-8', 'replace'), 40)}, expected an object"
            )

    def _key_before(self, text: bytes) -> str:
        """The key that stands before a list."""
        parts = text.rstrip().removesuffix(b":").rstrip().rsplit(b'"', 2)
        return parts[1].decode("utf-8", "replace")[:200] if len(parts) == 3 else ""

    def finish(self) -> None:
        """Raise InputError for a file that was cut off, which a download that was broken off leaves."""
        if self.depth != 0 or self.quoted or not self.ended:
            raise InputError(f"{self.path}: not {self.what} (it is cut off: the last bracket is missing)")
