"""Units of a store, made by any number of workers at once.

    unit of the source -> sampled, stored, scored: a small store -> renamed into its place (`engines.parts`)

Nothing of it depends on who makes a unit, or on what others have made: samples are drawn by (seed, id of the group),
and so are the scores of critics that draw. The store itself is written by one process, `preferences.build`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hmralign.body.model import BodyModel
from hmralign.critics.names import CriticChoice
from hmralign.engines.parts import clear_leftovers, is_made, making, parts_folder
from hmralign.policies.policy import DiffusionPolicy
from hmralign.preferences.build import GroupStoreConfig, add_batches, checked_critics, score_by_all, store_facts
from hmralign.preferences.parts import divided, group_manifest
from hmralign.preferences.person_source import DividedSource, GroupSource, is_done
from hmralign.preferences.store import GroupStore, StoreFacts, require_store_folder, writing
from hmralign.storage.run_record import require_same_run

logger = logging.getLogger("hmralign.groups")


@dataclass(frozen=True)
class GroupUnits:
    """The units of a store, for a worker (`engines.work.Units`)."""

    policy: DiffusionPolicy
    body: BodyModel
    source: DividedSource
    folder: Path
    """Folder of the store; the parts lie in it."""
    config: GroupStoreConfig
    facts: StoreFacts
    critics: tuple[CriticChoice, ...]
    names: list[tuple[str, ...]]
    """Who is in each unit."""

    @staticmethod
    def begin(
        policy: DiffusionPolicy,
        body: BodyModel,
        checkpoint_sha256: str,
        trained_on: tuple[str, ...],
        source: GroupSource,
        folder: Path,
        config: GroupStoreConfig,
        critics: Sequence[CriticChoice] = (),
    ) -> GroupUnits:
        """Open the parts of a store, or begin them; arguments and errors as `build_groups`.

        Raises InputError for parts, or a store, of another run.
        """
        facts = store_facts(policy, body, checkpoint_sha256, trained_on, source, config)
        checked_critics(critics, body, config)
        whole = divided(source)
        units = GroupUnits(policy, body, whole, folder, config, facts, tuple(critics), whole.units(config.shard_size))
        units.require_store()
        if not units.all_done:
            group_manifest(facts, whole).hold(parts_folder(folder))
            clear_leftovers(parts_folder(folder))
        return units

    def __len__(self) -> int:
        return len(self.names)

    def make(self, number: int) -> bool:
        """Sample and score a unit; False where it was made, or is in the store."""
        parts = parts_folder(self.folder)
        if is_made(parts, number) or all(is_done(name, self.done) for name in self.names[number]):
            return False
        with making(parts, number) as draft, writing(draft, self.facts) as store:
            add_batches(store, self.policy, self.source.unit(number, self.config.shard_size), self.config)
            judges = checked_critics(self.critics, self.body, self.config)
            score_by_all(store, judges, self.body, self.config)
        return True

    def require_store(self) -> None:
        """Raise InputError where the folder holds a store of another run, or other things."""
        require_store_folder(self.folder)
        if (self.folder / "store.json").is_file():
            there = GroupStore.open(self.folder).facts
            require_same_run(self.folder, there.record(), self.facts.record(), what="its groups were")

    @cached_property
    def done(self) -> frozenset[str]:
        """Who was in the store when this worker began."""
        is_there = (self.folder / "store.json").is_file()
        return frozenset(GroupStore.open(self.folder).done() if is_there else ())

    @property
    def all_done(self) -> bool:
        """Whether the store has everybody."""
        return all(is_done(name, self.done) for names in self.names for name in names)

    def missing(self) -> list[int]:
        """Numbers of the units that are neither in the store nor made."""
        parts = parts_folder(self.folder)
        return [
            number for number, names in enumerate(self.names)
            if not is_made(parts, number) and not all(is_done(name, self.done) for name in names)
        ]  # fmt: skip
