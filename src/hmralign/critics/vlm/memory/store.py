"""The memory of a critic: one SQLite file, one transaction per episode, counters derived from a log.

Nothing is ever counted up in place. A rule's uses and successes are sums over `rule_use`, which keeps the rank
correlation of every episode, so that they can be computed again under another threshold, and an episode that is
replayed after a crash changes nothing. A hard kill leaves all of an episode or none of it (WAL, synchronous FULL).

`freeze` writes an immutable copy whose hash stands for everything a judge can be shown from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmralign.critics.vlm.memory import content
from hmralign.critics.vlm.memory.checking import check_content
from hmralign.critics.vlm.memory.counting import Counting, counted_rules
from hmralign.critics.vlm.memory.freezing import open_frozen, write_frozen
from hmralign.critics.vlm.memory.prototype_index import PrototypeIndex, read_index
from hmralign.critics.vlm.memory.reading import (
    read_conflicts,
    read_episodes,
    read_fact,
    read_log,
    read_prototype,
    read_rules,
    read_space,
    read_tile,
)
from hmralign.critics.vlm.memory.records import EmbeddingSpace, Episode, LoggedUse, NewRule, PastEpisode, StoredRule
from hmralign.critics.vlm.memory.tables import FORM, naming
from hmralign.critics.vlm.memory.writing import Writer
from hmralign.storage.sqlite_file import open_sqlite
from hmralign.storage.whole_file import remove_parts, whole_file
from hmralign.structures import InputError, Prototype, Rule


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

        Everything in it is checked before it is used. Raises InputError for a file that is missing though it is only to
        be read, damaged, of something else, newer, or frozen and changed since.
        """
        path = Path(path)
        if read_only and not path.is_file():
            raise InputError(f"{path} is no file; expected a memory")
        frozen = open_frozen(path)
        read_only = read_only or frozen is not None
        connection = frozen or open_sqlite(path, FORM, read_only=read_only)
        try:
            with naming(path):
                memory = cls(path, connection, read_fact(connection, content.FROZEN), read_only)
            if memory.frozen and (frozen is None or memory.content_hash() != memory._frozen_hash):
                raise InputError(f"the memory {path} was frozen and has been changed since; expected its frozen hash "
                                 f"{memory._frozen_hash[:12]}")  # fmt: skip
            check_content(connection, path)
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
            return Writer(self.connection, self.path).write_episode(episode, space)

    def add_rules(self, rules: Sequence[NewRule], time: str) -> int:
        """Rules that a person gives; those that are there already are left as they are. Gives how many were new."""
        with self._writing():
            return Writer(self.connection, self.path).write_rules(rules, None, time)

    def retire(self, reasons: Mapping[str, str], time: str) -> None:
        """Show these rules no longer; why is kept, and so is their log. Raises InputError for an unknown rule."""
        with self._writing():
            Writer(self.connection, self.path).write_retirements(reasons, time)

    def freeze(self, path: str | Path, *, keep: Collection[str] | None = None, time: str = "") -> str:
        """Write an immutable copy and give its content hash.

        With `keep`, rules that are not in it are retired in the copy. The file appears whole or not at all. Raises
        InputError where there is a file already: a frozen memory is never replaced.
        """
        return write_frozen(self.connection, Path(path), keep, time)

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """Whether this is an immutable copy."""
        return bool(self._frozen_hash)

    @property
    def space(self) -> EmbeddingSpace | None:
        """The space of the embeddings; None while there are none."""
        with naming(self.path):
            return read_space(self.connection)

    def content_hash(self, images: bool = True) -> str:
        """Hash of everything in the memory, whatever order it came in; the same after export and import.

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
            return read_rules(self.connection)

    def conflicts(self) -> frozenset[tuple[str, str]]:
        """Pairs of rules that say the opposite, smaller id first."""
        with naming(self.path):
            return read_conflicts(self.connection)

    def log(self) -> tuple[LoggedUse, ...]:
        """Every use of every rule, by episode and rule."""
        with naming(self.path):
            return read_log(self.connection)

    def episodes(self) -> tuple[PastEpisode, ...]:
        """All episodes, sorted by id."""
        with naming(self.path):
            return read_episodes(self.connection)

    def has_episode(self, episode: str) -> bool:
        """Whether an episode is in the memory, so that it need not be judged again."""
        with naming(self.path):
            return self.connection.execute("SELECT 1 FROM episode WHERE id = ?", (episode,)).fetchone() is not None

    def prototype_index(self) -> PrototypeIndex:
        """What retrieval looks through; kept in memory until something is written."""
        return self._cache("index", self._index)

    def prototypes(self, ids: Sequence[str]) -> tuple[Prototype, ...]:
        """Remembered cases with their pictures, in the order asked for. Raises InputError for an unknown one."""
        return tuple(read_prototype(self.connection, self.path, name) for name in ids)

    def tile(self, sha256: str | None) -> bytes | None:
        """A picture under its hash. Raises InputError where its bytes are not those that were stored."""
        return read_tile(self.connection, self.path, sha256)

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
        shown = [rule for rule in self.stored_rules() if retired or not rule.retired]
        return counted_rules(shown, self.log(), counting)

    def _index(self) -> PrototypeIndex:
        with naming(self.path):
            return read_index(self.connection)

    def _known(self) -> tuple[set[str], set[str]]:
        past = self.episodes()
        return {image for e in past for image in e.images}, {e.sequence for e in past if e.sequence}

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
