"""SQLite files that are opened only after they were checked: damaged, hostile and foreign ones are refused by name.

SQLite runs what a file says: a view in the place of a table can be a query without end, a trigger writes what nobody
asked for, and one blob can be larger than the machine's memory. So a file is opened in this order, each step under a
limit of time: (1) whose file it is and of which version; (2) its schema is exactly the one this program writes, table
by table, with no view and no trigger; (3) `PRAGMA quick_check` finds its pages whole. No value longer than
`MOST_BYTES` is read afterwards. Nothing is written to a file that fails.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmralign.structures.errors import InputError

BUSY_SECONDS = 30.0
"""How long one process waits for another that is writing."""
MOST_BYTES = 64 << 20
"""Longest row that is read or written, bytes. Enforced by SQLite from Python 3.11 on."""
CHECK_SECONDS = 60.0
"""How long a file is checked before it is given up, besides a second for each `CHECK_BYTES` of it."""
CHECK_BYTES = 1 << 20
_STEPS = 20_000
"""Instructions of SQLite between two looks at the clock."""
_SHOWN = 200
"""Characters of a message of SQLite, which may quote the file."""


@dataclass(frozen=True)
class SQLiteForm:
    """What an SQLite file of one kind looks like."""

    noun: str
    """What messages call the file, such as `journal`."""
    application_id: int
    """Marks the files of this kind; neither 0 nor that of another kind."""
    version: int
    """Newest version that this program reads, and the one it writes."""
    statements: tuple[str, ...]
    """CREATE TABLE and CREATE INDEX, in an order in which they can be run: all that a file's schema has."""


def open_sqlite(
    path: str | Path, form: SQLiteForm, *, read_only: bool = False, immutable: bool = False
) -> sqlite3.Connection:
    """Open a file of that form after checking it, or begin one where there is none or an empty one.

    Transactions are opened by hand (`isolation_level=None`); what is committed is on disk (WAL, synchronous FULL).
    `immutable` promises that nobody writes to the file, and is for those that are only read. Raises InputError, which
    names the file, where it is damaged, of something else, of a newer version, or empty though it is only to be read.
    """
    path = Path(path)
    with naming(path, form.noun):
        if path.exists() and not path.is_file():
            raise InputError(f"the {form.noun} {path} cannot be used: it is no regular file")
        connection = _connect(path, read_only=read_only, immutable=immutable)
    try:
        with naming(path, form.noun):
            _prepare(connection, path, form, create=not read_only)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def naming(path: Path, noun: str) -> Iterator[None]:
    """Errors of SQLite, of the file system, and of values that read as something else become InputErrors that name the
    file."""
    try:
        yield
    except InputError:
        raise
    except sqlite3.OperationalError as error:
        raise InputError(f"the {noun} {path} cannot be used: {_one_line(error)}") from error
    except (sqlite3.DatabaseError, ValueError) as error:
        raise InputError(f"the {noun} {path} is damaged, or is no {noun}: {_one_line(error)}") from error
    except OSError as error:
        raise InputError(f"the {noun} {path} cannot be opened: {error.strerror}") from error


@contextmanager
def within(connection: sqlite3.Connection, seconds: float, what: str) -> Iterator[None]:
    """Queries that take longer in all are ended. Raises InputError that begins with `what`, such as `the journal X`."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        message = f"{what} cannot be used: it was not read within {seconds:.0f} s, so it is taken to be damaged"
        raise InputError(message) from error
    finally:
        connection.set_progress_handler(None, _STEPS)


def check_schema(connection: sqlite3.Connection, path: Path, form: SQLiteForm) -> None:
    """Raise InputError that names what a file has beside or instead of the tables and indices of its form."""
    found = {(kind, name): sql for kind, name, sql in _schema(connection)}
    expected = {(kind, name): sql for kind, name, sql in _expected_schema(form)}
    for (kind, name), sql in found.items():
        if (kind, name) not in expected:
            raise InputError(f"the {form.noun} {path} is damaged: it has a {kind} {_one_line(name)}, which none has")
        if _words(sql) != _words(expected[kind, name]):
            raise InputError(f"the {form.noun} {path} is damaged: its {kind} {name} has another form than this "
                             "program gives it")  # fmt: skip
    if missing := sorted(expected.keys() - found.keys()):
        raise InputError(f"the {form.noun} {path} is damaged: it has no {missing[0][0]} {missing[0][1]}")


def _connect(path: Path, *, read_only: bool, immutable: bool) -> sqlite3.Connection:
    if read_only:
        uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
        connection = sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, uri=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, form: SQLiteForm, *, create: bool) -> None:
    """Check a file that has something in it; make the tables of one that has not."""
    what = f"the {form.noun} {path}"
    seconds = CHECK_SECONDS + (path.stat().st_size if path.exists() else 0) / CHECK_BYTES
    with within(connection, seconds, what):
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")  # one moment for all that is read: another process may be making the tables
        empty = _is_empty(connection, path, form)
        connection.execute("COMMIT")
        if not empty:
            _check(connection, path, form)
    if empty and not create:
        raise InputError(f"{path} is an empty file; expected a {form.noun}")
    if create:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
    if empty:
        _create(connection, path, form)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the write-ahead log on. SQLite does not wait where another process is doing the same."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _is_empty(connection: sqlite3.Connection, path: Path, form: SQLiteForm) -> bool:
    application, version, entries = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application != form.application_id and (application or entries):
        raise InputError(f"{path} is an SQLite file of something else; expected a {form.noun}")
    if version > form.version or (entries and version < 1):
        raise InputError(f"{path} is a {form.noun} of version {version}; this program reads up to {form.version}")
    return not entries


def _check(connection: sqlite3.Connection, path: Path, form: SQLiteForm) -> None:
    check_schema(connection, path, form)
    trouble = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if trouble != "ok":
        raise InputError(f"the {form.noun} {path} is damaged: {_one_line(trouble.splitlines()[-1])}")


def _create(connection: sqlite3.Connection, path: Path, form: SQLiteForm) -> None:
    """Make the tables, unless another process has made them in the meantime."""
    connection.execute("BEGIN IMMEDIATE")
    if _is_empty(connection, path, form):
        for statement in form.statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {form.application_id}")
        connection.execute(f"PRAGMA user_version = {form.version}")
    connection.execute("COMMIT")
    check_schema(connection, path, form)


def _schema(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """Kind, name and SQL of everything a file defines, but for what SQLite makes by itself."""
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        made_by_sqlite = (kind == "index" and sql is None) or (kind == "table" and name in _STATISTICS)
        if not made_by_sqlite:
            yield str(kind), str(name), str(sql)


_STATISTICS = ("sqlite_stat1", "sqlite_stat4")
"""Tables of ANALYZE."""


def _expected_schema(form: SQLiteForm) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(":memory:")
    try:
        for statement in form.statements:
            connection.execute(statement)
        return list(_schema(connection))
    finally:
        connection.close()


def _words(sql: str) -> list[str]:
    """SQL without its blanks, which two programs may set differently."""
    return re.findall(r"\w+|[^\w\s]", sql)


def _one_line(message: object) -> str:
    text = " ".join(str(message).split())
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= _SHOWN else f"{printable[:_SHOWN]}..."
