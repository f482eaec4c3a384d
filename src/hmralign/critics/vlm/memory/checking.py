"""Whether what stands in the tables of a memory is what this program writes there.

SQLite keeps what it is given: a damaged file, or one that somebody has edited, can have text for a number, an episode
without photos, or a group of a size that none has. All of it is looked at once, when the file is opened, so that
whatever reads it later can rely on it. Pictures are not read: their hash is checked when they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.critics.vlm.memory.content import FROZEN
from hmralign.critics.vlm.memory.reading import SPACE, images_by_episode
from hmralign.critics.vlm.memory.records import (
    EmbeddingSpace,
    Episode,
    NewPrototype,
    NewRule,
    RuleUse,
    prototype_id,
    rule_id,
)
from hmralign.critics.vlm.memory.tables import (
    CONFLICT,
    EPISODE,
    FACT,
    FORM,
    PROTOTYPE,
    RETIRED,
    RULE,
    RULE_USE,
    Table,
    naming,
)
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.storage.sqlite_file import CHECK_BYTES, CHECK_SECONDS, within
from hmralign.structures import InputError

Row = dict[str, Any]
_MOST_NUMBERS = 1 << 16
"""Most numbers of an embedding; no embedder has as many."""


def check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raise InputError, naming the file at `path`, for anything in its tables that this program does not write.

    The tables themselves are checked already (`open_sqlite`).
    """
    with naming(path), within(connection, CHECK_SECONDS + path.stat().st_size / CHECK_BYTES, f"the {FORM.noun} {path}"):
        connection.execute("BEGIN")  # all of it as it was at one moment
        try:
            _check(connection)
        finally:
            connection.execute("ROLLBACK")


def _check(connection: sqlite3.Connection) -> None:
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise ValueError(f"a row of the table {broken[0]} refers to a row of {broken[2]} that is not there")
    dim = _checked_dim({row["name"]: row["value"] for row in FACT.rows(connection)})
    _each(RULE, connection, _check_rule)
    _each(CONFLICT, connection, lambda row: _require(row["first"] < row["second"], "its rules are in the wrong order"))
    _each(RETIRED, connection, lambda _: None)
    uses: dict[str, list[RuleUse]] = {}
    for row in RULE_USE.rows(connection):
        _require(row["outcome"] in (0, 1), f"an outcome is {row['outcome']}, expected 0 or 1")
        uses.setdefault(row["episode"], []).append(RuleUse(row["rule"], row["control"]))
    images = images_by_episode(connection)
    _each(EPISODE, connection, lambda row: _check_episode(row, images.get(row["id"], ()), uses.get(row["id"], ())))
    _each(PROTOTYPE, connection, lambda row: _check_prototype(row, dim))


def _each(table: Table, connection: sqlite3.Connection, check: Callable[[Row], None]) -> None:
    """Check every row; what a record of this package refuses to hold is damage."""
    for row in table.rows(connection):
        try:
            check(row)
        except InputError as error:
            raise ValueError(str(error)) from error


def _checked_dim(facts: dict[str, str]) -> int:
    """Numbers of an embedding, as the facts say; 0 where there are none."""
    _require(facts.keys() <= {SPACE, FROZEN}, "it has a fact that no memory has")
    if SPACE not in facts:
        return 0
    try:
        said = parse_json(facts[SPACE], HEADER)
    except JsonError as error:
        raise ValueError("its space is no JSON") from error
    texts, share = ("model", "preprocessing"), said.get("share") if isinstance(said, dict) else None
    fits = (
        isinstance(said, dict)
        and said.keys() - {"share"} == {*texts, "dim"}
        and all(isinstance(said[name], str) for name in texts)
        and type(said["dim"]) is int
        and 1 <= said["dim"] <= _MOST_NUMBERS
        and (share is None or (isinstance(share, int | float) and 0 <= share <= 1))
    )
    _require(fits, "its space of embeddings is none that this program writes")
    return EmbeddingSpace(**said).dim


def _check_rule(row: Row) -> None:
    NewRule(row["text"], tuple(row["tags"]), row["author"])
    _require(row["id"] == rule_id(row["text"]), f"the id {row['id'][:40]!r} is not that of the rule's text")


def _check_episode(row: Row, images: tuple[str, ...], uses: Iterable[RuleUse]) -> None:
    Episode(
        row["id"], row["time"], row["judge"], images, row["sequence"], tuple(row["scores"]), tuple(row["errors"]),
        row["rho"], row["threshold"], tuple(uses), tuple(row["shown"]),
    )  # fmt: skip
    _require(row["group_size"] == len(row["scores"]), f"episode {row['id'][:40]!r} has a wrong size of its group")


def _check_prototype(row: Row, dim: int) -> None:
    case = f"prototype {row['id'][:40]!r}"
    vector = row["embedding"]
    _require(vector is None or (dim > 0 and len(vector) == 4 * dim), f"{case} has an embedding of another length")
    embedding = None if vector is None else np.frombuffer(vector, "<f4")
    NewPrototype(row["hypothesis"], row["reasoning"], row["score"], tuple(row["tags"]), embedding)
    _require(row["id"] == prototype_id(row["episode"], row["hypothesis"]), f"the id of {case} is not its own")


def _require(good: bool, trouble: str) -> None:
    if not good:
        raise ValueError(trouble)
