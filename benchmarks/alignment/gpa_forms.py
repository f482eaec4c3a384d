"""GPA as printed and as its public code has it, from `lite-lab` on wild persons, beside rows of the full comparison.

    python benchmarks/alignment/gpa_forms.py --data DIR --work DIR

`DIR` of the data holds wild/train, wild/val, wild/test and lab/val of SynthWild. A short form of
`benchmarks/alignment/alignment.py`: the same persons, groups, steps and trials, but one base, two fine-tuning seeds
for every row, and fewer test persons. Rates of older rows are those that docs/results/alignment.json chose on the same
base; the new rows are tuned here. Cells lie in `--work`; a run that was cut off goes on where it was.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.studies.alignment.figures import runs_of, study_document
from hmralign.studies.alignment.phases import PHASES
from hmralign.studies.alignment.report import (
    COMPARED,
    READING,
    TITLES,
    answers_table,
    details_table,
    stopped_table,
    trials_table,
)
from hmralign.studies.alignment.rows import row_named
from hmralign.studies.alignment.settings import StudySettings
from hmralign.studies.alignment.shown import shown_text
from hmralign.studies.alignment.study import AlignmentStudy
from hmralign.studies.table import compared

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
COMMAND = "python benchmarks/alignment/gpa_forms.py --data FOLDER --work WORK"
CRITICS = ("oracle", "scorer", "reprojection")
ALONE = "GPA code, denoising alone"
ROWS = (
    "SFT own mean",
    "best-of-N, random critic",
    ALONE,
    *(f"{method}, {c}" for method in ("best-of-N", "DPO", "GPA sigmoid", "GPA paper", "GPA code") for c in CRITICS),
    "GPA code, half truth, scorer",
    "GPA code, half truth, reprojection",
)
PAIRS = (
    *((f"GPA code, {c}", f"GPA paper, {c}") for c in CRITICS),
    *((f"GPA code, {c}", ALONE) for c in CRITICS),
    *((f"GPA code, {c}", f"DPO, {c}") for c in CRITICS),
    *((f"GPA code, half truth, {c}", f"GPA code, {c}") for c in CRITICS[1:]),
    *((f"GPA code, half truth, {c}", "GPA code, oracle") for c in CRITICS[1:]),
    (ALONE, "SFT own mean"),
)


def settings_of(args: argparse.Namespace) -> StudySettings:
    """The full comparison's, shortened."""
    return StudySettings(
        args.data, args.work, RESULTS / "test_openings.jsonl", ("lite-lab",), persons=args.persons,
        val_persons=args.val_persons, final_split=args.final_split, final_persons=args.test_persons,
        forget_persons=args.forget_persons, many_rows=(), temperatures=(), rows=ROWS, all_matter=True,
        known=RESULTS / "alignment.json", deadline=args.deadline,
    )  # fmt: skip


def pairs_of(study: AlignmentStudy) -> dict[str, Any]:
    """Differences of one row to another, person by person."""
    runs = {}
    for name in dict.fromkeys(name for pair in PAIRS for name in pair):
        row = row_named(name)
        runs[name] = runs_of(study, row, study.choice(row))
    return {f"{a} - {b}": found for a, b in PAIRS if (found := compared(runs[a], runs[b]))}


def markdown(document: dict[str, Any], reading: str) -> str:
    s, spent, rows = document["settings"], document["cpu_seconds"], document["rows"]
    bases = ", ".join(f"{name} ({sha[:8]})" for name, sha in s["bases"].items())
    persons = {key: counted(s[key], "person") for key in ("val_persons", "final_persons", "forget_persons")}
    heading = (
        f"{counted(s['persons'], 'group')} of {s['group_size']} from {s['train_split']}, base {bases}, "
        f"{counted(s['steps'], 'step')} of {counted(s['batch_size'], 'hypothesis')}, fine-tuning seeds "
        f"{', '.join(str(seed) for seed in s['seeds'])}. `GPA paper` is eq. 6 as printed (`--preset gpa-paper`), `GPA "
        "code` what the public code has in its place (`gpa-code`, with 14 of 16 members drawn anew instead of 20 of "
        "22); `half truth` has half of the persons, and of each batch, scored by the truth (`oracle-gpa`), as the code "
        "has on its labelled sets; `denoising alone` is the code's loss without its preference part. Rates of rows "
        "`GPA paper` and `GPA code` were chosen here, by `fused` without refinement on the first "
        f"{persons['val_persons']} of {s['val_split']}, with seed 0; `half truth` and `denoising alone` have the rate "
        "that `GPA code` took with every critic, and the other rows those that [alignment.md](alignment.md) chose in "
        "the same way.\n\n"
        f"Measured on the first {persons['final_persons']} of {s['final_split']}, M = {s['hypotheses']}, "
        f"{s['benchmark']}, {s['joints']}. Millimetres; runs are averaged person by person, differences are paired "
        "over persons with 95 % bootstrap intervals, `sd` is that of the two seeds. `min` is an oracle. `lab` is the "
        f"change of `fused` on {s['forget_split']} ({persons['forget_persons']}): forgetting. One base: its variation "
        f"is in no interval.\n\nCPU seconds: {sum(spent.values()):.0f} (trainings {spent['training']}, measurements "
        f"{spent['measuring']}, groups and scores {spent['groups']}).\n\nCommand:\n\n    {COMMAND}"
    )
    parts = ["# GPA's two forms", f"{READING}\n{reading.strip()}\n{READING}", heading]
    for kind, title in TITLES.items():
        parts += [f"## {title}", answers_table(rows, kind), details_table(rows, kind)]
    lines = [
        [name, kind, *(f"{m:+.1f} ({lo:+.1f} to {hi:+.1f})" for m, lo, hi in (found[kind][c] for c in COMPARED))]
        for name, found in document["pairs"].items()
        for kind in TITLES
    ]
    parts += ["## Row against row, paired", markdown_table(["pair", "", *COMPARED.values()], lines)]
    tuned = {name: trials for name, trials in document["tuning"].items() if trials}
    parts += ["## Trials", trials_table(tuned, rows)]
    parts += ["## Runs that their guard stopped", stopped_table(document)]
    if document["not_run"]:
        missing = [list(item) for item in document["not_run"].items()]
        parts += ["## Not run yet", markdown_table(["row", "what is missing"], missing)]
    return "\n\n".join(parts) + "\n"


def report(study: AlignmentStudy, out: Path) -> None:
    """Tables and the figures in them; gpa_forms_reading.md, where it is there, is put at the top."""
    document = study_document(study, (COMMAND,))
    unused = ("sweeps", "replication", "paired")
    document = {k: v for k, v in document.items() if k not in unused} | {"pairs": pairs_of(study)}
    document["not_run"] = {name: why for name, why in document["not_run"].items() if name in ROWS}
    kept = out.with_name(f"{out.stem}_reading.md")
    reading = kept.read_text(encoding="utf-8") if kept.is_file() else "No reading yet."
    write_whole(out.with_suffix(".json"), shown_text(document | {"sweeps": {}}))
    write_whole(out.with_suffix(".md"), markdown(document, reading).encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="folder of the benchmark")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/gpa_forms", help="folder of the cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpa_forms.json", help="where the report goes")
    parser.add_argument("--phase", choices=["groups", "tune", "final", "report", "all"], default="all")
    parser.add_argument("--deadline", type=float, help="begin no cell after so many minutes")
    parser.add_argument("--persons", type=int, default=2000, help="persons with groups")
    parser.add_argument("--val-persons", type=int, default=300, help="persons that choose rates")
    parser.add_argument("--test-persons", type=int, default=500, help="persons of the tables")
    parser.add_argument("--forget-persons", type=int, default=200, help="persons that show what was forgotten")
    parser.add_argument("--final-split", default="wild/test", help="split of the tables; another one for trying this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("hmralign.alignment_study").setLevel(logging.INFO)
    try:
        study = AlignmentStudy(settings_of(args))
        for phase in ("groups", "tune", "final"):
            if args.phase in (phase, "all") and (left := PHASES[phase](study)):
                sys.stderr.write(f"{phase}: stopped at the deadline with {len(left)} jobs left\n")
                return 1
        if args.phase in ("report", "all"):
            report(study, args.out)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
