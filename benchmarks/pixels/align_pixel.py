"""Does what alignment taught about `lite-lab` hold for a model that sees pixels? `pixel`, aligned and measured.

    hmralign bench --out runs/synthwild --splits wild/train wild/val wild/test
    python benchmarks/pixels/align_pixel.py --data runs/synthwild --checkpoint pixel --work runs/align_pixel

A short form: one base, groups of 16 on the first persons of wild/train with pictures, the methods own mean, best-of-N,
DPO and sigmoid groups, critics oracle, limb tilts read off the pixels, and reprojection, the rates that were chosen for
`lite-lab`, several fine-tuning seeds. Measured as `benchmarks/pixels/pixel.py` does. What is done already in --work is
kept. Writes docs/results/align_pixel.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hmralign.data.dataset import open_dataset
from hmralign.evaluation.openings import log_opening
from hmralign.metrics.intervals import paired_difference
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.reports.markdown_table import markdown_table
from pixel import MILLIMETRES, SHARES, cell, measured

ROOT = Path(__file__).resolve().parents[2]
ALL = ("random", "oracle", "limb-tilt", "reprojection")
METHODS = {
    "own mean": ("sft", ("-",)), "best-of-N": ("best-of-n", ALL), "DPO": ("dpo", ALL),
    "sigmoid groups": ("group", ("oracle", "limb-tilt")),
}  # fmt: skip
"""Row -> method, critics."""


def run(*arguments: object) -> float:
    """A command of the package, in a process of its own; CPU seconds."""
    before = time.process_time(), _children()
    command = [sys.executable, "-m", "hmralign", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return _children() - before[1]


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def groups(args) -> Path:
    """The store of the base's groups, with scores of all critics."""
    store = args.work / "groups"
    made = ["--dataset", "synthwild-images", "--data", args.data, "--split", "wild/train", "--persons", args.persons]
    critics = sorted({c for _, names in METHODS.values() for c in names} - {"-"})
    named = [word for critic in critics for word in ("--critic", critic)]
    run("groups", "--checkpoint", args.checkpoint, *made, "--group-size", 16, "--with-truth", *named, "--out", store)
    return store


def aligned(args, store: Path, method: str, critic: str, seed: int) -> Path:
    """The checkpoint of one run, at the rate that the method recommends."""
    folder = args.work / (f"{method}_{critic}_{seed}" + (f"_{args.rate:g}" if args.rate else ""))
    found = folder / "model.safetensors"
    if not found.is_file():
        follows = [] if critic == "-" else ["--critic", critic]
        options = ["--checkpoint", args.checkpoint, "--steps", args.steps, "--seed", seed, *follows]
        options += ["--learning-rate", args.rate] if args.rate else []
        spent = run("align", method, "--groups", store, "--out", folder, *options)
        print(f"{folder.name}: {spent:.0f} CPU seconds", flush=True)
    return found


def main() -> None:
    """Sample, align, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--checkpoint", default="pixel")
    parser.add_argument("--persons", type=int, default=800)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rate", type=float, help="for every method; default: what each recommends")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/align_pixel")
    parser.add_argument("--split", default="wild/test")
    parser.add_argument("--measured", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    store = groups(args)
    if args.split.endswith("/test"):
        log_opening(args.data / "test_openings.jsonl", args.split, "benchmarks/pixels/align_pixel.py")
    examples = open_dataset("synthwild-images", args.data, args.split).first(args.measured).examples
    assert examples.annotation is not None
    truth = examples.annotation.joints

    def columns(checkpoint: str) -> dict[str, dict[str, np.ndarray]]:
        return {
            kind: measured(checkpoint, examples.observation, truth, kind == "refined", 20, 0)
            for kind in ("raw", "refined")
        }

    base, rows = columns(args.checkpoint), {}
    for name, (method, critics) in METHODS.items():
        for critic in critics:
            runs = [columns(str(aligned(args, store, method, critic, seed))) for seed in args.seeds]
            mean = {k: {c: np.mean([r[k][c] for r in runs], axis=0) for c in runs[0][k]} for k in runs[0]}
            label = name if critic == "-" else f"{name}, {critic}"
            rows[label] = mean
            print(label, {k: round(1000 * float((v["fused"] - base[k]["fused"]).mean()), 1) for k, v in mean.items()})
    _write(args, base, rows)


HEAD = """# Alignment of `pixel`, short form

{persons} groups of 16 from wild/train with pictures, {steps} steps at {said} (not tuned
here), seeds {seeds}; the first {measured} persons of {split}, 20 hypotheses. Millimetres and percent, paired
differences from the base with 95 % intervals over persons, runs averaged person by person.

    python benchmarks/pixels/align_pixel.py --data runs/synthwild --checkpoint {checkpoint} --work runs/align_pixel \\
        --persons {persons} --steps {steps} --split {split} --measured {measured}{rate_said}
"""


def _write(args, base, rows) -> None:
    names, parts = (*MILLIMETRES, *SHARES), []
    for kind in ("raw", "refined"):
        changes = {row: {n: paired_difference(c[kind][n], base[kind][n]) for n in names} for row, c in rows.items()}
        lines = [[row, *(cell(n, change[n]) for n in names)] for row, change in changes.items()]
        parts += [f"## {kind.capitalize()}: change from the base", markdown_table(["row", *names], lines)]
    out = args.out
    rate = f" --rate {args.rate:g}" if args.rate else ""
    said = f"a learning rate of {args.rate:g}" if args.rate else "the rate that each method recommends"
    head = HEAD.format(**{**vars(args), "seeds": ", ".join(map(str, args.seeds)), "said": said, "rate_said": rate})
    out.with_suffix(".md").write_text(head + "\n" + "\n\n".join(parts) + "\n", encoding="utf-8")
    figures = {
        row: {k: {n: round(float((v - base[k][n]).mean()), 6) for n, v in c[k].items()} for k in c}
        for row, c in rows.items()
    }
    record = {"checkpoint": checkpoint_hash(args.checkpoint), "seeds": args.seeds, "rows": figures}
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
