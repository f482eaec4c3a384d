"""The tables of SynthWild: shipped models and baselines, with intervals, slices and calibration.

    python benchmarks/synthwild/synthwild_tables.py --data FOLDER [--test] [--cpu-seconds 300]

Without `--test` only validation persons are read and each model's recalibration is fitted and kept. With `--test` the
test splits are opened, which is logged in docs/results/test_openings.jsonl, with the recalibrations kept from
validation. The regressor is trained once, on the data of `lite-lab`, and kept in `--work`.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.calibration_plot import draw_calibration
from hmralign.evaluation.markdown import evaluation_markdown
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.summary import differences, recalibration_record
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.models.lite import LiteConfig
from hmralign.models.regressor import PoseRegressor
from hmralign.storage.presets import preset_path
from hmralign.systems.evaluate.run import (
    EvaluateConfig,
    evaluate_policy,
    first_persons,
    measure,
    protocol_of,
    recalibrate,
    write_columns,
)
from hmralign.training.configuration import read_training_config
from synthwild_baselines import LabMemory, regressed, train_regressor

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
SIZE = LiteConfig(width=256, hidden=512, depth=3, context_width=256, context_depth=2)
COMPARED = ("single", "fused", "fused_pa")


def the_regressor(data: Path, work: Path, cpu_seconds: float) -> PoseRegressor:
    path = work / f"regressor_{cpu_seconds:.0f}s.pt"
    if path.exists():
        model = PoseRegressor(SIZE)
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    config = read_training_config(preset_path("base", "lite-lab"))
    folders = (str(data / "lab_train"), str(data / "broad_train"))
    model = train_regressor(replace(config, shards=folders, max_hours=None), SIZE, cpu_seconds)
    work.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


def evaluate(split: str, args: argparse.Namespace, predictors: dict) -> dict:
    body = load_free_body("3k5")
    measured = {}
    rows = {"lite-lab": ("lite-lab", True), "lite": ("lite", True)}
    if args.samples_only:
        rows |= {"lite-lab, samples only": ("lite-lab", False), "lite, samples only": ("lite", False)}
    for name, (checkpoint, refine) in rows.items():
        config = EvaluateConfig(persons=args.persons)
        if not refine:
            config = replace(config, predict=replace(config.predict, refinement=RefinementConfig(method="none")))
        kept = args.work / f"recalibration_{name.replace(', ', '_').replace(' ', '_')}.json"
        recalibration = json.loads(kept.read_text()) if split != "wild/val" and kept.exists() else None
        found = evaluate_policy(
            args.checkpoints.get(checkpoint, checkpoint), args.data, split, config,
            recalibration=recalibration,
            log=RESULTS / "test_openings.jsonl", why="benchmarks/synthwild/synthwild_tables.py",
        )  # fmt: skip
        if split == "wild/val":
            kept.write_text(json.dumps(recalibration_record(recalibrate(found), found.evaluation.protocol), indent=1))
        measured[name] = found.evaluation
        print(split, name, found.evaluation.record()["all"]["fused_mm"], flush=True)
    opened = first_persons(open_split(args.data, split), args.persons)
    for name, predictor in predictors.items():
        if split.endswith("/test"):
            log_opening(
                RESULTS / "test_openings.jsonl", split, "benchmarks/synthwild/synthwild_tables.py", predictor=name
            )
        config = EvaluateConfig()
        protocol = replace(
            protocol_of(opened, body, config, name, "", ("lab/train", "broad/train")),
            num_hypotheses=1, sampler_steps=0, refinement={"method": "none"}, critics={},
            answer="its one body",
        )  # fmt: skip
        measured[name] = measure(predictor(opened.examples.observation), opened, body, protocol).evaluation
        print(split, name, measured[name].record()["all"]["fused_mm"], flush=True)
    first = measured["lite-lab"]
    document = {
        "predictors": {name: e.record() for name, e in measured.items()},
        "differences to lite-lab": {
            name: differences(e, first, COMPARED) for name, e in measured.items() if name != "lite-lab"
        },
    }
    stem = RESULTS / f"synthwild_{split.replace('/', '_')}"
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    stem.with_suffix(".md").write_text(
        evaluation_markdown(document)
        + "\nCommand: `python benchmarks/synthwild/synthwild_tables.py --data FOLDER --test`.\n"
    )
    draw_calibration({n: e.calibration for n, e in measured.items() if ", " not in n}, stem.with_suffix(".png"))
    for name in ("lite-lab", "lite"):
        write_columns(args.work / f"persons_{name}_{split.replace('/', '_')}.npz", measured[name])
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/synthwild_tables")
    parser.add_argument("--cpu-seconds", type=float, default=300.0, help="of the regressor's training; 0: without it")
    parser.add_argument("--test", action="store_true", help="open the test splits")
    parser.add_argument("--samples-only", action="store_true", help="add rows without refinement")
    parser.add_argument("--persons", type=int, help="only the first so many of each split")
    parser.add_argument("--splits", nargs="*", help="instead of all of them")
    parser.add_argument("--checkpoints", nargs="*", default=[], help="NAME=PATH instead of the shipped weights")
    args = parser.parse_args()
    args.checkpoints = dict(pair.split("=", 1) for pair in args.checkpoints)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    memory = LabMemory(args.data)
    predictors = {"nearest of 40k lab": memory.nearest, "mean pose": memory.mean_pose}
    if args.cpu_seconds > 0:
        regressor = the_regressor(args.data, args.work, args.cpu_seconds)
        predictors["regressor"] = lambda observation: regressed(regressor, observation)
    default = ["lab/test", "wild/test", "mocap/test"] if args.test else ["wild/val", "lab/val"]
    for split in args.splits or default:
        evaluate(split, args, predictors)


if __name__ == "__main__":
    main()
