"""The memory of a critic: one SQLite file, one transaction per episode, counters derived from a log.

Nothing is ever counted up in place. A rule's uses and successes are sums over `rule_use`, which keeps the rank
correlation of every episode, so that they can be computed again under another threshold, and an episode that is
replayed after a crash changes nothing. A hard kill leaves all of an episode or none of it (WAL, synchronous FULL).

`freeze` writes an immutable copy whose hash stands for everything a judge can be shown from it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from hmralign.critics.vlm.memory import content
from hmralign.critics.vlm.memory.records import (
    EmbeddingSpace,
    Episode,
    LoggedUse,
    NewPrototype,
    NewRule,
    PastEpisode,
    StoredRule,
    prototype_id,
)
from hmralign.critics.vlm.memory.success import LEVEL, success_threshold
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
    prepare,
)
from hmralign.storage.whole_file import remove_parts, whole_file
from hmralign.structures import InputError, Prototype, Rule

BUSY_SECONDS = 30.0
"""How long one process waits for another that is writing."""
LEFT_OUT = "left out at freezing"
_SPACE = "space"
_WAL_BYTE, _WAL = 18, 2
"""Where an SQLite file says that it has a write-ahead log; frozen ones have none."""


@dataclass(frozen=True)
class Counting:
    """How the log of uses becomes counters."""

    tau: float | None = None
    """Threshold on the rank correlation, raised for small groups as in `success_threshold`; None counts each episode
    by the threshold that was in force then."""
    level: float = LEVEL
    """Chance of a random judge's success, at most; with `tau`."""
    credit: Literal["shared", "paired"] = "shared"
    """`shared`: all rules of a prompt share the outcome of its group. `paired`: only uses that were also judged
    without the rule count, as successes where the rule raised the correlation."""


@dataclass(frozen=True)
class PrototypeIndex:
    """All remembered cases without their pictures, sorted by id: what retrieval looks through.

    `embeddings` has rows of zeros for cases that were remembered without one; `dim` is 0 where none has one.
    """

    ids: tuple[str, ...]
    embeddings: Float[np.ndarray, "case dim"]
    has_embedding: tuple[bool, ...]
    scores: Float[np.ndarray, " case"]
    tags: tuple[tuple[str, ...], ...]
    reasonings: tuple[str, ...]
    episodes: tuple[str, ...]
    sequences: tuple[str, ...]
    images: tuple[frozenset[str], ...]


class Memory:
    """A memory file that is open. One process explores; any number may read.

    `connection` is for the other modules of this package; whatever writes goes through the methods here.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, frozen_hash: str, read_only: bool) -> None:
        self.path, self.connection = path, connection
        self._frozen_hash, self._read_only = frozen_hash, read_only
        self._cached: dict[Any, Any] = {}
        self._cached_version: tuple[int, int] | None = None

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Memory:
        """Open a memory, or begin one. A frozen one is always opened to read alone, and its hash is checked.

        Raises InputError for a file that is missing though it is only to be read, damaged, of something else, newer,
        or frozen and changed since.
        """
        path = Path(path)
        if read_only and not path.is_file():
            raise InputError(f"{path} is no file; expected a memory")
        frozen = _is_frozen(path)
        with naming(path):
            connection = _connect(path, read_only=read_only or frozen, immutable=frozen)
        try:
            with naming(path):
                prepare(connection, path, create=not (read_only or frozen))
                memory = cls(path, connection, _fact(connection, content.FROZEN), read_only or frozen)
            if memory.frozen and memory.content_hash() != memory._frozen_hash:
                raise InputError(f"the memory {path} was frozen and has been changed since; expected its frozen hash "
                                 f"{memory._frozen_hash[:12]}")  # fmt: skip
        except BaseException:
            connection.close()
            raise
        return memory

    def close(self) -> None:
        """Everything committed is on disk already."""
        self.connection.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def commit(self, episode: Episode, space: EmbeddingSpace | None = None) -> bool:
        """Write an episode with its uses, cases and rules; on return it is on disk. False where it was there already.

        `space` is that of the embeddings. Rules that are in the memory already are not written again. Raises
        InputError for a frozen memory, for an id that stands for other photos, for rules or cases that the memory does
        not know, and for embeddings of another space than those it has.
        """
        with self._writing():
            if self._is_replay(episode):
                return False
            self._require_known(RULE.name, [use.rule for use in episode.rules], episode.id)
            self._require_known(PROTOTYPE.name, episode.shown, episode.id)
            EPISODE.insert(self.connection, _episode_row(episode))
            for image in sorted(set(episode.images)):
                EPISODE_IMAGE.insert(self.connection, {"image": image, "episode": episode.id})
            for use in episode.rules:
                row = {"episode": episode.id, "rule": use.rule, "outcome": int(episode.success), "control": use.control}
                RULE_USE.insert(self.connection, row)
            for case in episode.prototypes:
                self._insert_prototype(episode.id, case, space)
            self._insert_rules(episode.mined, episode.id, episode.time)
        return True

    def add_rules(self, rules: Sequence[NewRule], time: str) -> int:
        """Rules that a person gives; those that are there already are left as they are. Gives how many were new."""
        with self._writing():
            return self._insert_rules(rules, None, time)

    def retire(self, reasons: Mapping[str, str], time: str) -> None:
        """Show these rules no longer; why is kept, and so is their log. Raises InputError for an unknown rule."""
        with self._writing():
            self._require_known(RULE.name, reasons, "retirement")
            for rule in sorted(reasons.keys() - {row["rule"] for row in RETIRED.rows(self.connection)}):
                RETIRED.insert(self.connection, {"rule": rule, "reason": reasons[rule], "time": time})

    def freeze(self, path: str | Path, *, keep: Collection[str] | None = None, time: str = "") -> str:
        """Write an immutable copy and give its content hash.

        With `keep`, rules that are not in it are retired in the copy. The file appears whole or not at all. Raises
        InputError where there is a file already: a frozen memory is never replaced.
        """
        path = Path(path)
        if path.exists():
            raise InputError(f"{path} exists already; expected a new name for a frozen memory")
        remove_parts(path.parent, path.name)
        with naming(path), whole_file(path, sync=True) as part:
            copy = sqlite3.connect(part, isolation_level=None)
            try:
                self.connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                frozen_hash = _freeze_copy(copy, keep, time)
            finally:
                copy.close()
            part.chmod(0o444)
        return frozen_hash

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """Whether this is an immutable copy."""
        return bool(self._frozen_hash)

    @property
    def space(self) -> EmbeddingSpace | None:
        """Of the embeddings; None while there are none."""
        with naming(self.path):
            said = _fact(self.connection, _SPACE)
        return EmbeddingSpace(**json.loads(said)) if said else None

    def content_hash(self, images: bool = True) -> str:
        """Of everything in the memory, whatever order it came in; the same after export and import.

        Without images: as if it had been exported without them.
        """
        with naming(self.path):
            return content.content_hash(self.connection, images)

    def rules(self, counting: Counting | None = None, *, retired: bool = False) -> tuple[Rule, ...]:
        """Rules with their counters, sorted by id; retired ones only where they are asked for."""
        counting = counting or Counting()
        return self._cache(("rules", counting, retired), lambda: self._count(counting, retired))

    def stored_rules(self) -> tuple[StoredRule, ...]:
        """All rules with where they came from, sorted by id."""
        with naming(self.path):
            reasons = {row["rule"]: row["reason"] for row in RETIRED.rows(self.connection)}
            return tuple(
                StoredRule(
                    r["id"], r["text"], tuple(r["tags"]), r["episode"] or "", r["author"], r["time"],
                    reasons.get(r["id"], ""),
                )
                for r in RULE.rows(self.connection)
            )  # fmt: skip

    def conflicts(self) -> frozenset[tuple[str, str]]:
        """Pairs of rules that say the opposite, smaller id first."""
        with naming(self.path):
            return frozenset((row["first"], row["second"]) for row in CONFLICT.rows(self.connection))

    def log(self) -> tuple[LoggedUse, ...]:
        """Every use of every rule, by episode and rule."""
        query = """
            SELECT u.episode, u.rule, u.outcome, u.control, e.rho, e.group_size FROM rule_use u
            JOIN episode e ON e.id = u.episode ORDER BY u.episode, u.rule"""
        with naming(self.path):
            return tuple(
                LoggedUse(episode, rule, bool(outcome), control, rho, size)
                for episode, rule, outcome, control, rho, size in self.connection.execute(query)
            )

    def episodes(self) -> tuple[PastEpisode, ...]:
        """All episodes, sorted by id."""
        with naming(self.path):
            images = _grouped((row["episode"], row["image"]) for row in EPISODE_IMAGE.rows(self.connection))
            rules = _grouped((row["episode"], row["rule"]) for row in RULE_USE.rows(self.connection))
            return tuple(
                PastEpisode(
                    r["id"], r["time"], r["judge"], r["sequence"], images[r["id"]], r["rho"], r["threshold"],
                    tuple(r["scores"]), tuple(r["errors"]), rules.get(r["id"], ()), tuple(r["shown"]),
                    tuple(r["journal_keys"]),
                )
                for r in EPISODE.rows(self.connection)
            )  # fmt: skip

    def has_episode(self, episode: str) -> bool:
        """Whether an episode is in the memory, so that it need not be judged again."""
        with naming(self.path):
            return self.connection.execute("SELECT 1 FROM episode WHERE id = ?", (episode,)).fetchone() is not None

    def prototype_index(self) -> PrototypeIndex:
        """What retrieval looks through; kept in memory until something is written."""
        return self._cache("index", self._index)

    def prototypes(self, ids: Sequence[str]) -> tuple[Prototype, ...]:
        """Remembered cases with their pictures, in the order asked for. Raises InputError for an unknown one."""
        return tuple(self._prototype(name) for name in ids)

    def refuse_known(self, images: Iterable[str], sequences: Iterable[str] = ()) -> None:
        """Raise InputError where a photo, or a video, is in the memory: it must not be in an evaluation too."""
        known_images, known_sequences = self._cache("known", self._known)
        for kind, asked, known in (("image", images, known_images), ("sequence", sequences, known_sequences)):
            both = sorted(set(asked) & known)
            if both:
                raise InputError(
                    f"{kind} {both[0]} ({len(both)} in all) is in the memory {self.path}; expected an evaluation on "
                    "photos that the memory has not seen"
                )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _count(self, counting: Counting, retired: bool) -> tuple[Rule, ...]:
        uses, successes = dict[str, int](), dict[str, int]()
        for use in self.log():
            won = _outcome(use, counting)
            if won is not None:
                uses[use.rule] = uses.get(use.rule, 0) + 1
                successes[use.rule] = successes.get(use.rule, 0) + won
        return tuple(
            Rule(r.id, r.text, r.tags, uses.get(r.id, 0), successes.get(r.id, 0))
            for r in self.stored_rules()
            if retired or not r.retired
        )

    def _index(self) -> PrototypeIndex:
        space = self.space
        dim = space.dim if space else 0
        with naming(self.path):
            images = _grouped((row["episode"], row["image"]) for row in EPISODE_IMAGE.rows(self.connection))
            sequences = dict(self.connection.execute("SELECT id, sequence FROM episode"))
            rows = list(PROTOTYPE.rows(self.connection))
            vectors = np.zeros((len(rows), dim), np.float32)
            for vector, row in zip(vectors, rows, strict=True):
                if row["embedding"] is not None:
                    vector[:] = np.frombuffer(row["embedding"], "<f4")
        episodes = [row["episode"] for row in rows]
        return PrototypeIndex(
            tuple(row["id"] for row in rows), vectors, tuple(row["embedding"] is not None for row in rows),
            np.array([row["score"] for row in rows], np.float64), tuple(tuple(row["tags"]) for row in rows),
            tuple(row["reasoning"] for row in rows), tuple(episodes), tuple(sequences[name] for name in episodes),
            tuple(frozenset(images[name]) for name in episodes),
        )  # fmt: skip

    def _known(self) -> tuple[set[str], set[str]]:
        past = self.episodes()
        return {image for e in past for image in e.images}, {e.sequence for e in past if e.sequence}

    def _prototype(self, name: str) -> Prototype:
        with naming(self.path):
            row = next(PROTOTYPE.rows(self.connection, "WHERE id = ?", (name,)), None)
        if row is None:
            raise InputError(f"the memory {self.path} has no prototype '{name}'")
        photo, overlay = (self.tile(row[which]) for which in content.PICTURES)
        return Prototype(name, row["reasoning"], row["score"], tuple(row["tags"]), photo, overlay)

    def tile(self, sha256: str | None) -> bytes | None:
        """A picture under its hash. Raises InputError where its bytes are not those that were stored."""
        if sha256 is None:
            return None
        with naming(self.path):
            found = self.connection.execute("SELECT data FROM tile WHERE sha256 = ?", (sha256,)).fetchone()
        if found is None or hashlib.sha256(found[0]).hexdigest() != sha256:
            raise InputError(f"the memory {self.path} is damaged: picture {sha256[:12]} is missing or changed")
        return found[0]

    def _is_replay(self, episode: Episode) -> bool:
        query = "SELECT image FROM episode_image WHERE episode = ?"
        images = {row[0] for row in self.connection.execute(query, (episode.id,))}
        if images and images != set(episode.images):
            raise InputError(
                f"episode {episode.id} is in the memory {self.path} with other photos; expected another id"
            )
        return bool(images)

    def _require_known(self, table: str, names: Iterable[str], episode: str) -> None:
        for name in names:
            if self.connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (name,)).fetchone() is None:
                raise InputError(f"episode {episode} was shown the {table} '{name}', which {self.path} does not have")

    def _insert_rules(self, rules: Sequence[NewRule], episode: str | None, time: str) -> int:
        known = {row[0] for row in self.connection.execute("SELECT id FROM rule")}
        new = {rule.id: rule for rule in rules if rule.id not in known}
        for name, rule in new.items():
            row = {"text": rule.text, "tags": list(rule.tags), "author": rule.author}
            RULE.insert(self.connection, {"id": name, "episode": episode, "time": time, **row})
        for name, rule in new.items():
            self._require_known(RULE.name, rule.conflicts, episode or "")
            for other in sorted(set(rule.conflicts) - {name}):
                first, second = sorted((name, other))
                self.connection.execute("INSERT OR IGNORE INTO conflict VALUES (?, ?)", (first, second))
        return len(new)

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
        PROTOTYPE.insert(self.connection, row)

    def _insert_tile(self, data: bytes | None) -> str | None:
        if data is None:
            return None
        name = hashlib.sha256(data).hexdigest()
        self.connection.execute("INSERT OR IGNORE INTO tile VALUES (?, ?)", (name, data))
        return name

    def _require_space(self, space: EmbeddingSpace | None, dim: int) -> None:
        if space is None or space.dim != dim:
            raise InputError(f"an embedding of {dim} numbers comes with the space {space}; expected one that fits")
        if self.space is None:
            FACT.insert(self.connection, {"name": _SPACE, "value": json.dumps(space.record, sort_keys=True)})
        require_same_space(self.space, space, self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self._read_only:
            raise InputError(f"the memory {self.path} is {'frozen' if self.frozen else 'open to read alone'}; expected "
                             "one that can be written")  # fmt: skip
        with naming(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _cache(self, key: Any, make: Any) -> Any:
        """A value that is made again only after this or another process has written."""
        with naming(self.path):
            version = (
                self.connection.execute("PRAGMA data_version").fetchone()[0],
                self.connection.total_changes,
            )
        if version != self._cached_version:
            self._cached, self._cached_version = {}, version
        if key not in self._cached:
            self._cached[key] = make()
        return self._cached[key]


def diff(first: Memory, second: Memory) -> str:
    """How two memories differ, line by line; empty where their content hashes are equal."""
    with naming(first.path), naming(second.path):
        return content.difference(first.connection, second.connection)


def require_same_space(known: EmbeddingSpace | None, given: EmbeddingSpace | None, path: Path) -> None:
    """Raise InputError where embeddings do not compare."""
    if known is not None and known != given:
        raise InputError(
            f"the memory {path} has embeddings of {known}, and was given one of {given}; expected the same"
        )


@contextmanager
def new_memory(path: Path) -> Iterator[Memory]:
    """A memory that is at `path` when the block ends well, and is nowhere otherwise."""
    remove_parts(path.parent, path.name)
    with whole_file(path) as part:
        try:
            with Memory.open(part) as memory:
                yield memory
                memory.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            for suffix in ("-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)


def _connect(path: Path, *, read_only: bool, immutable: bool) -> sqlite3.Connection:
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, uri=True)


def _is_frozen(path: Path) -> bool:
    """Whether a file has to be opened to read alone. What is wrong with it is found later; this writes nothing."""
    try:
        with path.open("rb") as file:
            header = file.read(_WAL_BYTE + 1)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"the memory {path} cannot be opened: {error.strerror}") from error
    if len(header) <= _WAL_BYTE or header[_WAL_BYTE] == _WAL:
        return False
    connection = _connect(path, read_only=True, immutable=True)
    try:
        return bool(_fact(connection, content.FROZEN))
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()


def _fact(connection: sqlite3.Connection, name: str) -> str:
    found = connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return "" if found is None else found[0]


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


def _episode_row(episode: Episode) -> dict[str, Any]:
    return {
        "id": episode.id, "time": episode.time, "judge": episode.judge, "sequence": episode.sequence,
        "group_size": len(episode.scores), "rho": float(episode.rho), "threshold": float(episode.threshold),
        "scores": list(episode.scores), "errors": list(episode.errors), "shown": list(episode.shown),
        "journal_keys": list(episode.journal_keys),
    }  # fmt: skip


def _outcome(use: LoggedUse, counting: Counting) -> bool | None:
    """Whether a use went well; None where it does not count."""
    if counting.credit == "paired":
        return None if use.control is None else use.control > 0
    if counting.tau is None:
        return use.outcome
    return use.rho > success_threshold(use.group_size, counting.tau, counting.level)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
