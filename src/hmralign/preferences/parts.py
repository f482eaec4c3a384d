"""What workers have made of a store, each unit a small store of its own, taken over in order by the one that writes.

A part has the facts of the store that it is for, its groups in shards from 0 on, their pictures and their scores. To
take it over is to copy files under the next numbers and add lines to the index: the store becomes what one process
would have written, whoever made the parts and in whatever order they came.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from hmralign.engines.manifest import FILE, Manifest
from hmralign.engines.parts import is_made, part_folder, parts_folder, remove_part, remove_parts_folder
from hmralign.preferences.person_source import DividedSource, GroupSource, is_done
from hmralign.preferences.store import GroupStore, GroupWriter, StoreFacts
from hmralign.storage.run_record import require_same_run
from hmralign.structures import InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.groups")


def divided(source: GroupSource) -> DividedSource:
    """The source, in units. Raises InputError for one that has none."""
    if not isinstance(source, DividedSource):
        raise InputError(f"source '{source.name}' cannot be divided among workers; it has no `units`")
    return source


def group_manifest(facts: StoreFacts, source: DividedSource) -> Manifest:
    """What the units of a store are."""
    return Manifest.of_units("groups", asdict(facts), source.units(facts.shard_size))


def require_own_parts(folder: Path, facts: StoreFacts, source: GroupSource) -> None:
    """Raise InputError, before the store is made, where its parts are those of another run."""
    parts = parts_folder(folder)
    if (parts / FILE).is_file():
        group_manifest(facts, divided(source)).require(parts)


@dataclass(frozen=True)
class PartsOfStore:
    """The parts that lie beside a store, which are its own (`require_own_parts`)."""

    store: GroupWriter
    given: GroupSource
    size: int
    """Persons of a shard."""

    @property
    def folder(self) -> Path:
        """Where they are."""
        return parts_folder(self.store.folder)

    @cached_property
    def source(self) -> DividedSource:
        """The source, in units. Raises InputError as `divided`."""
        return divided(self.given)

    def in_order(self, *, only: bool) -> Iterator[int]:
        """Take over the parts in order, and give the numbers of those that are missing, for the caller to make.

        Without parts nothing is given. With `only` InputError is raised instead, naming the first that is missing.
        """
        if not (only or self.folder.is_dir()):
            return
        done = self.store.done()
        units = self.source.units(self.size)
        for number, names in enumerate(units):
            if all(is_done(name, done) for name in names):
                continue
            if is_made(self.folder, number):
                take_over(self.store, part_folder(self.folder, number), done)
                remove_part(self.folder, number)
                logger.info("%d groups", len(self.store))
            elif only:
                self._refuse(number, units, done)
            elif not any(is_done(name, done) for name in names):  # else `batches` makes the rest, or says what is wrong
                yield number

    def _refuse(self, first: int, units: list[tuple[str, ...]], done: Set[str]) -> None:
        missing = [
            number for number, names in enumerate(units[first:], start=first)
            if not is_made(self.folder, number) and not all(is_done(name, done) for name in names)
        ]  # fmt: skip
        names = units[first]
        raise InputError(
            f"{self.store.folder}: of {counted(len(units), 'unit')} {len(missing)} are missing, the first is number "
            f"{first} ('{names[0]}' to '{names[-1]}'); run its share again, or this command without --collect"
        )

    def remove(self) -> None:
        """Remove the folder of the parts: all is in the store."""
        remove_parts_folder(self.folder)


def take_over(store: GroupWriter, folder: Path, done: Set[str] = frozenset()) -> None:
    """Add a part to the store, but for those who are done.

    Raises InputError for a part of other facts, or one that was changed or cut off.
    """
    part = GroupStore.open(folder)
    require_same_run(folder, asdict(part.facts), asdict(store.facts), what="it was", advice="remove it")
    store.take_over(part, done)
