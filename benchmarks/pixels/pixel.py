"""What the picture gives: models that see it, the same without it, and with another person's.

    hmralign bench --out runs/synthwild --splits wild/test lab/test
    python benchmarks/pixels/pixel.py --data runs/synthwild --split wild/test --rows lite=lite \\
        blind=runs/pixel_blind/pixel.safetensors pixel=runs/pixel/pixel.safetensors --against blind

Writes docs/results/pixel_<world>_<part>.{json,md} (--out elsewhere). Rows that look at pixels have a second row,
"exchanged": everybody with the picture of the next person, a control in which no gain may survive. All rows share
persons, noise and refinement; intervals are 95 % bootstrap over persons, differences are paired.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.dataset import open_dataset
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.person_errors import Truth, person_errors
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig, crop_side
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures import Observation
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches

ROOT = Path(__file__).resolve().parents[2]
MILLIMETRES = ("fused", "fused_depth", "fused_plane", "fused_pa", "single", "min_of_10", "spread")
SHARES = ("limbs_wrong", "turned")
"""Share of limbs steeper than 20 degrees whose end lies on the wrong side of its start; of persons who face the other
way."""
STEEP = 0.35


HEAD = """# With and without pixels: {benchmark}, {split}

The first {persons} persons, {hypotheses} hypotheses, noise of seed {seed}; millimetres, pelvis-relative, shares in
percent, 95 % intervals over persons. `limbs_wrong`: limbs steeper than 20 degrees whose end lies on the wrong side of
their start in depth; `turned`: persons who face the other way. `exchanged`: everybody with the next person's picture.

    python benchmarks/pixels/pixel.py --data runs/synthwild --split {split} --persons {persons} \\
        --hypotheses {hypotheses} --seed {seed} --against {against} \\
        --rows {rows}
"""


def fronts(joints: torch.Tensor) -> torch.Tensor:
    """Direction that the trunk faces: across (from right to left) times up."""
    across = joints[:, 16] - joints[:, 17] + joints[:, 1] - joints[:, 2]
    up = joints[:, 12] - joints[:, 0]
    return torch.linalg.cross(across, up, dim=-1)


def measured(checkpoint: str, observation: Observation, truth: torch.Tensor, refine: bool, hypotheses: int, seed: int):
    """Columns of errors, one number per person."""
    policy = open_policy(checkpoint, load_free_body("3k5")).policy
    refinement = RefinementConfig() if refine else RefinementConfig(method="none")
    config = PredictConfig(SamplerConfig(num_hypotheses=hypotheses), refinement, seed=seed)
    columns: dict[str, list] = {}
    for part, predicted in predict_in_batches(policy, observation, config):
        here = truth[part]
        found = person_errors(replace(predicted, fused_vertices=None, selected_vertices=None), Truth(here), (10,))
        steep, ours = limb_tilts(here), limb_tilts(predicted.fused)
        counted = steep.abs() > STEEP
        wrong = (counted & (steep * ours < 0)).float().sum(-1) / counted.sum(-1).clamp(min=1)
        found |= {"limbs_wrong": wrong, "turned": ((fronts(predicted.fused) * fronts(here)).sum(-1) < 0).float()}
        for name in (*MILLIMETRES, *SHARES):
            columns.setdefault(name, []).append(found[name])
    return {name: torch.cat(parts).double().numpy() for name, parts in columns.items()}


def exchanged(observation: Observation) -> Observation:
    """Everybody with the picture of the next person."""
    assert observation.crop is not None
    return replace(observation, crop=observation.crop.roll(1, dims=0))


def all_rows(args, observation: Observation, truth: torch.Tensor) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Row -> "raw" or "refined" -> columns."""
    rows: dict[str, dict] = {}
    for given in args.rows:
        name, checkpoint = given.split("=", 1)
        sees = crop_side(open_policy(checkpoint, load_free_body("3k5")).policy) is not None
        for label, seen in ((name, observation), *([(f"{name}, exchanged", exchanged(observation))] if sees else [])):
            rows[label] = {
                kind: measured(checkpoint, seen, truth, kind == "refined", args.hypotheses, args.seed)
                for kind in ("raw", "refined")
            }
            print(label, {k: round(1000 * float(v["fused"].mean()), 1) for k, v in rows[label].items()}, flush=True)
    return rows


def cell(name: str, interval) -> str:
    """An interval as a table shows it."""
    factor, digits = (100, 1) if name in SHARES else (1000, 1)
    i = interval.scaled(factor)
    return f"{i.mean:.{digits}f} ({i.low:.{digits}f} to {i.high:.{digits}f})"


def tables(rows, against: str) -> str:
    """Means, then differences from the reference and of own from exchanged pictures."""
    names, text = (*MILLIMETRES, *SHARES), []
    for kind in ("raw", "refined"):
        means = [[row, *(cell(n, bootstrap_mean(c[kind][n])) for n in names)] for row, c in rows.items()]
        text += [f"## {kind.capitalize()}", markdown_table(["row", *names], means)]
        pairs = [(row, against) for row in rows if row != against]
        pairs += [(row, f"{row}, exchanged") for row in rows if f"{row}, exchanged" in rows]
        lines = []
        for row, reference in pairs:
            ours, theirs = rows[row][kind], rows[reference][kind]
            lines.append([f"{row} - {reference}", *(cell(n, paired_difference(ours[n], theirs[n])) for n in names)])
        text.append(markdown_table(["difference", *names], lines))
    return "\n\n".join(text)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--rows", nargs="+", required=True, metavar="NAME=CHECKPOINT")
    parser.add_argument("--against", required=True)
    parser.add_argument("--persons", type=int, default=1000)
    parser.add_argument("--hypotheses", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    split = open_dataset("synthwild-images", args.data, args.split)
    split = split.first(min(args.persons, len(split)))
    if args.split.endswith("/test"):
        for given in args.rows:
            log_opening(args.data / "test_openings.jsonl", args.split, "benchmarks/pixels/pixel.py", predictor=given)
    examples = split.examples
    assert examples.annotation is not None
    rows = all_rows(args, examples.observation, examples.annotation.joints)
    out = args.out or ROOT / "docs/results" / f"pixel_{args.split.replace('/', '_')}"
    head = HEAD.format(
        split=args.split, benchmark=split.benchmark, persons=len(split), hypotheses=args.hypotheses, seed=args.seed,
        rows=" ".join(args.rows), against=args.against,
    )  # fmt: skip
    out.with_suffix(".md").write_text(f"{head}\n{tables(rows, args.against)}\n", encoding="utf-8")
    figures = {
        row: {kind: {n: round(float(v.mean()), 6) for n, v in c.items()} for kind, c in columns.items()}
        for row, columns in rows.items()
    }
    hashes = {given.split("=", 1)[0]: checkpoint_hash(given.split("=", 1)[1]) for given in args.rows}
    record = {"split": args.split, "persons": len(split), "seed": args.seed, "checkpoints": hashes, "rows": figures}
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
