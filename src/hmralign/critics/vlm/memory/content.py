"""What a memory holds, whatever file it is in: its hash, and how two of them differ, as text."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from hmralign.critics.vlm.memory.tables import FACT, FORMAT_VERSION, PROTOTYPE, TABLES, TILE, Table

FROZEN = "frozen"
"""Fact with the hash of a frozen memory; it is about the file, so it is no part of the content."""
PICTURES = ("photo", "overlay")


def content_rows(connection: sqlite3.Connection, table: Table, images: bool = True) -> Iterator[dict[str, Any]]:
    """Rows of a table with bytes replaced by their hash; without pictures where they are not wanted."""
    if table is TILE and not images:
        return
    for row in table.rows(connection):
        if table is FACT and row["name"] == FROZEN:
            continue
        if table is TILE:
            row = {"sha256": row["sha256"]}
        if table is PROTOTYPE:
            row |= {"embedding": None if row["embedding"] is None else hashlib.sha256(row["embedding"]).hexdigest()}
            row |= {} if images else dict.fromkeys(PICTURES)
        yield row


def content_hash(connection: sqlite3.Connection, images: bool = True) -> str:
    """SHA-256 of all rows in the order of their keys; which was written first does not matter."""
    digest = hashlib.sha256(f"hmralign memory {FORMAT_VERSION}\n".encode())
    for table in TABLES:
        for row in content_rows(connection, table, images):
            digest.update(f"{table.name} {json.dumps(row, sort_keys=True)}\n".encode())
    return digest.hexdigest()


def difference(ours: sqlite3.Connection, theirs: sqlite3.Connection) -> str:
    """Lines as of `diff`: `-` only in the first memory, `+` only in the second; empty where they are equal."""
    lines: list[str] = []
    for table in TABLES:
        first, second = ({_key(table, row): row for row in content_rows(c, table)} for c in (ours, theirs))
        for key in sorted(first.keys() | second.keys()):
            a, b = first.get(key), second.get(key)
            if a is not None and b is not None:
                lines += _changes(table, key, a, b)
            elif a is not None:
                lines.append(f"- {table.name} {' '.join(key)}{_words(a)}")
            elif b is not None:
                lines.append(f"+ {table.name} {' '.join(key)}{_words(b)}")
    return "\n".join(lines)


def _key(table: Table, row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in table.key)


def _changes(table: Table, key: tuple[str, ...], a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [
        f"! {table.name} {' '.join(key)} {name}: {json.dumps(a[name])} -> {json.dumps(b[name])}"
        for name in a
        if a[name] != b[name]
    ]


def _words(row: dict[str, Any]) -> str:
    """What a person would want to read of a row."""
    said = next((row[name] for name in ("text", "reasoning", "reason", "value") if row.get(name)), None)
    if said is None and "rho" in row:
        said = f"rho {row['rho']:.2f} of {row['group_size']}"
    return "" if said is None else f": {said}"
