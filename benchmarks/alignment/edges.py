"""Rates beyond the grids of the comparison of methods, for rows whose best rate was the last of its grid; new rows.

    python benchmarks/alignment/edges.py --data DIR --work DIR

docs/results/alignment.md gave every row the same number of rates, and many took the lowest or the highest. Here such a
row goes on beyond its edge, by thirds, while validation persons like it better: the same persons, groups, steps and
seed. Rows that alignment.md does not have (rounds of DPO and of groups, other strengths of groups) get the same rates
and go on in the same way. Rows that gain, and all new ones, are then measured beside the base and `DPO, scorer` on the
first persons of wild/test, at their old rate too. `DIR` of the data holds wild/train, wild/val, wild/test, lab/train
and broad/train of SynthWild. Cells lie in `--work`; a run that was cut off goes on where it was. Writes
docs/results/alignment_edges.md and .json.
"""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evidence_frame import best_rate, by_kind, command, differences, rows_named, said
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.studies.alignment.cells import Cell
from hmralign.studies.alignment.jobs import CellJob
from hmralign.studies.alignment.measure import Columns, Kind
from hmralign.studies.alignment.phases import PHASES
from hmralign.studies.alignment.rows import BASE, row_named
from hmralign.studies.alignment.settings import StudySettings
from hmralign.studies.alignment.study import AlignmentStudy, Choice
from spent_cpu import SpentCpu

RESULTS = Path(__file__).parents[2] / "docs/results"
FOLLOWED = (None, "random", "scorer-lab")
"""Critics whose rows are looked at: nobody, chance, and the one that rows gain by."""
BESIDE = "DPO, scorer"
COLUMNS = ("fused", "single", "min_of_10")
TESTED_GAIN = 0.2
"""Millimetres on validation persons from which a row is measured anew: less is noise of the choice."""


NEW = (
    "DPO refreshed, scorer",
    "GPA sigmoid refreshed, scorer",
    *(f"GPA sigmoid, beta {beta}, scorer" for beta in (3, 10, 100)),
)
"""Rows that the document does not have."""


@dataclass(frozen=True)
class Edge:
    """A row whose best rate was the last of its grid, or which was never tuned."""

    name: str
    choice: Choice
    """What was chosen; of a new row its length alone."""
    trials: dict[float, float]
    """Rate -> `fused` on validation persons, mm, of runs of the chosen length."""

    @property
    def is_new(self) -> bool:
        return not self.trials

    @property
    def rates(self) -> tuple[float, ...]:
        """Where the search begins."""
        return tuple(self.trials) or row_named(self.name).rates


def new_rows(settings: StudySettings) -> Iterator[Edge]:
    """Rows without a choice or trials."""
    for name in NEW:
        yield Edge(name, Choice(0.0, settings.scaled(row_named(name).lengths[0]), None), {})


def edges_of(document: dict[str, Any]) -> Iterator[Edge]:
    """Rows at an edge, of the critics that are looked at."""
    for name, tried in document["tuning"].items():
        found = document["rows"].get(name)
        if found is None or found["critic"] not in FOLLOWED or not found["choice"] or not found["choice"]["rate"]:
            continue
        choice = Choice(**found["choice"] | {"temperature": None})
        trials = {t["rate"]: t["fused"] for t in tried if t["steps"] == choice.steps and t["fused"] is not None}
        if len(trials) > 1 and choice.rate in (min(trials), max(trials)):
            yield Edge(name, choice, trials)


def cell_of(study: AlignmentStudy, name: str, choice: Choice, rate: float) -> Cell:
    row = row_named(name)
    return Cell(row, 0, study.settings.seeds[0], rate, choice.steps, study.store_of(row)) if row.trains else Cell(row)


def gone_on(study: AlignmentStudy, edge: Edge) -> dict[str, Any]:
    """The best rate beyond an edge, and all trials."""

    def error(rate: float) -> float:
        if rate in edge.trials:
            return edge.trials[rate]
        cell = cell_of(study, edge.name, edge.choice, rate)
        study.work_off([CellJob(study, cell, (study.tuning,))])
        columns = study.columns(cell, study.tuning)
        return float("inf") if columns is None else round(float(columns["raw"]["fused"].mean()) * 1000, 2)

    return best_rate(error, edge.rates, extend=True)


def errors(study: AlignmentStudy, name: str, choice: Choice, rate: float) -> dict[str, Any]:
    """`kind.column` -> errors of each test person, metres."""
    cell, what = cell_of(study, name, choice, rate), study.final(choice)
    study.work_off([CellJob(study, cell, (what,))])
    columns: dict[Kind, Columns] | None = study.columns(cell, what)
    if columns is None:
        raise SystemExit(f"{name} at {rate:g} has no figures")
    return by_kind(columns, COLUMNS)


def tested(study: AlignmentStudy, found: dict[str, dict], edges: dict[str, Edge], known: Choice) -> dict[str, Any]:
    """Rows that gained, at the new rate and at the old one, against the base and the row that stands beside all."""
    base = errors(study, BASE, known, 0.0)
    beside = errors(study, BESIDE, known, known.rate)
    rows = {BESIDE: {"rate": known.rate, "minus_base": differences(beside, base)}}
    for name, one in found.items():
        edge = edges[name]
        if not edge.is_new and edge.trials[edge.choice.rate] - one["trials"][f"{one['rate']:g}"] < TESTED_GAIN:
            continue
        new = errors(study, name, edge.choice, one["rate"])
        rows[name] = {
            "rate": one["rate"], "minus_base": differences(new, base), "minus_beside": differences(new, beside)
        }  # fmt: skip
        if not edge.is_new:
            old = errors(study, name, edge.choice, edge.choice.rate)
            rows[name] |= {
                "old_rate": edge.choice.rate, "old_minus_base": differences(old, base),
                "minus_old": differences(new, old),
            }  # fmt: skip
        print(name, rows[name]["minus_base"]["refined.fused"], flush=True)
    return rows


def text_of(document: dict[str, Any]) -> str:
    s = document["settings"]
    lines = [
        "# Beyond the edges of the grids", "",
        "Rows of [alignment.md](alignment.md) that follow nobody, chance or the scorer and took the last "
        f"rate of their grid. `lite-lab`, one fine-tuning seed, {s['persons']} groups, as there; `fused` without "
        f"refinement on {s['val_persons']} persons of wild/val, mm. Rates go on by thirds while that falls. Trials "
        "inside the grids are those of alignment.json.", "",
        f"Command: `python benchmarks/alignment/edges.py --data DIR --work DIR {s['command']}`; {s['cpu_minutes']} CPU "
        "minutes, without what was cut off.", "",
    ]  # fmt: skip
    if reading := document.get("reading"):
        lines += [reading.strip(), ""]
    tried = sorted({rate for one in document["tuning"].values() for rate in one["trials"]}, key=float)
    body = []
    for name, one in document["tuning"].items():
        cells = [f"{one['trials'][rate]:.1f}" if rate in one["trials"] else "" for rate in tried]
        took = f"{one['old_rate']:g}" if one["old_rate"] else ""
        body.append([name, took, f"{one['rate']:g}", *cells])
    lines += ["## Trials", "", markdown_table(["row", "took", "takes", *tried], body), ""]
    lines += [f"## Test persons ({document['test_persons']} of wild/test, M = 20)", ""]
    lines += [
        f"Rows that gained {TESTED_GAIN} mm or more, and rows that alignment.md does not have.",
        "Differences are paired, with 95 % intervals.",
        "",
    ]
    head = ["row", "rate", "fused - base", "at the old rate", "refined", "at the old rate", "min 10, refined",
            f"minus {BESIDE}", "the same, refined", "min 10, refined"]  # fmt: skip
    body = []
    for name, row in document["rows"].items():
        new, old, beside = row["minus_base"], row.get("old_minus_base"), row.get("minus_beside")
        body.append([
            name, f"{row['rate']:g}", said(new["raw.fused"]), said(old["raw.fused"]) if old else "",
            said(new["refined.fused"]), said(old["refined.fused"]) if old else "", said(new["refined.min_of_10"]),
            *(said(beside[k]) if beside else "" for k in ("raw.fused", "refined.fused", "refined.min_of_10")),
        ])  # fmt: skip
    return "\n".join([*lines, markdown_table(head, body)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmark")
    parser.add_argument("--work", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "alignment_edges.json", help="where the report goes")
    parser.add_argument("--rows", nargs="+", help="names of rows; all at an edge without it")
    parser.add_argument("--persons", type=int, default=2000, help="persons with groups")
    parser.add_argument("--val-persons", type=int, default=300, help="persons that choose rates")
    parser.add_argument("--test-persons", type=int, default=500, help="persons of the table")
    parser.add_argument("--final-split", default="wild/test", help="split of the table; another one for trying this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "edges_cpu_seconds.json")
    known = read_json(RESULTS / "alignment.json", "the comparison")
    settings = StudySettings(
        args.data, args.work, RESULTS / "test_openings.jsonl", ("lite-lab",), persons=args.persons,
        val_persons=args.val_persons, final_split=args.final_split, final_persons=args.test_persons, many_rows=(),
        temperatures=(),
    )  # fmt: skip
    found = (*new_rows(settings), *edges_of(known))
    edges = {edge.name: edge for edge in rows_named(found, args.rows)}
    study = AlignmentStudy(replace(settings, rows=(*edges, BESIDE)))
    PHASES["groups"](study)
    tuning = {name: gone_on(study, edge) | {"old_rate": edge.choice.rate} for name, edge in edges.items()}
    rows = tested(study, tuning, edges, Choice(**known["rows"][BESIDE]["choice"] | {"temperature": None}))
    reading = args.out.with_name(f"{args.out.stem}_reading.md")
    said_of_it = {"persons": args.persons, "val_persons": args.val_persons, "cpu_minutes": round(spent.minutes())}
    said_of_it["command"] = command()
    document = {"settings": said_of_it, "tuning": tuning, "test_persons": args.test_persons, "rows": rows}
    write_json(args.out, document, indent=1)
    told = document | {"reading": reading.read_text(encoding="utf-8") if reading.is_file() else None}
    write_whole(args.out.with_suffix(".md"), text_of(told).encode())


if __name__ == "__main__":
    main()
