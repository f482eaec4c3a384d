"""What is read from the tables of a memory; `naming` around a call makes errors name the file."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from hmralign.critics.vlm.memory import content
from hmralign.critics.vlm.memory.records import EmbeddingSpace, LoggedUse, PastEpisode, StoredRule
from hmralign.critics.vlm.memory.tables import (
    CONFLICT,
    EPISODE,
    EPISODE_IMAGE,
    FACT,
    PROTOTYPE,
    RETIRED,
    RULE,
    RULE_USE,
    naming,
)
from hmralign.storage.json_file import HEADER, parse_json
from hmralign.structures import InputError, Prototype

SPACE = "space"
"""Fact with the space of the embeddings."""


def read_fact(connection: sqlite3.Connection, name: str) -> str:
    """What holds for all of a memory; empty where nothing is said."""
    return next((row["value"] for row in FACT.rows(connection, "WHERE name = ?", (name,))), "")


def read_space(connection: sqlite3.Connection) -> EmbeddingSpace | None:
    """Space of the embeddings; None while there are none."""
    said = read_fact(connection, SPACE)
    return EmbeddingSpace(**parse_json(said, HEADER)) if said else None


def read_rules(connection: sqlite3.Connection) -> tuple[StoredRule, ...]:
    """All rules with where they came from, sorted by id."""
    reasons = {row["rule"]: row["reason"] for row in RETIRED.rows(connection)}
    return tuple(
        StoredRule(
            r["id"], r["text"], tuple(r["tags"]), r["episode"] or "", r["author"], r["time"],
            reasons.get(r["id"], ""),
        )
        for r in RULE.rows(connection)
    )  # fmt: skip


def read_conflicts(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """Pairs of rules that say the opposite, smaller id first."""
    return frozenset((row["first"], row["second"]) for row in CONFLICT.rows(connection))


def read_log(connection: sqlite3.Connection) -> tuple[LoggedUse, ...]:
    """Every use of every rule, by episode and rule."""
    query = """
        SELECT u.episode, u.rule, u.outcome, u.control, e.rho, e.group_size FROM rule_use u
        JOIN episode e ON e.id = u.episode ORDER BY u.episode, u.rule"""
    return tuple(
        LoggedUse(episode, rule, bool(outcome), control, rho, size)
        for episode, rule, outcome, control, rho, size in connection.execute(query)
    )


def read_episodes(connection: sqlite3.Connection) -> tuple[PastEpisode, ...]:
    """All episodes, sorted by id."""
    images = images_by_episode(connection)
    rules = _grouped((row["episode"], row["rule"]) for row in RULE_USE.rows(connection))
    return tuple(
        PastEpisode(
            r["id"], r["time"], r["judge"], r["sequence"], images[r["id"]], r["rho"], r["threshold"],
            tuple(r["scores"]), tuple(r["errors"]), rules.get(r["id"], ()), tuple(r["shown"]),
            tuple(r["journal_keys"]),
        )
        for r in EPISODE.rows(connection)
    )  # fmt: skip


def images_by_episode(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Hashes of the photos that each episode is about."""
    return _grouped((row["episode"], row["image"]) for row in EPISODE_IMAGE.rows(connection))


def read_prototype(connection: sqlite3.Connection, path: Path, name: str) -> Prototype:
    """A remembered case with its pictures. Raises InputError, naming the file at `path`, for an unknown one."""
    with naming(path):
        row = next(PROTOTYPE.rows(connection, "WHERE id = ?", (name,)), None)
    if row is None:
        raise InputError(f"the memory {path} has no prototype '{name}'")
    photo, overlay = (read_tile(connection, path, row[which]) for which in content.PICTURES)
    return Prototype(name, row["reasoning"], row["score"], tuple(row["tags"]), photo, overlay)


def read_tile(connection: sqlite3.Connection, path: Path, sha256: str | None) -> bytes | None:
    """A picture under its hash. Raises InputError where its bytes are not those that were stored."""
    if sha256 is None:
        return None
    with naming(path):
        found = connection.execute("SELECT data FROM tile WHERE sha256 = ?", (sha256,)).fetchone()
    if found is None or hashlib.sha256(found[0]).hexdigest() != sha256:
        raise InputError(f"the memory {path} is damaged: picture {sha256[:12]} is missing or changed")
    return found[0]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
