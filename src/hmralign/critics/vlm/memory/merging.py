"""Two memories in one: what two judges, or one judge on two sets of groups, have learnt.

| of the two | in the new memory |
| --- | --- |
| episodes, cases, pictures | all; an episode that both have must be the same in both |
| a rule in the same words | one rule, the older entry; its uses are those of both logs |
| rules that say the same in other words | both are kept with their own log, the one with fewer uses retired |
| rules that say the opposite | both, marked as a conflict, so that they are never shown together |
| a retired rule | retired, unless it was only left out at freezing and the other memory still shows it |

Which of the two comes first does not matter, and a memory merged with itself stays what it is. The log is never
rewritten: counters are sums over it, as everywhere. Neither is the new memory frozen, nor does it go on with the rounds
of either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmralign.critics.vlm.memory.content import FROZEN, PICTURES
from hmralign.critics.vlm.memory.freezing import LEFT_OUT
from hmralign.critics.vlm.memory.records import require_same_space
from hmralign.critics.vlm.memory.rule_filter import RuleFilterOptions, compare_rules
from hmralign.critics.vlm.memory.store import Memory, new_memory
from hmralign.critics.vlm.memory.tables import (
    CONFLICT,
    EPISODE,
    FACT,
    PROTOTYPE,
    RETIRED,
    RULE,
    TABLES,
    Table,
    naming,
)
from hmralign.structures import InputError, Rule

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Merged:
    """What came of it, beside the file."""

    sha256: str
    """Content hash of the new memory."""
    same: tuple[tuple[str, str], ...]
    """Rules that say the same in other words: the one that is shown, the one that is retired for it."""
    opposite: tuple[tuple[str, str], ...]
    """Rules of different memories that say the opposite, smaller id first."""


def merge_memories(
    first: Memory, second: Memory, path: str | Path, time: str = "", options: RuleFilterOptions | None = None
) -> Merged:
    """Write a new memory at `path`; `time` is that of the retirements it brings.

    Raises InputError where there is a file, for embeddings that do not compare, and for an episode that is not the same
    in both.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; expected a new file for the merged memory")
    if first.space is not None and second.space is not None:
        require_same_space(first.space, second.space, first.path)
    rows = {table.name: _united(table, first, second) for table in TABLES}
    _retire_either(rows[RETIRED.name], first, second)
    with new_memory(path) as memory:
        with naming(path):
            _insert(memory.connection, rows)
        same, opposite = _compared(memory, first, second, options)
        _mark(memory, same, opposite, time)
        content = memory.content_hash()
    return Merged(content, same, opposite)


def _united(table: Table, first: Memory, second: Memory) -> dict[Key, Row]:
    """Rows of both by key, the same whichever comes first."""
    united: dict[Key, Row] = {}
    for memory in (first, second):
        for key, row in _rows(table, memory):
            there = united.get(key)
            united[key] = row if there is None or there == row else _one_of(table, there, row, first, second)
    return united


def _rows(table: Table, memory: Memory) -> Iterator[tuple[Key, Row]]:
    with naming(memory.path):
        for row in table.rows(memory.connection):
            if not (table is FACT and row["name"] == FROZEN):
                yield tuple(row[name] for name in table.key), row


def _one_of(table: Table, there: Row, row: Row, first: Memory, second: Memory) -> Row:
    """One row for two with the same key that differ."""
    if table in (RULE, RETIRED):  # the same sentence found, or given up, twice: the older
        return min(there, row, key=lambda r: (r["time"], str(r)))
    if table is PROTOTYPE:  # one memory may have been exported without pictures
        bare = [{**r, **dict.fromkeys(PICTURES)} for r in (there, row)]
        if bare[0] == bare[1]:
            return there if there[PICTURES[1]] is not None else row
    name = row["id"] if table in (EPISODE, PROTOTYPE) else " ".join(str(row[n]) for n in table.key)
    raise InputError(f"{table.name} {name} is not the same in {first.path} and {second.path}; expected memories that "
                     "share no group, or what came of it")  # fmt: skip


def _retire_either(retired: dict[Key, Row], first: Memory, second: Memory) -> None:
    """Take back that a rule is retired where it was only left out at freezing and the other memory shows it."""
    shown = {rule.id for memory in (first, second) for rule in memory.rules()}
    for key in [key for key, row in retired.items() if row["reason"] == LEFT_OUT and row["rule"] in shown]:
        del retired[key]


def _insert(connection: sqlite3.Connection, rows: dict[str, dict[Key, Row]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table in TABLES:
            for row in rows[table.name].values():
                table.insert(connection, row)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _compared(
    memory: Memory, first: Memory, second: Memory, options: RuleFilterOptions | None
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Pairs that say the same (shown, retired) and the opposite. Rules of one memory were compared when they came."""
    ours, theirs = ({rule.id for rule in one.rules(retired=True)} for one in (first, second))
    rules, same, opposite = memory.rules(), list[tuple[str, str]](), set[tuple[str, str]]()
    gone: set[str] = set()
    # The one with fewer uses goes, so those with most come first.
    order = sorted(rules, key=lambda r: (-r.uses, r.id))
    for number, rule in enumerate(order):
        others = [
            r
            for r in order[:number]
            if r.id not in gone and not _in_one(r, rule, ours) and not _in_one(r, rule, theirs)
        ]
        twin, opposites = compare_rules(rule.text, others, options)
        if twin:
            same.append((twin, rule.id))
            gone.add(rule.id)
        opposite |= {(min(rule.id, other), max(rule.id, other)) for other in opposites}
    return tuple(same), tuple(sorted(opposite))


def _in_one(a: Rule, b: Rule, ids: set[str]) -> bool:
    return a.id in ids and b.id in ids


def _mark(memory: Memory, same: tuple[tuple[str, str], ...], opposite: tuple[tuple[str, str], ...], time: str) -> None:
    memory.retire({gone: f"says what rule {kept} says" for kept, gone in same}, time)
    with naming(memory.path):
        for pair in opposite:
            memory.connection.execute(f"INSERT OR IGNORE INTO {CONFLICT.name} VALUES (?, ?)", pair)
