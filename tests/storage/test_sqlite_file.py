"""Damaged, hostile and foreign SQLite files: read as they are, or refused by name, soon and in little memory."""

import contextlib
import os
import sqlite3
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.storage import sqlite_file
from hmralign.storage.sqlite_file import SQLiteForm, naming, open_sqlite, within
from hmralign.structures.errors import InputError
from support.limits import most_memory

FORM = SQLiteForm(
    "ledger", 0x484D5254, 1,
    (
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL CHECK (amount >= 0), data BLOB)",
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE INDEX entry_name ON entry (name)",
    ),
)  # fmt: skip
HANGS = pytest.mark.timeout(120, method="thread")
"""A generous limit: C code that hangs answers no signal."""


def make(path, rows=60):
    connection = open_sqlite(path, FORM)
    entries = [(i, f"name {i}" * (i % 9), i / 2, bytes([i]) * 300) for i in range(rows)]
    connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", entries)
    connection.execute("INSERT INTO fact VALUES ('a', 'b')")
    connection.close()
    return entries


def plain(path) -> sqlite3.Connection:
    """As somebody who changes the file by other means."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def read_all(path, **how):
    with contextlib.closing(open_sqlite(path, FORM, **how)) as connection, naming(path, FORM.noun):
        facts = list(connection.execute("SELECT * FROM fact"))
        return list(connection.execute("SELECT * FROM entry ORDER BY id")), facts


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledgers") / "whole.sqlite"
    make(path)
    return path.read_bytes()


@pytest.mark.parametrize("how", [{}, {"read_only": True}, {"read_only": True, "immutable": True}])
def test_what_was_written_is_read_again(tmp_path, how):
    entries = make(tmp_path / "deep" / "l.sqlite")
    assert read_all(tmp_path / "deep" / "l.sqlite", **how) == (entries, [("a", "b")])


def test_it_is_written_through_to_the_disk(tmp_path):
    connection = open_sqlite(tmp_path / "l", FORM)
    names = ("journal_mode", "synchronous", "trusted_schema")
    assert [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names] == ["wal", 2, 0]


@HANGS
@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    header=st.booleans(),
)
def test_a_damaged_file_is_read_or_refused_by_name(ledger, tmp_path_factory, edits, kept, header):
    """`header`: the edits go into the first page, which says what the rest is."""
    path = tmp_path_factory.mktemp("damaged") / "l.sqlite"
    data = bytearray(ledger)
    for where, new in edits:
        at = int(where * (1024 if header else len(data) - 1))
        data[at : at + len(new)] = new
    path.write_bytes(data[: int(kept * len(data))])
    with most_memory(512 << 20):
        try:
            read_all(path)
        except InputError as error:
            assert "l.sqlite" in str(error) and "\n" not in str(error) and len(str(error)) < 600


HOSTILE = {
    "a view in the place of a table": ["DROP TABLE entry", "CREATE VIEW entry AS SELECT * FROM fact"],
    "a view without end": [
        "DROP TABLE entry",
        "CREATE VIEW entry AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS id, '' AS name, 0.0 AS amount, NULL AS data FROM n",
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM fact; END"],
    "another table": ["CREATE TABLE more (x)"],
    "another index": ["CREATE INDEX more ON entry (amount)"],
    "a column more": ["ALTER TABLE entry ADD COLUMN more TEXT"],
    "a column less": ["ALTER TABLE entry DROP COLUMN data"],
    "a computed column": [
        "ALTER TABLE entry ADD COLUMN more TEXT AS (hex(zeroblob(100000000))) VIRTUAL",
    ],
    "no table": ["DROP TABLE fact"],
    "no index": ["DROP INDEX entry_name"],
    "a costly check": [
        "UPDATE sqlite_master SET sql = replace(sql, 'amount >= 0', 'length(hex(zeroblob(100000000))) > 1') "
        "WHERE name = 'entry'"
    ],
}  # fmt: skip


@HANGS
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("how", [{}, {"read_only": True}])
def test_a_schema_that_this_program_does_not_write_is_refused_before_anything_is_read(tmp_path, kind, how):
    path = tmp_path / "l.sqlite"
    make(path)
    with contextlib.closing(plain(path)) as connection:
        for statement in HOSTILE[kind]:
            connection.execute(statement)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"l\.sqlite is damaged: its? (has|table)"), most_memory(256 << 20):
        open_sqlite(path, FORM, **how)
    assert path.read_bytes() == before


def test_statistics_and_other_blanks_are_no_damage(tmp_path):
    entries = make(tmp_path / "l")
    with contextlib.closing(plain(tmp_path / "l")) as connection:
        connection.execute("ANALYZE")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ', ', ' ,\n  ') WHERE type = 'table'")
    assert read_all(tmp_path / "l")[0] == entries


@HANGS
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot set limits")
@pytest.mark.parametrize("size", [1, 2])
def test_a_value_that_is_too_long_is_not_read(tmp_path, monkeypatch, size):
    monkeypatch.setattr(sqlite_file, "MOST_BYTES", 32 << 20)
    path = tmp_path / "l.sqlite"
    make(path)
    with contextlib.closing(plain(path)) as connection:
        connection.execute("UPDATE entry SET data = zeroblob(?) WHERE id = 7", (size * (30 << 20),))
    with most_memory(256 << 20):
        if size == 1:
            assert len(read_all(path)[0][7][3]) == 30 << 20
        else:
            with pytest.raises(InputError, match=r"l\.sqlite"):
                read_all(path)


def test_a_query_without_end_is_ended_and_others_are_left_alone(tmp_path):
    connection = open_sqlite(tmp_path / "l", FORM)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(InputError, match=r"the ledger l cannot be used: it was not read within 0 s"):
        with within(connection, 0.1, "the ledger l"):
            connection.execute(endless).fetchone()
    with pytest.raises(sqlite3.OperationalError, match="no such table"), within(connection, 0.1, "the ledger l"):
        connection.execute("SELECT * FROM missing")
    counted = endless.replace("FROM n)", "FROM n LIMIT 300000)", 1)
    assert connection.execute(counted).fetchone()[0] == 300000


def test_newer_older_foreign_empty_and_missing_files_are_told_apart(tmp_path):
    newer, negative, foreign, empty = (tmp_path / name for name in ("newer", "negative", "foreign", "empty"))
    for path, version in ((newer, 2), (negative, -1)):
        make(path)
        with contextlib.closing(plain(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(InputError, match=f"version {version}"):
            open_sqlite(path, FORM)
    with contextlib.closing(plain(foreign)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(InputError, match="something else"):
        open_sqlite(foreign, FORM)
    empty.touch()
    with pytest.raises(InputError, match="empty"):
        open_sqlite(empty, FORM, read_only=True)
    with pytest.raises(InputError, match="missing cannot be used"):
        open_sqlite(tmp_path / "missing", FORM, read_only=True)
    assert not (tmp_path / "missing").exists()
    open_sqlite(empty, FORM).close()
    assert read_all(empty) == ([], [])


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="no regular file"):
            open_sqlite(path, FORM)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be opened"):
        open_sqlite(tmp_path / "file" / "l", FORM)


def test_many_can_begin_the_same_file_at_once(tmp_path):
    failed = []

    def begin():
        try:
            open_sqlite(tmp_path / "l", FORM).close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and time.monotonic() - begun < sqlite_file.BUSY_SECONDS
    assert read_all(tmp_path / "l") == ([], [])
