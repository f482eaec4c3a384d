"""The short comparison: which objective moves `lite-lab` on wild persons without labels, with two critics, three seeds.

    python benchmarks/alignment/alignment_short.py --data DIR [--phase all|tune]

`DIR` holds wild/train, wild/val, wild/test and lab/val of SynthWild. One store of 2,000 groups of 16 is sampled from
`lite-lab` on wild/train and scored by the oracle, by reprojection and at random. Every method gets the same number of
trials: four learning rates, chosen per critic by `fused` without refinement on wild/val (500 persons), seed 0. Then
three fine-tuning seeds are measured on wild/test (first 1,000 persons, each opening logged) with and without test-time
refinement, and on lab/val (forgetting). One base, so its variation is in no interval. Controls: the model's own mean,
best-of-N by a random critic, and SFT on the true labels of the same persons, tuned alike: the ceiling of `headroom`.

Every cell is a file in `--work`; a run that was cut off goes on where it was.
"""

import argparse
import hashlib
import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hmralign.alignment.methods.best_of_n import BestOfNConfig
from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.body.free_body import load_free_body
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.systems.align.configuration import AlignConfig, recommended
from hmralign.systems.align.run import align_policy
from hmralign.systems.evaluate.predict import PredictConfig
from hmralign.systems.evaluate.run import EvaluateConfig, evaluate_policy
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
BASE = "lite-lab"
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
SEEDS = (0, 1, 2)
CRITICS = ("oracle", "reprojection")
M, VAL_PERSONS, TEST_PERSONS, LAB_PERSONS = 20, 500, 1000, 200
COLUMNS = ("single", "selected", "fused", "min_of_10", "fused_pa", "fused_plane", "fused_depth", "spread")


@dataclass(frozen=True)
class Row:
    """A method on a critic's scores."""

    config: AlignConfig
    critic: str

    @property
    def key(self) -> str:
        return self.name.replace(" ", "_").replace(",", "")

    name: str = ""


def rows() -> list[Row]:
    kinds = {
        "best-of-N": recommended("best-of-n"),
        "DPO": recommended("dpo"),
        "GPA literal": recommended("group", settings=GroupConfig(mode="literal")),
        "GPA sigmoid": recommended("group", settings=GroupConfig(mode="sigmoid")),
    }
    found = [Row(config, critic, f"{name}, {critic}") for critic in CRITICS for name, config in kinds.items()]
    random = recommended("best-of-n", settings=BestOfNConfig(choose_at_random=True))
    return [
        *found,
        Row(random, "random", "best-of-N, random critic"),
        Row(recommended("sft", settings=SftConfig(target="own_mean", target_noise=0.1)), "random", "SFT, own mean"),
        Row(recommended("sft", settings=SftConfig(target="truth")), "random", "SFT, true labels (ceiling)"),
    ]


def groups(args: argparse.Namespace) -> GroupStore:
    body = load_free_body("3k5")
    source = ShardSource.open(args.data / "wild_train", args.groups)
    config = GroupStoreConfig(group_size=16, with_truth=True)
    policy = LitePolicy.load(BASE, body)
    return build_groups(
        policy, body, checkpoint_hash(BASE), trained_on(BASE), source, args.work / "groups", config,
        ["oracle", "reprojection", "random"],
    )  # fmt: skip


def aligned(row: Row, rate: float, seed: int, store: GroupStore, args: argparse.Namespace) -> Path:
    """Checkpoint of one cell, trained unless it is there."""
    what = json.dumps([asdict(row.config), row.critic, args.steps, store.content_hash(), RATES], sort_keys=True)
    folder = args.work / f"{row.key}_{rate:g}_{seed}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    path = folder / "model.safetensors"
    if not (folder / "facts.json").exists():
        training = replace(row.config.training, steps=args.steps, learning_rate=rate, seed=seed)
        config = replace(row.config, critic=row.critic, training=training, min_persons=1)
        policy = LitePolicy.load(BASE, load_free_body("3k5"))
        started = time.process_time()
        done = align_policy(policy, checkpoint_hash(BASE), policy.body, store, config, folder)
        done.policy.save(path, (*trained_on(BASE), store.facts.source))
        facts = {"cpu_seconds": round(time.process_time() - started, 1), "stopped": done.stopped, "groups": done.groups}
        (folder / "facts.json").write_text(json.dumps(facts))
        (folder / "state.pt").unlink(missing_ok=True)
    return path


def columns(path: str | Path, split: str, refine: bool, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Errors per person, metres; kept beside the checkpoint."""
    persons = {"wild/val": VAL_PERSONS, "wild/test": TEST_PERSONS, "lab/val": LAB_PERSONS}[split]
    folder = args.work / "base" if path == BASE else Path(path).parent
    count = min(persons, args.persons)
    kept = folder / f"{split.replace('/', '_')}_{count}_{'refined' if refine else 'raw'}.npz"
    if not kept.exists():
        predict = PredictConfig(sampler=SamplerConfig(num_hypotheses=M))
        if not refine:
            predict = replace(predict, refinement=RefinementConfig(method="none"))
        log, why = RESULTS / "test_openings.jsonl", "benchmarks/alignment/alignment_short.py"
        found = evaluate_policy(path, args.data, split, EvaluateConfig(predict, count), log=log, why=why)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **{k: found.evaluation.columns[k].astype(np.float32) for k in COLUMNS})  # pyright: ignore
    with np.load(kept, allow_pickle=False) as file:
        return {k: file[k].astype(np.float64) for k in COLUMNS}


def tune(store: GroupStore, args: argparse.Namespace) -> dict[str, dict]:
    """Best rate of each row on validation persons, and all trials."""
    chosen = {}
    for row in rows():
        trials = {}
        for rate in RATES:
            found = columns(aligned(row, rate, 0, store, args), "wild/val", False, args)
            trials[f"{rate:g}"] = {k: round(1000 * float(found[k].mean()), 2) for k in ("single", "fused", "min_of_10")}
        best = min(trials, key=lambda rate: trials[rate]["fused"])
        chosen[row.name] = {"rate": float(best), "trials": trials}
        print(row.name, chosen[row.name], flush=True)
    base = columns(BASE, "wild/val", False, args)
    chosen["base"] = {
        "trials": {"": {k: round(1000 * float(base[k].mean()), 2) for k in ("single", "fused", "min_of_10")}}
    }
    (args.work / "tuning.json").write_text(json.dumps(chosen, indent=1))
    return chosen


def final(store: GroupStore, chosen: dict[str, dict], args: argparse.Namespace) -> dict:
    table: dict[str, dict] = {}
    base = {s: columns(BASE, *s, args) for s in (("wild/test", False), ("wild/test", True), ("lab/val", False))}
    table["base"] = summary([base], base)
    for row in rows():
        per_seed = []
        for seed in SEEDS:
            path = aligned(row, chosen[row.name]["rate"], seed, store, args)
            per_seed.append({s: columns(path, *s, args) for s in base})
        table[row.name] = summary(per_seed, base) | {"learning_rate": chosen[row.name]["rate"]}
        facts = [
            json.loads((aligned(row, chosen[row.name]["rate"], s, store, args).parent / "facts.json").read_text())
            for s in SEEDS
        ]
        table[row.name] |= {"cpu_seconds": [f["cpu_seconds"] for f in facts], "stopped": [f["stopped"] for f in facts]}
        print(row.name, table[row.name]["wild/test raw"]["minus base"]["fused"], flush=True)
    ceiling = table["SFT, true labels (ceiling)"]
    for row in table.values():
        for kind in ("wild/test raw", "wild/test refined"):
            row[kind]["headroom_closed"] = {c: headroom(row, ceiling, kind, c) for c in ("fused", "min_of_10")}
    pairs = {}
    per = {row.name: row for row in rows()}
    for critic in CRITICS:
        first = f"best-of-N, {critic}"
        for name in (f"DPO, {critic}", f"GPA literal, {critic}", f"GPA sigmoid, {critic}"):
            for refine in (False, True):
                a, b = (
                    mean_over_seeds(
                        [columns(aligned(per[n], chosen[n]["rate"], s, store, args), "wild/test", refine, args)
                         for s in SEEDS]
                    )
                    for n in (name, first)
                )  # fmt: skip
                kind = "refined" if refine else "raw"
                pairs[f"{name} minus {first}, {kind}"] = {
                    c: interval(paired_difference(a[c], b[c])) for c in ("single", "fused", "min_of_10")
                }
    return {"rows": table, "paired": pairs}


def mean_over_seeds(per_seed: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {c: np.mean([s[c] for s in per_seed], axis=0) for c in COLUMNS}


def interval(found) -> list[float]:
    return [round(1000 * v, 1) for v in (found.mean, found.low, found.high)]


def summary(per_seed: list[dict], base: dict) -> dict:
    """Seed-averaged per person; intervals over persons, and the standard deviation over seeds."""
    out = {}
    for key in base:
        kind = f"{key[0]} {'refined' if key[1] else 'raw'}"
        mean = mean_over_seeds([s[key] for s in per_seed])
        out[kind] = {
            "mm": {c: interval(bootstrap_mean(mean[c])) for c in COLUMNS},
            "minus base": {c: interval(paired_difference(mean[c], base[key][c])) for c in COLUMNS},
            "sd over seeds": {
                c: round(1000 * sd_over_seeds([float(s[key][c].mean()) for s in per_seed]), 2) for c in COLUMNS
            },
        }
    return out


def sd_over_seeds(means: list[float]) -> float:
    return statistics.stdev(means) if len(means) > 1 else 0.0


def headroom(row: dict, ceiling: dict, kind: str, column: str) -> float | None:
    """Share of what true labels would give; None ("not defined") where they do not clearly help."""
    gain = ceiling[kind]["minus base"][column]
    if gain[2] >= 0:
        return None
    return round(100 * row[kind]["minus base"][column][0] / gain[0])


def report(document: dict, out: Path) -> None:
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    s = document["settings"]
    lines = [
        "# Aligning lite-lab on wild persons: the short comparison",
        "",
        f"{s['groups']} groups of 16 from wild/train, {s['steps']} steps of 256 hypotheses, learning rate chosen from "
        f"{', '.join(f'{r:g}' for r in RATES)} on wild/val ({s['val_persons']} persons) for every row alike; "
        f"wild/test, {s['test_persons']} persons, M = {M}, mean over {len(SEEDS)} fine-tuning seeds of one base. mm "
        "(free body), differences to the base paired over persons with 95 % intervals. `min 10` is an oracle. The "
        "oracle critic sees the truth; reprojection sees keypoints only. Headroom: share of the gain of SFT on true "
        "labels of the same persons. Lab: change of `fused` on lab/val (forgetting).",
        "",
        f"Command: `python benchmarks/alignment/alignment_short.py --data FOLDER`; "
        f"{s['cpu_minutes']} CPU minutes in all.",
    ]
    for kind, title in (("wild/test raw", "Samples as they are"), ("wild/test refined", "With test-time refinement")):
        lines += [
            "", f"## {title}", "",
            "| row | rate | single | selected | fused | min 10 | PA fused | depth | spread "
            "| fused - base | min 10 - base | headroom fused / min 10 | lab fused |",
            "| --- |" + " ---: |" * 12,
        ]  # fmt: skip
        for name, row in document["rows"].items():
            mm, d = row[kind]["mm"], row[kind]["minus base"]
            room = [row[kind]["headroom_closed"][c] for c in ("fused", "min_of_10")]
            cells = [
                name, f"{row.get('learning_rate', ''):g}" if "learning_rate" in row else "",
                *(f"{mm[c][0]:.1f}" for c in COLUMNS if c != "fused_plane"),
                *(f"{d[c][0]:+.1f} ({d[c][1]:+.1f} to {d[c][2]:+.1f})" for c in ("fused", "min_of_10")),
                " / ".join("not defined" if r is None else f"{r} %" for r in room),
                f"{row['lab/val raw']['minus base']['fused'][0]:+.1f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Against best-of-N of the same critic, paired",
        "",
        "| pair | single | fused | min 10 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, d in document["paired"].items():
        cells = [f"{d[c][0]:+.1f} ({d[c][1]:+.1f} to {d[c][2]:+.1f})" for c in ("single", "fused", "min_of_10")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    stopped = {n: r["stopped"] for n, r in document["rows"].items() if any(r.get("stopped", []))}
    lines += [
        "",
        f"Runs that their guard stopped: {json.dumps(stopped) if stopped else 'none'}. Of a stopped run the weights",
    ]
    lines += [
        "of the last good look (every 50 steps) are measured, in tuning too: a trial equal to the base was stopped at"
    ]
    lines += [
        "the first look. Of the groups of every run a tenth is held out.",
        "",
        "## Trials on wild/val, seed 0",
        "",
    ]
    lines += ["`fused` / `min of 10`, samples as they are, mm.", ""]
    lines += ["| row | " + " | ".join(f"{r:g}" for r in RATES) + " |", "| --- |" + " ---: |" * len(RATES)]
    for name, found in document["tuning"].items():
        if name != "base":
            cells = [found["trials"].get(f"{r:g}") for r in RATES]
            lines.append(
                f"| {name} | "
                + " | ".join(f"{c['fused']:.1f} / {c['min_of_10']:.1f}" if c else "" for c in cells)
                + " |"
            )
    base = document["tuning"]["base"]["trials"][""]
    lines += ["", f"Base: {base['fused']:.1f} / {base['min_of_10']:.1f}.", ""]
    out.with_suffix(".md").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/alignment_short")
    parser.add_argument("--out", type=Path, default=RESULTS / "alignment_short.json")
    parser.add_argument("--phase", choices=["all", "tune"], default="all")
    parser.add_argument("--groups", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--persons", type=int, default=10**6, help="at most so many of each split")
    args = parser.parse_args()
    torch.set_num_threads(1)
    spent = SpentCpu(args.work / "cpu_seconds.json")
    store = groups(args)
    chosen = tune(store, args)
    if args.phase == "all":
        document = final(store, chosen, args)
        document["tuning"] = chosen
        document["settings"] = {
            "groups": args.groups, "steps": args.steps, "val_persons": min(VAL_PERSONS, args.persons),
            "test_persons": min(TEST_PERSONS, args.persons), "base": checkpoint_hash(BASE), "seeds": SEEDS,
            "store": store.content_hash(), "cpu_minutes": round(spent.minutes()),
        }  # fmt: skip
        report(document, args.out)
    spent.seconds()


if __name__ == "__main__":
    main()
