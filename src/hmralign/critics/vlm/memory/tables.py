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
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmralign.structures import InputError

FORMAT_VERSION = 1
APPLICATION_ID = 0x484D524D
"""Marks an SQLite file as a memory."""
BUSY_SECONDS = 30.0
"""How long one process waits for another that is writing."""

Kind = Literal["text", "number", "whole", "list", "bytes"]
_SQL: dict[Kind, str] = {"text": "TEXT", "number": "REAL", "whole": "INTEGER", "list": "TEXT", "bytes": "BLOB"}


@dataclass(frozen=True)
class Column:
    """A column; a `list` is kept as JSON."""

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
        if self.kind == "list":
            return isinstance(value, list)
        types = {"text": str, "number": (int, float), "whole": int, "bytes": bytes}
        return isinstance(value, types[self.kind]) and not isinstance(value, bool)


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
        values = [json.dumps(row[c.name]) if c.kind == "list" else row[c.name] for c in self.columns]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {self.name} VALUES ({marks})", values)

    def rows(self, connection: sqlite3.Connection, where: str = "", values: tuple = ()) -> Iterator[dict[str, Any]]:
        """Rows by name, in the order of the key."""
        names = ", ".join(c.name for c in self.columns)
        query = f"SELECT {names} FROM {self.name} {where} ORDER BY {', '.join(self.key)}"
        for row in connection.execute(query, values):
            yield {c.name: json.loads(v) if c.kind == "list" else v for c, v in zip(self.columns, row, strict=True)}


_C = Column
FACT = Table("fact", (_C("name"), _C("value")), ("name",))
EPISODE = Table(
    "episode",
    (
        _C("id"), _C("time"), _C("judge"), _C("sequence"), _C("group_size", "whole"), _C("rho", "number"),
        _C("threshold", "number"), _C("scores", "list"), _C("errors", "list"), _C("shown", "list"),
        _C("journal_keys", "list"),
    ),
    ("id",),
)  # fmt: skip
EPISODE_IMAGE = Table("episode_image", (_C("image"), _C("episode", refers="episode(id)")), ("image", "episode"))
RULE = Table(
    "rule",
    (
        _C("id"),
        _C("text"),
        _C("tags", "list"),
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
        _C("score", "number"), _C("tags", "list"), _C("embedding", "bytes", optional=True),
        _C("photo", optional=True, refers="tile(sha256)"), _C("overlay", optional=True, refers="tile(sha256)"),
    ),
    ("id",),
)  # fmt: skip
TABLES = (FACT, EPISODE, EPISODE_IMAGE, RULE, RULE_USE, CONFLICT, RETIRED, TILE, PROTOTYPE)
"""In an order in which rows may be inserted."""


def connect(path: Path, *, read_only: bool, immutable: bool) -> sqlite3.Connection:
    """Open the file; one that is `immutable` is written by nobody, and has no lock."""
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, uri=True)


def prepare(connection: sqlite3.Connection, path: Path, *, create: bool) -> None:
    """Check that this is a memory that can be read, or make an empty one. Nothing is written to any other file.

    Raises InputError for a newer version, a file of something else, and a damaged one.
    """
    connection.execute("PRAGMA foreign_keys = ON")
    empty = _is_empty(connection, path)
    if empty and not create:
        raise InputError(f"{path} is an empty file; expected a memory")
    if create:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if _is_empty(connection, path):
            _create(connection)
        connection.execute("COMMIT")
    trouble = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if trouble != "ok":
        raise InputError(f"the memory {path} is damaged: {trouble.splitlines()[-1]}")


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application != APPLICATION_ID and (application or tables):
        raise InputError(f"{path} is an SQLite file of something else; expected a memory")
    if version > FORMAT_VERSION:
        raise InputError(f"{path} is a memory of version {version}; this program reads up to {FORMAT_VERSION}")
    return not tables


def _create(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(table.sql)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system name the memory."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(f"the memory {path} cannot be used: {error}") from error
    except (sqlite3.DatabaseError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the memory {path} is damaged, or is no memory: {error}") from error
    except OSError as error:
        raise InputError(f"the memory {path} cannot be opened: {error.strerror}") from error
