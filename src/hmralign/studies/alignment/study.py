"""The comparison on one work folder: what is loaded once, where everything lies, and what was chosen."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from hmralign.body.free_body import load_free_body
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import Critic
from hmralign.critics.names import CriticChoice, is_critic
from hmralign.data.shards import read_index
from hmralign.data.synthwild_folder import folder_name, open_split
from hmralign.models.checkpoint import checkpoint_hash, checkpoint_path, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, critic_facts
from hmralign.preferences.person_source import GroupSource, ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.studies.alignment.cells import Cell, Facts, identity, read_facts, read_measurement
from hmralign.studies.alignment.measure import (
    BY_REPROJECTION,
    Columns,
    Kind,
    MeasureConfig,
    Persons,
    persons_at_once,
    weighted_column,
)
from hmralign.studies.alignment.person_groups import (
    BaseWeights,
    DrawnSource,
)
from hmralign.studies.alignment.rows import CRITIC_OF, SCORER, Row, chosen_rows, row_named
from hmralign.studies.alignment.settings import StudySettings
from hmralign.studies.workers import Job, work_off
from hmralign.systems.evaluate.predict import PredictConfig
from hmralign.systems.evaluate.run import first_persons

logger = logging.getLogger("hmralign.alignment_study")


@dataclass(frozen=True)
class Measurement:
    """One reading of a split by one model."""

    split: str
    persons: int
    hypotheses: int
    kinds: tuple[Kind, ...]
    answers: bool = True
    temperatures: tuple[float, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Settings that validation persons chose for a row."""

    rate: float
    steps: int
    temperature: float | None
    """Temperature of the weighted fusion; None without a scorer."""


class AlignmentStudy:
    """Settings, and what is loaded or computed once for all cells of a process."""

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.body = load_free_body("3k5")
        self.policy = cache(self._policy)
        self.persons = cache(self._persons)
        self.base = cache(self._base)
        self.problem_of = cache(self._problem_of)
        self._stores: dict[Path, GroupStore] = {}
        self._identities: dict[tuple[Cell, str], str] = {}
        self.until: float | None = None
        if settings.deadline is not None:
            self.until = time.monotonic() + 60 * settings.deadline

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows that can be run and were asked for."""
        return tuple(row for row in chosen_rows(self.settings.rows) if self.unavailable(row) is None)

    @property
    def bases(self) -> tuple[int, ...]:
        """Numbers of the bases whose checkpoints are there."""
        return tuple(n for n, name in enumerate(self.settings.bases) if checkpoint_path(name).is_file())

    def _base(self, number: int) -> BaseWeights:
        name = self.settings.bases[number]
        return BaseWeights(number, name, checkpoint_hash(name), trained_on(name))

    def _policy(self, number: int) -> LitePolicy:
        return LitePolicy.load(self.base(number).checkpoint, self.body, num_steps=self.settings.num_steps)

    def _persons(self, split: str, count: int) -> Persons:
        return Persons.of(first_persons(open_split(self.settings.data, split), count), self.body)

    def _problem_of(self, critic: str) -> str | None:
        """Why a critic cannot be asked; None where it can."""
        if not is_critic(critic):
            return f"this version knows no critic '{critic}'"
        try:
            make_critic(critic, self.body)  # pyright: ignore[reportArgumentType]
        except InputError:
            return f"critic '{critic}' has no weights in this version"
        return None

    def unavailable(self, row: Row) -> str | None:
        """Why a row cannot be run; None where it can."""
        return None if row.critic is None else self.problem_of(row.critic)

    @cached_property
    def scorer(self) -> Critic | None:
        """The learned critic that also selects and weighs, where this version has one."""
        return None if self.problem_of(SCORER) else make_critic(SCORER, self.body)

    @cached_property
    def scorer_hash(self) -> str | None:
        """Hash of the scorer's facts."""
        return None if self.scorer is None else critic_facts(SCORER, self.body, self.groups_config()).sha256

    # -- where it lies ------------------------------------------------------------------------------------------------

    @property
    def locks(self) -> Path:
        """Folder of the locks of all jobs."""
        return self.settings.work / "locks"

    def folder(self, cell: Cell) -> Path:
        """Folder of a cell. Raises InputError where its groups are not there."""
        store = self.store(cell.store, cell.base) if cell.row.trains else None
        key = (cell, "" if store is None else str(store.folder))
        if key not in self._identities:
            self._identities[key] = identity(cell, self.base(cell.base), store, self.settings.batch_size)
        return self.settings.work / "cells" / f"{cell.name}_{self._identities[key]}"

    def measurement_path(self, cell: Cell, what: Measurement) -> Path:
        """File of a cell's errors on a split; another scorer gives another file."""
        scorer = self.scorer_hash if what.answers else None
        text = json.dumps([scorer, what.kinds, what.answers, what.temperatures, self.settings.num_steps])
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self.folder(cell) / f"{folder_name(what.split)}_{what.persons}_m{what.hypotheses}_{digest}.npz"

    def columns(self, cell: Cell, what: Measurement) -> dict[Kind, Columns] | None:
        """Errors of a cell; None where they are not there."""
        if not self._is_ready(cell):
            return None
        path = self.measurement_path(cell, what)
        return read_measurement(path)[0] if path.is_file() else None

    def ready(self, cells: Iterable[Cell]) -> list[Cell]:
        """Cells whose base, groups and scores are there."""
        return [cell for cell in cells if self._is_ready(cell)]

    def _is_ready(self, cell: Cell) -> bool:
        """Whether a cell's base, groups and scores are there, so that it has a folder."""
        if cell.base not in self.bases:
            return False
        config = (cell.parent or cell).row.config
        if config is None:
            return True
        if not (self.store_folder(cell.store, cell.base) / "store.json").is_file():
            return False
        return set(config.scores) <= set(self.store(cell.store, cell.base).critics())

    # -- groups -------------------------------------------------------------------------------------------------------

    def groups_config(self, store: str = "wild") -> GroupStoreConfig:
        """How the groups of a store are made."""
        return GroupStoreConfig(group_size=self.size_of(store)[1], num_steps=self.settings.num_steps, with_truth=True)

    def size_of(self, store: str) -> tuple[int, int]:
        """Persons of a store, and hypotheses of each (see `person_groups`)."""
        s = self.settings
        kind, _, number = store.partition("_")
        match kind:
            case "labels":
                return s.persons, 2
            case "wide" | "size":
                return s.sweep_size_persons, int(number or max(s.sweep_sizes))
            case "many" | "persons":
                return int(number or max(self.sweep_persons)), s.group_size
        return s.persons, s.group_size

    @cached_property
    def sweep_persons(self) -> tuple[int, ...]:
        """Numbers of persons of the sweep: those that there are."""
        there = int(read_index(self.settings.data / folder_name(self.settings.train_split))["examples"])
        return tuple(dict.fromkeys(min(n, there) for n in self.settings.sweep_persons))

    def store_folder(self, name: str, base: int) -> Path:
        """Folder of a store."""
        persons, size = self.size_of(name)
        kind = name.partition("_")[0]
        return self.settings.work / "stores" / f"{kind}_b{base}_{persons}x{size}_{self.base(base).sha256[:8]}"

    def store(self, name: str, base: int) -> GroupStore:
        """A store that is there."""
        folder = self.store_folder(name, base)
        if folder not in self._stores:
            self._stores[folder] = GroupStore.open(folder)
        return self._stores[folder]

    def forget_store(self, folder: Path) -> None:
        """Open it anew when it is asked for again."""
        self._stores.pop(folder, None)

    def spend_on(self, store: Path, seconds: float) -> None:
        """Add to the CPU seconds of a store."""
        path = store.with_name(f"{store.name}.json")
        write_whole(path, json.dumps({"cpu_seconds": round(_seconds(path) + seconds, 1)}))

    def group_seconds(self) -> float:
        """CPU seconds of all stores."""
        return sum((_seconds(path) for path in (self.settings.work / "stores").glob("*.json")), 0.0)

    def critics_of(self, name: str, base: int) -> tuple[CriticChoice, ...]:
        """Critics that judge a store: those whose scores a row trains on."""
        if name == "labels":
            return ()
        if name != "wild":
            return (CRITIC_OF.get(self.settings.sweep_critic, self.settings.sweep_critic),)  # pyright: ignore
        followed = [r.config.scores for r in self.rows if r.config and (base == 0 or self.runs_everywhere(r))]
        wanted = [critic for critics in followed for critic in critics]
        parents = [row_named(r.extrapolates) for r in self.rows if r.extrapolates]
        wanted += [p.config.critic for p in parents if p.config is not None]
        return tuple(dict.fromkeys(wanted))  # pyright: ignore[reportReturnType]

    def source_of(self, name: str) -> GroupSource:
        """Persons of a store."""
        s, count = self.settings, self.size_of(name)[0]
        if name == "labels":
            return DrawnSource(tuple(ShardSource.open(s.data / folder_name(split)) for split in s.label_splits), count)
        return ShardSource.open(s.data / folder_name(s.train_split), count)

    @staticmethod
    def store_of(row: Row) -> str:
        """Store that a row is trained on."""
        return "labels" if row.persons == "labels" else "wild"

    def runs_everywhere(self, row: Row) -> bool:
        """Whether a row is measured on every base with every seed."""
        return row.matters or self.settings.all_matter

    @cached_property
    def known(self) -> dict[str, Choice]:
        """Choices that an earlier document made, of rows that train; none without one."""
        if self.settings.known is None:
            return {}
        path = self.settings.known
        try:
            rows = read_json(path, "a document of the comparison")["rows"]
            choices = {name: row["choice"] for name, row in rows.items()}
            return {name: Choice(**choice) for name, choice in choices.items() if choice and choice["rate"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a document of the comparison ({error})") from error

    # -- tuning -------------------------------------------------------------------------------------------------------

    def trials(self, row: Row) -> tuple[Cell, ...]:
        """Cells that are tried for a row, on the first base with the first seed; of the base itself its one cell, and
        of rows whose settings are known none."""
        if not row.trains:
            return (Cell(row),)
        if row.name in self.known:
            return ()
        return tuple(
            Cell(row, 0, self.settings.seeds[0], rate, self.settings.scaled(length), self.store_of(row))
            for length in row.lengths
            for rate in row.rates
        )

    @property
    def tuning(self) -> Measurement:
        """What trials are compared by."""
        s = self.settings
        temperatures = s.temperatures if self.scorer is not None else ()
        return Measurement(s.val_split, s.val_persons, s.hypotheses, ("raw",), temperatures=temperatures)

    def choice(self, row: Row) -> Choice | None:
        """The trial with the lowest `fused` on validation persons, or what is known; None where a trial is missing or
        none could run."""
        if row.name in self.known:
            return self.known[row.name]
        found: list[tuple[float, Cell, Columns]] = []
        for cell in self.trials(row):
            if self.skipped(cell) is not None:
                continue
            columns = self.columns(cell, self.tuning)
            if columns is None:
                return None
            found.append((float(columns["raw"]["fused"].mean()), cell, columns["raw"]))
        if not found:
            return None
        _, cell, columns = min(found, key=lambda f: f[0])
        temperatures = self.tuning.temperatures
        best = min(temperatures, key=lambda t: columns[weighted_column(t)].mean()) if temperatures else None
        return Choice(cell.rate, cell.steps, best)

    def skipped(self, cell: Cell) -> str | None:
        """Why a cell has no weights; None where it has, or is not finished."""
        facts = self.facts(cell)
        return None if facts is None else facts.skipped

    def facts(self, cell: Cell) -> Facts | None:
        """Facts of a training; None where it is not finished, and for the base, which has none."""
        if not cell.row.trains or not self._is_ready(cell):
            return None
        return read_facts(self.folder(cell))

    # -- tables -------------------------------------------------------------------------------------------------------

    def final_cells(self, row: Row, choice: Choice) -> tuple[Cell, ...]:
        """Cells of a row in the tables, on bases that are there."""
        s = self.settings
        if not row.trains:
            return tuple(Cell(row, base) for base in self.bases)
        bases, seeds = (self.bases, s.seeds) if self.runs_everywhere(row) else ((0,), s.seeds[:1])
        store = self.store_of(row)
        return tuple(Cell(row, b, seed, choice.rate, choice.steps, store) for b in bases for seed in seeds)

    def final(self, choice: Choice) -> Measurement:
        """What the tables show."""
        s = self.settings
        temperatures = () if choice.temperature is None else (choice.temperature,)
        return Measurement(
            s.final_split, s.final_persons, s.hypotheses, ("raw", "refined"), temperatures=temperatures
        )  # fmt: skip

    @property
    def forgetting(self) -> Measurement:
        """What was forgotten."""
        s = self.settings
        return Measurement(s.forget_split, s.forget_persons, s.hypotheses, ("raw",))

    @property
    def many(self) -> Measurement:
        """Oracle of many hypotheses."""
        s = self.settings
        persons = min(s.many_persons, s.final_persons)
        return Measurement(s.final_split, persons, s.many, ("raw", "refined"), answers=False)

    def has_many(self, cell: Cell) -> bool:
        """Whether a cell is sampled many times: the rows of the settings, first base, first seed."""
        first = cell.seed == self.settings.seeds[0] or not cell.row.trains
        return cell.row.name in self.settings.many_rows and cell.base == 0 and first and cell.store == "wild"

    def measure_config(self, what: Measurement) -> MeasureConfig:
        """How a measurement is made."""
        predict = PredictConfig(
            sampler=SamplerConfig(num_hypotheses=what.hypotheses, num_steps=self.settings.num_steps),
            selection=BY_REPROJECTION,
            batch=persons_at_once(what.hypotheses),
        )
        min_of = (10,) if what.answers else (100,)
        return MeasureConfig(predict, what.kinds, min_of, what.temperatures, what.answers)

    def work_off(self, jobs: Sequence[Job]) -> list[str]:
        """`workers.work_off` with the study's locks and deadline."""
        return work_off(jobs, self.locks, until=self.until)


def _seconds(path: Path) -> float:
    """What a store has cost so far."""
    return float(read_json(path, "the cost of a store")["cpu_seconds"]) if path.is_file() else 0.0
