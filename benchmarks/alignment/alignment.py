"""The comparison of alignment methods: every objective, several critics, controls, ceiling, on up to three bases.

    python benchmarks/alignment/alignment.py --data DIR --work DIR --phase groups|tune|final|sweep|replicate|report|all

`DIR` holds wild/train, wild/val, wild/test, lab/train, lab/val and broad/train of SynthWild. What is compared stands in
`hmralign.studies.alignment`: the rows in `rows.py`, who is measured and how often in `settings.py`. A cell (one
row, base, fine-tuning seed and rate) is a folder in `--work`; a run that was cut off goes on where it was, and several
processes may work on one folder at the same time. `report` writes docs/results/alignment.md, alignment.json with the
figures in its tables, and alignment.json in `--work` with all figures; docs/results/alignment_reading.md, where it is
there, is put at the top.
"""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError
from hmralign.studies.alignment.figures import study_document
from hmralign.studies.alignment.phases import PHASES
from hmralign.studies.alignment.report import study_markdown
from hmralign.studies.alignment.settings import SECOND_BASES, StudySettings
from hmralign.studies.alignment.shown import shown_text
from hmralign.studies.alignment.study import AlignmentStudy

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
COMMANDS = tuple(
    f"python benchmarks/alignment/alignment.py --data FOLDER --work WORK --phase {phase}"
    for phase in (*PHASES, "report")
)


def settings_of(args: argparse.Namespace) -> StudySettings:
    """The defaults, with what the arguments change."""
    settings = StudySettings(args.data, args.work, RESULTS / "test_openings.jsonl", tuple(args.bases), args.groups)
    given = {
        "persons": args.persons, "steps": args.steps, "val_persons": args.val_persons, "final_split": args.final_split,
        "final_persons": args.test_persons, "forget_persons": args.forget_persons, "many_persons": args.many_persons,
        "sweep_critic": args.sweep_critic, "deadline": args.deadline, "rows": tuple(args.rows),
    }  # fmt: skip
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def report(study: AlignmentStudy, out: Path) -> None:
    """What is there: the whole document in the work folder, its tables and the figures in them at `out`."""
    document = study_document(study, COMMANDS)
    reading = out.with_name(f"{out.stem}_reading.md")
    text = study_markdown(document, reading.read_text(encoding="utf-8") if reading.is_file() else None)
    write_json(study.settings.work / "alignment.json", document, indent=1)
    write_whole(out.with_suffix(".json"), shown_text(document))
    write_whole(out.with_suffix(".md"), text.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="folder of the benchmark")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/alignment", help="folder of the cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "alignment.json", help="where the report goes")
    parser.add_argument("--phase", choices=[*PHASES, "report", "all"], default="all")
    parser.add_argument("--bases", nargs="+", default=["lite-lab", *(str(ROOT / path) for path in SECOND_BASES)])
    parser.add_argument("--groups", type=Path, default=ROOT / "runs/groups_wild", help="store that may be copied")
    parser.add_argument("--rows", nargs="*", default=[], help="only rows whose name contains one of these")
    parser.add_argument("--deadline", type=float, help="begin no cell after so many minutes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--persons", type=int, help="persons with groups (2000)")
    parser.add_argument("--steps", type=int, help="optimiser steps (300)")
    parser.add_argument("--val-persons", type=int, help="persons that choose rates (300)")
    parser.add_argument("--test-persons", type=int, help="persons of the tables (1000)")
    parser.add_argument("--many-persons", type=int, help="persons of the best of 100 (300)")
    parser.add_argument("--forget-persons", type=int, help="persons that show what was forgotten (200)")
    parser.add_argument("--final-split", help="split of the tables (wild/test); another one for trying this out")
    parser.add_argument("--sweep-critic", help="critic of the sweeps (scorer)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("hmralign.alignment_study").setLevel(logging.INFO)
    try:
        study = AlignmentStudy(settings_of(args))
        for phase in PHASES if args.phase == "all" else [args.phase] if args.phase in PHASES else []:
            if left := PHASES[phase](study):
                sys.stderr.write(f"{phase}: stopped at the deadline with {len(left)} jobs left\n")
                break
        if args.phase in ("report", "all"):
            report(study, args.out)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
