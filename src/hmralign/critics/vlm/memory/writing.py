"""What is written into the tables of a memory, inside a transaction that the caller has opened."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.critics.vlm.memory.reading import SPACE, read_space
from hmralign.critics.vlm.memory.records import (
    EmbeddingSpace,
    Episode,
    NewPrototype,
    NewRule,
    prototype_id,
    require_same_space,
)
from hmralign.critics.vlm.memory.tables import EPISODE, EPISODE_IMAGE, FACT, PROTOTYPE, RETIRED, RULE, RULE_USE
from hmralign.structures import InputError
from hmralign.structures.counted import counted


class Writer:
    """Puts rows into the file at `path`, which its errors name."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path

    def write_episode(self, episode: Episode, space: EmbeddingSpace | None) -> bool:
        """Write an episode with its uses, cases and rules. False where it was there already.

        Raises as `Memory.commit`.
        """
        if self._is_replay(episode):
            return False
        self._require_known(RULE.name, [use.rule for use in episode.rules], episode.id)
        self._require_known(PROTOTYPE.name, episode.shown, episode.id)
        EPISODE.insert(self._connection, _episode_row(episode))
        for image in sorted(set(episode.images)):
            EPISODE_IMAGE.insert(self._connection, {"image": image, "episode": episode.id})
        for use in episode.rules:
            row = {"episode": episode.id, "rule": use.rule, "outcome": int(episode.success), "control": use.control}
            RULE_USE.insert(self._connection, row)
        for case in episode.prototypes:
            self._insert_prototype(episode.id, case, space)
        self.write_rules(episode.mined, episode.id, episode.time)
        return True

    def write_rules(self, rules: Sequence[NewRule], episode: str | None, time: str) -> int:
        """Write rules that are not there yet, with their conflicts. Gives how many were new."""
        known = {row[0] for row in self._connection.execute("SELECT id FROM rule")}
        new = {rule.id: rule for rule in rules if rule.id not in known}
        for name, rule in new.items():
            row = {"text": rule.text, "tags": list(rule.tags), "author": rule.author}
            RULE.insert(self._connection, {"id": name, "episode": episode, "time": time, **row})
        for name, rule in new.items():
            self._require_known(RULE.name, rule.conflicts, episode or "")
            for other in sorted(set(rule.conflicts) - {name}):
                first, second = sorted((name, other))
                self._connection.execute("INSERT OR IGNORE INTO conflict VALUES (?, ?)", (first, second))
        return len(new)

    def write_retirements(self, reasons: Mapping[str, str], time: str) -> None:
        """Mark rules as retired; those that are already keep their reason. Raises InputError for an unknown rule."""
        self._require_known(RULE.name, reasons, "retirement")
        for rule in sorted(reasons.keys() - {row["rule"] for row in RETIRED.rows(self._connection)}):
            RETIRED.insert(self._connection, {"rule": rule, "reason": reasons[rule], "time": time})

    def _is_replay(self, episode: Episode) -> bool:
        query = "SELECT image FROM episode_image WHERE episode = ?"
        images = {row[0] for row in self._connection.execute(query, (episode.id,))}
        if images and images != set(episode.images):
            raise InputError(
                f"episode {episode.id} is in the memory {self._path} with other photos; expected another id"
            )
        return bool(images)

    def _require_known(self, table: str, names: Iterable[str], episode: str) -> None:
        for name in names:
            if self._connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (name,)).fetchone() is None:
                raise InputError(f"episode {episode} was shown the {table} '{name}', which {self._path} does not have")

    def _insert_prototype(self, episode: str, case: NewPrototype, space: EmbeddingSpace | None) -> None:
        vector = case.embedding
        if vector is not None:
            self._require_space(space, len(vector))
        row = {
            "id": prototype_id(episode, case.hypothesis), "episode": episode, "hypothesis": case.hypothesis,
            "reasoning": case.reasoning, "score": float(case.score), "tags": list(case.tags),
            "embedding": None if vector is None else np.asarray(vector, "<f4").tobytes(),
            "photo": self._insert_tile(case.photo), "overlay": self._insert_tile(case.overlay),
        }  # fmt: skip
        PROTOTYPE.insert(self._connection, row)

    def _insert_tile(self, data: bytes | None) -> str | None:
        if data is None:
            return None
        name = hashlib.sha256(data).hexdigest()
        self._connection.execute("INSERT OR IGNORE INTO tile VALUES (?, ?)", (name, data))
        return name

    def _require_space(self, space: EmbeddingSpace | None, dim: int) -> None:
        if space is None or space.dim != dim:
            raise InputError(
                f"an embedding of {counted(dim, 'number')} comes with the space {space}; expected one that fits"
            )
        if read_space(self._connection) is None:
            FACT.insert(self._connection, {"name": SPACE, "value": json.dumps(space.record, sort_keys=True)})
        require_same_space(read_space(self._connection), space, self._path)


def _episode_row(episode: Episode) -> dict[str, Any]:
    return {
        "id": episode.id, "time": episode.time, "judge": episode.judge, "sequence": episode.sequence,
        "group_size": len(episode.scores), "rho": float(episode.rho), "threshold": float(episode.threshold),
        "scores": list(episode.scores), "errors": list(episode.errors), "shown": list(episode.shown),
        "journal_keys": list(episode.journal_keys),
    }  # fmt: skip
