"""Everything that the work folder holds, as one document of plain values; what is missing is named with a reason."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.synthetic.synthwild import V1
from hmralign.storage.run_record import plain
from hmralign.structures.counted import counted
from hmralign.studies.alignment.cells import Cell, Facts, read_facts, read_measurement
from hmralign.studies.alignment.measure import Columns, Kind, weighted_column
from hmralign.studies.alignment.phases import REPLICATED, replicate_cells, sweep_cells
from hmralign.studies.alignment.rows import BASE, NOT_AVAILABLE, SCORER, Row, chosen_rows, row_named
from hmralign.studies.alignment.study import AlignmentStudy, Choice, Measurement
from hmralign.studies.table import Run, Runs, base_of, compared, row_figures

FORMAT_VERSION = 1
CEILING = "SFT true labels (ceiling)"
NOT_RUN = "not run"


def study_document(study: AlignmentStudy, commands: tuple[str, ...]) -> dict[str, Any]:
    """Settings, tables, tuning, sweeps, replication, runs that were stopped, and what was not run."""
    rows = chosen_rows(study.settings.rows)
    choices = {row.name: study.choice(row) for row in study.rows}
    runs = {row.name: runs_of(study, row, choices.get(row.name)) for row in rows}
    base, ceiling = runs[BASE], runs.get(CEILING)
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "settings": _settings(study),
        "commands": list(commands),
        "rows": {},
        "paired": {},
    }
    for row in rows:
        entry = {"group": row.group, "critic": row.critic, "choice": _plain(choices.get(row.name))}
        entry |= row_figures(runs[row.name], base, ceiling) if runs[row.name] else {"runs": []}
        document["rows"][row.name] = entry | _training(study, row, choices.get(row.name))
        reference = reference_of(row)
        if reference in runs and (found := compared(runs[row.name], runs[reference])):
            document["paired"][row.name] = {"minus": reference, **found}
    if len(base) > 1 and (0, 0) in base:  # beside rows of one run
        first = {"group": "control", "critic": None, "choice": document["rows"][BASE]["choice"]}
        first |= row_figures({(0, 0): base[0, 0]}, base, ceiling) | {"training_cpu_seconds": None, "stopped": {}}
        document["rows"][f"{BASE}, first one"] = first
    document["tuning"] = {row.name: _trials(study, row) for row in rows}
    document["sweeps"] = _sweeps(study, base)
    document["replication"] = _replication(study, document["rows"], base)
    document["not_run"] = NOT_AVAILABLE | _missing_bases(study)
    document["not_run"] |= {r.name: why for r in rows if (why := _why_not(study, r, choices, runs))}
    document["cpu_seconds"] = _cpu_seconds(study)
    return document


def reference_of(row: Row) -> str | None:
    """Best-of-N of the same critic; None for that itself, and for rows without a critic."""
    if row.critic is None:
        return None
    name = "random critic" if row.critic == "random" else row.name.split(", ")[-1]
    reference = f"best-of-N, {name}"
    return None if reference == row.name else reference


def runs_of(study: AlignmentStudy, row: Row, choice: Choice | None) -> Runs:
    """Measured runs of a row."""
    found: Runs = {}
    if choice is None:
        return found
    for cell in study.final_cells(row, choice):
        kinds, forgotten = study.columns(cell, study.final(choice)), study.columns(cell, study.forgetting)
        if kinds is None or forgotten is None:
            continue
        many = (study.columns(cell, study.many) if study.has_many(cell) else None) or {}
        found[cell.base, cell.seed] = Run(_renamed(kinds, choice), many, forgotten["raw"])
    return found


def _renamed(kinds: dict[Kind, Columns], choice: Choice) -> dict[Kind, Columns]:
    """The weighted fusion has one name, whatever temperature was chosen."""
    old = None if choice.temperature is None else weighted_column(choice.temperature)
    return {kind: {("weighted" if n == old else n): v for n, v in found.items()} for kind, found in kinds.items()}


def _settings(study: AlignmentStudy) -> dict[str, Any]:
    s = study.settings
    kept = {k: v for k, v in asdict(s).items() if k not in ("data", "work", "log", "groups", "deadline", "known")}
    bases = [study.base(n) for n in study.bases]
    names = {"/".join(Path(b.checkpoint).parts[-2:]): b.sha256 for b in bases}  # no folders of this machine
    return plain(kept) | {
        "bases": names,
        "benchmark": V1,
        "mesh": study.body.mesh_hash,
        "joints": f"{NUM_JOINTS} joints of the free body, pelvis at the origin",
        "scorer": SCORER if study.scorer is not None else None,
        "scorer_sha256": study.scorer_hash,
    }


def _missing_bases(study: AlignmentStudy) -> dict[str, str]:
    missing = [n for k, n in enumerate(study.settings.bases) if k not in study.bases]
    return {f"base {'/'.join(Path(n).parts[-2:])}": "no such checkpoint" for n in missing}


def _plain(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else asdict(choice)


def _finished(study: AlignmentStudy, row: Row, choice: Choice | None) -> list[tuple[Cell, Facts]]:
    if choice is None or not row.trains:
        return []
    found = []
    for cell in study.final_cells(row, choice):
        facts = study.facts(cell)
        if facts is not None:
            found.append((cell, facts))
    return found


def _training(study: AlignmentStudy, row: Row, choice: Choice | None) -> dict[str, Any]:
    """CPU seconds of a training, and runs that the guard stopped."""
    cells = _finished(study, row, choice)
    seconds = [facts.cpu_seconds for _, facts in cells]
    return {
        "training_cpu_seconds": round(float(np.mean(seconds)), 1) if seconds else None,
        "measuring_cpu_seconds": _measuring(study, row, choice),
        "stopped": {f"base {c.base}, seed {c.seed}": f.stopped for c, f in cells if f.stopped is not None},
    }


def _measuring(study: AlignmentStudy, row: Row, choice: Choice | None) -> float | None:
    """CPU seconds of one reading for the tables."""
    if choice is None:
        return None
    paths = [study.measurement_path(c, study.final(choice)) for c in study.ready(study.final_cells(row, choice))]
    seconds = [read_measurement(path)[1] for path in paths if path.is_file()]
    return round(float(np.mean(seconds)), 1) if seconds else None


def _trials(study: AlignmentStudy, row: Row) -> list[dict[str, Any]]:
    """Every trial with its figures on validation persons, mm."""
    if study.unavailable(row) is not None:
        return []
    found = []
    for cell in study.trials(row):
        columns = study.columns(cell, study.tuning)
        facts = study.facts(cell)
        entry: dict[str, Any] = {"rate": cell.rate, "steps": cell.steps}
        entry["skipped"] = None if facts is None else facts.skipped
        entry["stopped"] = None if facts is None else facts.stopped
        if columns is not None:
            entry |= {c: round(1000 * float(columns["raw"][c].mean()), 2) for c in ("single", "fused", "min_of_10")}
            weighted = {n: v for n, v in columns["raw"].items() if n.startswith("weighted_")}
            entry["weighted"] = {
                n.removeprefix("weighted_"): round(1000 * float(v.mean()), 2) for n, v in weighted.items()
            }
        found.append(entry)
    return found


def _why_not(study: AlignmentStudy, row: Row, choices: dict[str, Choice | None], runs: dict[str, Runs]) -> str | None:
    """Why a row is not in the tables, or not with all its runs."""
    if (why := study.unavailable(row)) is not None:
        return why
    reasons = [t["skipped"] for t in _trials(study, row) if t["skipped"]]
    if reasons:
        return reasons[0]
    choice = choices.get(row.name)
    if choice is None:
        return "not tuned"
    everywhere = study.runs_everywhere(row)
    expected = len(study.settings.bases) * (len(study.settings.seeds) if row.trains else 1) if everywhere else 1
    missing = expected - len(runs[row.name])
    return f"{missing} of {counted(expected, 'run')}" if missing else None


def _sweeps(study: AlignmentStudy, base: Runs) -> dict[str, Any]:
    """Differences to the base by group size and by number of persons."""
    found: dict[str, Any] = {"sizes": {}, "persons": {}, "not_run": None}
    critic = study.settings.sweep_critic
    if (why := study.unavailable(row_named(f"best-of-N, {critic}"))) is not None:
        return found | {"not_run": why}
    for cell, what in sweep_cells(study):
        kind, _, number = cell.store.partition("_")
        table = found["sizes" if kind == "size" else "persons"].setdefault(cell.row.name, {})
        table[number] = _one_run(study, cell, what, base) or NOT_RUN
    if not found["sizes"]:
        found["not_run"] = "its rows are not tuned"
    return found


def _one_run(study: AlignmentStudy, cell: Cell, what: Measurement, base: Runs) -> dict[str, Any] | None:
    """Figures of one cell against its base; None where one of them is not measured."""
    kinds = study.columns(cell, what)
    if kinds is None or base_of(base, (cell.base, cell.seed)) is None:
        return None
    figures = row_figures({(cell.base, cell.seed): Run(kinds, {})}, base, None)
    return {kind: figures[kind]["minus_base_mm"] for kind in kinds}


def _replication(study: AlignmentStudy, rows: dict[str, Any], base: Runs) -> dict[str, Any]:
    """Whether the means of new seeds lie inside the intervals of the tables."""
    cells: dict[str, list[tuple[Cell, Measurement]]] = {name: [] for name in REPLICATED}
    for cell, what in replicate_cells(study):
        cells[cell.row.name].append((cell, what))
    found: dict[str, Any] = {}
    for name, parts in cells.items():
        runs = {(c.base, c.seed): columns for c, what in parts if (columns := study.columns(c, what)) is not None}
        published = rows.get(name, {})
        if not parts or len(runs) < len(parts) or "raw" not in published:
            found[name] = NOT_RUN
            continue
        new = row_figures({k: Run(v, {}) for k, v in runs.items()}, base, None)
        found[name] = {"runs": new["runs"]} | {kind: _inside(new, published, kind) for kind in ("raw", "refined")}
    return found


def _inside(new: dict[str, Any], published: dict[str, Any], kind: str) -> dict[str, Any]:
    found = {}
    for column in ("single", "fused", "min_of_10"):
        mean = new[kind]["minus_base_mm"][column][0]
        _, low, high = published[kind]["minus_base_mm"][column]
        found[column] = {"mean": mean, "published": [low, high], "inside": low <= mean <= high}
    return found


def _cpu_seconds(study: AlignmentStudy) -> dict[str, int]:
    """CPU seconds of everything in the work folder, trials and measurements included."""
    work = study.settings.work
    training = sum(f.cpu_seconds for p in work.glob("cells/*/facts.json") if (f := read_facts(p.parent)) is not None)
    measuring = 0.0
    for path in work.glob("cells/*/*.npz"):
        measuring += float(read_npz(path, ["cpu_seconds"])["cpu_seconds"])
    return {"training": round(training), "measuring": round(measuring), "groups": round(study.group_seconds())}
