"""What is done in which order: groups, tuning, tables, sweeps, replication. A phase that is run again goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from hmralign.structures import InputError
from hmralign.studies.alignment.cells import Cell
from hmralign.studies.alignment.jobs import CellJob, StoreJob
from hmralign.studies.alignment.rows import Row, row_named
from hmralign.studies.alignment.study import AlignmentStudy, Measurement

logger = logging.getLogger("hmralign.alignment_study")


def groups_phase(study: AlignmentStudy) -> list[str]:
    """Stores of all bases; names of what is left at the deadline."""
    jobs = [StoreJob(study, "wild", base) for base in study.bases]
    if any(row.persons == "labels" for row in study.rows):
        jobs.append(StoreJob(study, "labels"))
    return study.work_off(jobs)


def tune_phase(study: AlignmentStudy) -> list[str]:
    """All trials."""
    if left := groups_phase(study):
        return left
    _require_first_base(study)
    return study.work_off([CellJob(study, c, (study.tuning,)) for row in study.rows for c in study.trials(row)])


def final_phase(study: AlignmentStudy) -> list[str]:
    """Cells of the tables, of rows that are tuned."""
    if left := groups_phase(study):
        return left
    return study.work_off(final_jobs(study))


def final_jobs(study: AlignmentStudy) -> list[CellJob]:
    """In the order of seeds, so that every row has a first run early."""
    found = []
    for row in study.rows:
        choice = study.choice(row)
        if choice is None:
            logger.info("%s: not tuned, so it has no place in the tables yet", row.name)
            continue
        for cell in study.final_cells(row, choice):
            more = (study.many,) if study.has_many(cell) else ()
            found.append(CellJob(study, cell, (study.final(choice), study.forgetting, *more)))
    return sorted(found, key=lambda job: (job.cell.seed, job.cell.base))


def sweep_phase(study: AlignmentStudy) -> list[str]:
    """Stores and cells of the sweeps."""
    if reason := study.unavailable(sweep_rows(study)[0]):
        logger.info("no sweeps: %s", reason)
        return []
    _require_first_base(study)
    stores = [StoreJob(study, name) for name in ("wide", "many", *sweep_stores(study))]
    if left := study.work_off(stores):
        return left
    return study.work_off([CellJob(study, cell, (what,)) for cell, what in sweep_cells(study)])


def sweep_stores(study: AlignmentStudy) -> list[str]:
    """Stores that are cut."""
    sizes = [f"size_{n}" for n in study.settings.sweep_sizes]
    return [*sizes, *(f"persons_{n}" for n in study.sweep_persons)]


def sweep_rows(study: AlignmentStudy) -> list[Row]:
    """What is swept."""
    return [row_named(f"{method}, {study.settings.sweep_critic}") for method in ("best-of-N", "GPA sigmoid")]


def sweep_cells(study: AlignmentStudy) -> list[tuple[Cell, Measurement]]:
    """Cells of both sweeps, of rows that are tuned."""
    found = []
    for row in sweep_rows(study):
        if (choice := study.choice(row)) is None:
            logger.info("%s: not tuned, so it is not swept yet", row.name)
            continue
        for store in sweep_stores(study):
            cell = Cell(row, 0, study.settings.seeds[0], choice.rate, choice.steps, store)
            found.append((cell, study.final(choice)))
    return found


REPLICATED = ("best-of-N, scorer", "DPO, oracle", "SFT own mean")


def replicate_phase(study: AlignmentStudy) -> list[str]:
    """Three rows once more, one new seed on each base."""
    if left := groups_phase(study):
        return left
    return study.work_off([CellJob(study, cell, (what,)) for cell, what in replicate_cells(study)])


def replicate_cells(study: AlignmentStudy) -> list[tuple[Cell, Measurement]]:
    """Cells of the replication, of rows that are tuned."""
    found = []
    for row in (row_named(name) for name in REPLICATED):
        choice = None if study.unavailable(row) else study.choice(row)
        if choice is None:
            logger.info("%s: not tuned, so it is not replicated yet", row.name)
            continue
        first = study.final_cells(row, choice)[0]
        for base, seed in zip(study.bases, study.settings.replicate_seeds, strict=False):
            found.append((replace(first, base=base, seed=seed), study.final(choice)))
    return found


def _require_first_base(study: AlignmentStudy) -> None:
    if 0 not in study.bases:
        raise InputError(f"{study.settings.bases[0]}: no such checkpoint; the first base is the one that is tuned on")


PHASES: dict[str, Callable[[AlignmentStudy], list[str]]] = {
    "groups": groups_phase,
    "tune": tune_phase,
    "final": final_phase,
    "sweep": sweep_phase,
    "replicate": replicate_phase,
}
