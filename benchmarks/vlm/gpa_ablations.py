"""GPA's ablations with a simulated judge on SynthWild: a mechanism test of `hmralign critic ablate`, no evidence.

    python benchmarks/vlm/gpa_ablations.py --data FOLDER [--work FOLDER] [--out FOLDER]

FOLDER is SynthWild (`hmralign bench`); lab/train is learnt on, wild/train is scored and aligned with, wild/val is
measured. No test split is opened. Who judges is `simulated_backend.py`; its requests are those that a vision-language
model would get. A run that was stopped goes on where it was.
"""

import argparse
import time
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main as hmralign
from hmralign.overlays.hypothesis_tile import TileStyle
from hmralign.storage.whole_file import write_whole
from hmralign.studies.judge_ablations.judge import Judge
from hmralign.studies.judge_ablations.run import JSON, MARKDOWN, run_ablations
from hmralign.studies.judge_ablations.settings import StudyConfig, study_from
from judge_simulator import ASPECTS, DISTRACTORS, JudgeConfig, Miner, SimulatedJudge, rules_of
from simulated_backend import WHAT, SimulatedBackend

RESULTS = Path(__file__).parents[2] / "docs" / "results"
BASE = "lite-lab"
STYLE = TileStyle(views="overlay", side=64, strip=0)
JUDGE = JudgeConfig(centred=True)
"""Real groups differ less than they are bad: scores that are not centred would all be 0."""
INTRODUCTION = """\
The program knows what is wrong with every body, part by part, and errs in ways that are written down: it overlooks
knees, feet, arms and hips until a rule names them, weighs parts by habit until remembered cases show it better, obeys
wrong rules, and adds noise. A memory that works must therefore help here; by how much says nothing about a model that
looks at pictures. What is tested is the way: prompts of each arm, memories, scores, trainings, measurements, costs.
Written by `python benchmarks/vlm/gpa_ablations.py --data FOLDER`."""


def groups(data: Path, work: Path, split: str, persons: int, group_size: int) -> Path:
    """A store of the first persons of a split, with truth."""
    out = work / f"{split.replace('/', '_')}_{persons}_{group_size}"
    words = [
        "--checkpoint",
        BASE,
        "--persons",
        str(persons),
        "--group-size",
        str(group_size),
        "--with-truth",
        "--quiet",
    ]
    code = hmralign(
        ["groups", str(data / split.replace("/", "_")), "--out", str(out), *words, "--critic", "reprojection"]
    )
    assert code == 0
    return out


def study(data: Path, learn: Path, score: Path, steps: int, persons: int) -> StudyConfig:
    """The paper's arms; rules begin with one that helps and one that hurts, as in `simulated_judge.py`."""
    first = [{"text": r.text, "tags": list(r.tags)} for r in rules_of(ASPECTS[:1]) + rules_of(DISTRACTORS[:1])]
    return study_from(
        {
            "learn": str(learn), "score": str(score), "base": BASE,
            "measure": {"split": "wild/val", "data": str(data), "persons": persons, "hypotheses": 10, "kinds": ["raw"]},
            "judging": {"style": {"views": STYLE.views, "side": STYLE.side, "strip": STYLE.strip}},
            "explore": {"round_size": 8}, "first_rules": first, "align": {"training": {"steps": steps}},
            "seeds": [0],
        }
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/gpa_ablations"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--learn", type=int, default=64, help="groups of lab/train")
    parser.add_argument("--score", type=int, default=320, help="groups of wild/train")
    parser.add_argument("--persons", type=int, default=150, help="persons of wild/val")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    learn = groups(args.data, args.work, "lab/train", args.learn, args.group_size)
    score = groups(args.data, args.work, "wild/train", args.score, args.group_size)
    backend = SimulatedBackend([learn, score], load_free_body("3k5"), STYLE, SimulatedJudge(JUDGE), Miner())
    print(f"groups and index: {time.process_time() - start:.0f} CPU s", flush=True)
    config = study(args.data, learn, score, args.steps, args.persons)
    run_ablations(config, args.work / "study", Judge(backend, WHAT), introduction=INTRODUCTION)
    for name in (JSON, MARKDOWN):
        write_whole(args.out / name, (args.work / "study" / name).read_bytes())
    print((args.out / MARKDOWN).read_text())
    print(f"{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
