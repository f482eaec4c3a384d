"""The tables of a memory file, described once: creation, content hash, export and import follow from it.

| table | a row |
| --- | --- |
| `fact` | what holds for all of it: space of the embeddings, hash of a frozen memory |
| `episode`, `episode_image` | a judged group, and the photos it is about |
| `rule`, `retired`, `conflict` | a sentence; that it is no longer shown; that two say the opposite |
| `rule_use` | append-only: a rule was shown in an episode, and what came of it. Counters are sums over it |
| `prototype`, `tile` | a remembered case; its pictures under the hash of their content |
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmralign.storage import sqlite_file
from hmralign.storage.json_file import JsonError, parse_json
from hmralign.storage.sqlite_file import SQLiteForm

FORMAT_VERSION = 1
APPLICATION_ID = 0x484D524D
"""Marks an SQLite file as a memory."""

Kind = Literal["text", "number", "whole", "texts", "numbers", "bytes"]
_SQL: dict[Kind, str] = {
    "text": "TEXT", "number": "REAL", "whole": "INTEGER", "texts": "TEXT", "numbers": "TEXT", "bytes": "BLOB",
}  # fmt: skip
_TYPES: dict[Kind, tuple[type, ...]] = {"text": (str,), "number": (int, float), "whole": (int,), "bytes": (bytes,)}
_LARGEST = 1 << 63
"""Whole number that SQLite can hold; JSON can hold others."""
_ITEMS: dict[Kind, Kind] = {"texts": "text", "numbers": "number"}
"""Lists, by the kind of what is in them."""


@dataclass(frozen=True)
class Column:
    """A column; lists are kept as JSON. Numbers are finite."""

    name: str
    kind: Kind = "text"
    optional: bool = False
    refers: str = ""
    """`table(column)` that has to hold the value."""

    @property
    def sql(self) -> str:
        """As in CREATE TABLE."""
        refers = f" REFERENCES {self.refers}" if self.refers else ""
        return f"{self.name} {_SQL[self.kind]}{'' if self.optional else ' NOT NULL'}{refers}"

    def fits(self, value: Any) -> bool:
        """Whether a value read from a file of somebody else's may stand here."""
        if value is None:
            return self.optional
        if self.kind in _ITEMS:
            return isinstance(value, list) and all(_is(item, _ITEMS[self.kind]) for item in value)
        return _is(value, self.kind)

    def stored(self, value: Any) -> Any:
        """A value as it stands in the file."""
        return json.dumps(value) if self.kind in _ITEMS else value

    def loaded(self, stored: Any) -> Any:
        """A value from what stands in the file. Raises ValueError for what this program does not write there."""
        try:
            value = parse_json(stored) if self.kind in _ITEMS and isinstance(stored, str) else stored
        except JsonError as error:
            raise ValueError(f"a '{self.name}' is no JSON") from error
        if not self.fits(value):
            raise ValueError(f"a '{self.name}' is {str(value)[:40]!r}, expected {self.kind}")
        return value


def _is(value: Any, kind: Kind) -> bool:
    if isinstance(value, float):
        return kind == "number" and math.isfinite(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) > _LARGEST):
        return False
    return isinstance(value, _TYPES[kind])


@dataclass(frozen=True)
class Table:
    """A table with its primary key."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def sql(self) -> str:
        """CREATE TABLE."""
        columns = ", ".join(column.sql for column in self.columns)
        return f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)}))"

    def insert(self, connection: sqlite3.Connection, row: dict[str, Any]) -> None:
        """One row, by name."""
        values = [column.stored(row[column.name]) for column in self.columns]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {self.name} VALUES ({marks})", values)

    def rows(self, connection: sqlite3.Connection, where: str = "", values: tuple = ()) -> Iterator[dict[str, Any]]:
        """Rows by name, in the order of the key. Raises ValueError for a value that this program does not write."""
        names = ", ".join(c.name for c in self.columns)
        query = f"SELECT {names} FROM {self.name} {where} ORDER BY {', '.join(self.key)}"
        for row in connection.execute(query, values):
            yield {column.name: column.loaded(value) for column, value in zip(self.columns, row, strict=True)}


_C = Column
FACT = Table("fact", (_C("name"), _C("value")), ("name",))
EPISODE = Table(
    "episode",
    (
        _C("id"), _C("time"), _C("judge"), _C("sequence"), _C("group_size", "whole"), _C("rho", "number"),
        _C("threshold", "number"), _C("scores", "numbers"), _C("errors", "numbers"), _C("shown", "texts"),
        _C("journal_keys", "texts"),
    ),
    ("id",),
)  # fmt: skip
EPISODE_IMAGE = Table("episode_image", (_C("image"), _C("episode", refers="episode(id)")), ("image", "episode"))
RULE = Table(
    "rule",
    (
        _C("id"),
        _C("text"),
        _C("tags", "texts"),
        _C("episode", optional=True, refers="episode(id)"),
        _C("author"),
        _C("time"),
    ),
    ("id",),
)
RULE_USE = Table(
    "rule_use",
    (
        _C("episode", refers="episode(id)"),
        _C("rule", refers="rule(id)"),
        _C("outcome", "whole"),
        _C("control", "number", optional=True),
    ),
    ("episode", "rule"),
)
CONFLICT = Table("conflict", (_C("first", refers="rule(id)"), _C("second", refers="rule(id)")), ("first", "second"))
RETIRED = Table("retired", (_C("rule", refers="rule(id)"), _C("reason"), _C("time")), ("rule",))
TILE = Table("tile", (_C("sha256"), _C("data", "bytes")), ("sha256",))
PROTOTYPE = Table(
    "prototype",
    (
        _C("id"), _C("episode", refers="episode(id)"), _C("hypothesis", "whole"), _C("reasoning"),
        _C("score", "number"), _C("tags", "texts"), _C("embedding", "bytes", optional=True),
        _C("photo", optional=True, refers="tile(sha256)"), _C("overlay", optional=True, refers="tile(sha256)"),
    ),
    ("id",),
)  # fmt: skip
TABLES = (FACT, EPISODE, EPISODE_IMAGE, RULE, RULE_USE, CONFLICT, RETIRED, TILE, PROTOTYPE)
"""In an order in which rows may be inserted."""


FORM = SQLiteForm("memory", APPLICATION_ID, FORMAT_VERSION, tuple(table.sql for table in TABLES))
"""What `storage.sqlite_file` opens and checks."""


def naming(path: Path) -> AbstractContextManager[None]:
    """Errors of SQLite, of the file system and of values that cannot be read name the memory, as InputErrors."""
    return sqlite_file.naming(path, FORM.noun)
