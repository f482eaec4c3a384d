"""Immutable copies of a memory: how one is made, and how it is known.

The content hash of a frozen memory stands for everything that a judge can be shown from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from hmralign.critics.vlm.memory import content
from hmralign.critics.vlm.memory.reading import read_fact
from hmralign.critics.vlm.memory.tables import APPLICATION_ID, FACT, FORM, RETIRED, RULE, naming
from hmralign.storage.sqlite_file import open_sqlite
from hmralign.storage.whole_file import remove_parts, whole_file
from hmralign.structures import InputError

LEFT_OUT = "left out at freezing"
"""Why a rule is retired in a frozen memory that keeps only some."""
_WAL_BYTE, _WAL = 18, 2
"""Where an SQLite file says that it has a write-ahead log; frozen ones have none."""
_ID_BYTES = slice(68, 72)
"""Where it says whose file it is."""


def write_frozen(source: sqlite3.Connection, path: Path, keep: Collection[str] | None, time: str) -> str:
    """Write an immutable copy that appears whole or not at all; gives its content hash. Raises as `Memory.freeze`."""
    if path.exists():
        raise InputError(f"{path} exists already; expected a new name for a frozen memory")
    remove_parts(path.parent, path.name)
    with naming(path), whole_file(path, sync=True) as part:
        copy = sqlite3.connect(part, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            frozen_hash = _freeze_copy(copy, keep, time)
        finally:
            copy.close()
        part.chmod(0o444)
    return frozen_hash


def open_frozen(path: Path) -> sqlite3.Connection | None:
    """The connection to a memory that is frozen; None for any other file, or none. Nothing is written.

    Raises InputError for a memory that is damaged, and may be frozen.
    """
    if not _may_be_frozen(path):
        return None
    connection = open_sqlite(path, FORM, read_only=True, immutable=True)
    try:
        with naming(path):
            frozen = read_fact(connection, content.FROZEN)
    except BaseException:
        connection.close()
        raise
    if not frozen:
        connection.close()
    return connection if frozen else None


def _may_be_frozen(path: Path) -> bool:
    """Whether the header of a file is that of a memory without a write-ahead log."""
    if not path.is_file():
        return False
    with naming(path), path.open("rb") as file:
        header = file.read(_ID_BYTES.stop)
    is_memory = header[_ID_BYTES] == APPLICATION_ID.to_bytes(4, "big")
    return is_memory and header[_WAL_BYTE] != _WAL


def _freeze_copy(copy: sqlite3.Connection, keep: Collection[str] | None, time: str) -> str:
    if keep is not None:
        known = {row["id"] for row in RULE.rows(copy)}
        if set(keep) - known:
            raise InputError(f"rule '{sorted(set(keep) - known)[0]}' is to be kept, and the memory does not have it")
        retired = {row["rule"] for row in RETIRED.rows(copy)}
        for rule in sorted(known - set(keep) - retired):
            RETIRED.insert(copy, {"rule": rule, "reason": LEFT_OUT, "time": time})
    frozen_hash = content.content_hash(copy)
    copy.execute("DELETE FROM fact WHERE name = ?", (content.FROZEN,))
    FACT.insert(copy, {"name": content.FROZEN, "value": frozen_hash})
    return frozen_hash
