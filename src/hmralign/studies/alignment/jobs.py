"""The work of the comparison in pieces that processes share: stores of groups, and cells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hmralign.critics.names import CriticChoice
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import require_unseen
from hmralign.models.checkpoint import trained_on
from hmralign.policies.catalogue import open_policy
from hmralign.policies.lite import LitePolicy
from hmralign.studies.alignment.cells import (
    Cell,
    extrapolate_cell,
    read_facts,
    train_cell,
    weights_of,
    write_measurement,
)
from hmralign.studies.alignment.measure import measure_persons
from hmralign.studies.alignment.person_groups import build_store, cut_store, is_complete
from hmralign.studies.alignment.study import AlignmentStudy, Measurement
from hmralign.studies.workers import BusyError, held

WHY = "benchmarks/alignment/alignment.py"
"""What the log of test readings says."""


@dataclass(frozen=True)
class StoreJob:
    """Make a store of groups and let its critics judge it."""

    study: AlignmentStudy
    store: str
    base: int = 0

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.study.store_folder(self.store, self.base)

    @property
    def name(self) -> str:
        """Name of its lock."""
        return f"store_{self.folder.name}"

    @property
    def critics(self) -> tuple[CriticChoice, ...]:
        """Who judges it."""
        return self.study.critics_of(self.store, self.base)

    def is_done(self) -> bool:
        """Whether all groups and scores are there."""
        persons, _ = self.study.size_of(self.store)
        return is_complete(self.folder, self.study.body, self.study.groups_config(), persons, self.critics)

    def do(self) -> None:
        """Sample, copy or cut. Raises BusyError while the store that this one is cut from is not there."""
        self.study.forget_store(self.folder)
        started = time.process_time()
        whole = {"size": "wide", "persons": "many"}.get(self.store.partition("_")[0])
        self._build() if whole is None else self._cut(StoreJob(self.study, whole, self.base))
        self.study.spend_on(self.folder, time.process_time() - started)

    def _build(self) -> None:
        study, config = self.study, self.study.groups_config(self.store)
        given = study.settings.groups if (self.store, self.base) == ("wild", 0) else None
        source = study.source_of(self.store)
        build_store(self.folder, study.base(self.base), study.body, source, config, self.critics, given)

    def _cut(self, whole: StoreJob) -> None:
        if not whole.is_done():
            raise BusyError(whole.name)
        persons, size = self.study.size_of(self.store)
        cut_store(self.study.store(whole.store, self.base), self.folder, persons, size, self.critics)


@dataclass(frozen=True)
class CellJob:
    """Train a cell where it is not trained, and measure what is not measured."""

    study: AlignmentStudy
    cell: Cell
    measurements: tuple[Measurement, ...]

    @property
    def name(self) -> str:
        """Name of its lock: one for a cell, whatever is measured."""
        return self.study.folder(self.cell).name

    def is_done(self) -> bool:
        """Whether it is trained and measured, or cannot be trained."""
        if self.study.skipped(self.cell) is not None:
            return True
        trained = not self.cell.row.trains or read_facts(self.study.folder(self.cell)) is not None
        return trained and not self._missing()

    def do(self) -> None:
        """Raises BusyError where another process trains the cell that this one is made from."""
        train(self.study, self.cell)
        if self.study.skipped(self.cell) is None:
            for what in self._missing():
                measure(self.study, self.cell, what)

    def _missing(self) -> list[Measurement]:
        return [m for m in self.measurements if not self.study.measurement_path(self.cell, m).is_file()]


def train(study: AlignmentStudy, cell: Cell) -> None:
    """Weights and facts of a cell, unless they are there; its lock is held by the caller."""
    folder = study.folder(cell)
    if not cell.row.trains or read_facts(folder) is not None:
        return
    base, policy = study.base(cell.base), study.policy(cell.base)
    if cell.parent is None:
        train_cell(cell, base, study.store(cell.store, cell.base), policy, folder, study.settings.batch_size)
        return
    parent = study.folder(cell.parent)
    if read_facts(parent) is None:
        with held(study.locks, parent.name):
            train(study, cell.parent)
    fresh = LitePolicy.load(base.checkpoint, study.body, num_steps=study.settings.num_steps)
    extrapolate_cell(cell, base, parent, fresh, folder)


def measure(study: AlignmentStudy, cell: Cell, what: Measurement) -> None:
    """One reading; of a test split only after it stands in the log, and never by weights that have seen it."""
    folder = study.folder(cell)
    checkpoint, sha256 = weights_of(folder, study.base(cell.base), cell.row)
    require_unseen(trained_on(checkpoint), what.split)
    if what.split.endswith("/test"):
        log_opening(study.settings.log, what.split, WHY, predictor=_absolute(checkpoint), sha256=sha256)
    persons = study.persons(what.split, what.persons)
    policy = open_policy(checkpoint, study.body).policy
    columns, seconds = measure_persons(policy, persons, study.measure_config(what), study.scorer)
    write_measurement(study.measurement_path(cell, what), columns, seconds)


def _absolute(checkpoint: str) -> str:
    """As the log shortens it: names of shipped weights stay as they are."""
    path = Path(checkpoint)
    return str(path.absolute()) if path.is_file() else checkpoint
