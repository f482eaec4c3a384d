"""What a scorer carries over, against the labels it was taught: preference by `scorer-lab`, and SFT on its own persons.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/alignment/labels_first.py --base lite-lab

`scorer-lab` has learned from labelled persons of SynthWild's lab/train that were seen again through wild-like cameras
(`data/synthetic/reobserved.py`). Rows: DPO by that scorer on unlabelled persons of the wild world; plain SFT on as many
of the labelled persons, seen again in the same way; DPO by the scorer on the wild persons, started from that SFT model
with groups of its own; and SFT going on in its place. Every row has a rate chosen on wild/val, the grid going on where
its edge is the best. Tables are of new persons of held-out poses; `lab` is what lab persons of held-out poses lose.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence_frame import M, best_rate, command, differences, measured, said, test_persons, validation
from hmralign.alignment.methods.sft import SftConfig
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.reobserved import reobserved
from hmralign.data.synthetic.synthwild import chunk_generator, sample_chunk, split_of, world_generator
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Example
from hmralign.studies.alignment.measure import Persons
from hmralign.systems.align.configuration import recommended
from lying_labels import BODY, FORM_RATES, Row, aligned
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
SEED, TEST_SEED = 301, 311
CHUNKS = (4, 5)
"""Of lab/train: persons 10,000 to 15,000, whose poses `scorer-lab` saw again."""
DPO = Row("DPO, scorer", "wild", "scorer-lab", recommended("dpo"))
SFT = Row(
    "SFT, the scorer's own persons", "labelled", "scorer-lab", recommended("sft", settings=SftConfig(target="truth"))
)
COLUMNS = ("raw.fused", "refined.fused", "raw.min_of_10", "refined.min_of_10", "refined.fused_hidden")


def persons_of(args: argparse.Namespace, name: str) -> Path:
    """Persons on disk: unlabelled ones of the wild world, or labelled ones of the lab, seen again."""
    folder = args.work / f"persons_{name}"
    if (folder / "index.json").exists():
        return folder
    if name == "wild":
        example = world_generator("wild", "train").sample(args.persons, seeded(SEED, "wild"))
    else:
        lab = split_of("lab/train")
        seen = Example.cat([sample_chunk(lab, chunk, chunk_generator(lab, chunk))[0] for chunk in CHUNKS])
        assert seen.annotation is not None
        draw = seeded(SEED, "seen again")
        example = reobserved(BODY, seen.annotation, f"lab/train {CHUNKS}", load_measured_noise(), args.persons, draw)
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder, 0, example)
    write_index(folder, seed=SEED, examples=args.persons, skeleton=BODY.skeleton_hash)
    return folder


def store_of(args: argparse.Namespace, base: str, name: str) -> GroupStore:
    """Groups of a model on these persons; of labelled ones, whose truth is the target, the fewest that there can be."""
    sha256, source = checkpoint_hash(base), ShardSource.open(persons_of(args, name))
    config = GroupStoreConfig(group_size=16 if name == "wild" else 2, with_truth=name != "wild")
    critics = ["scorer-lab"] if name == "wild" else []
    folder = args.work / f"groups_{name}_{sha256[:8]}"
    return build_groups(LitePolicy.load(base, BODY), BODY, sha256, trained_on(base), source, folder, config, critics)


def arm(args: argparse.Namespace, row: Row, base: str, val: Persons) -> dict[str, Any]:
    """Checkpoints of one row from one start, at the rate that validation persons chose, for each seed."""
    store, started = store_of(args, base, row.store), argparse.Namespace(**{**vars(args), "base": base})

    def error(rate: float) -> float:
        found = measured(aligned(row, rate, 0, store, started), val, "val", args)
        return round(1000 * float(found["refined.fused"].mean()), 2)

    chosen = best_rate(error, FORM_RATES[row.config.method], extend=True)
    print(row.name, Path(base).parent.name or base, chosen, flush=True)
    return chosen | {"paths": [aligned(row, chosen["rate"], seed, store, started) for seed in args.seeds]}


def figures(args: argparse.Namespace, arms: dict[str, dict], sets: dict[str, Persons]) -> dict[str, Any]:
    """Rows against the base and against SFT, on wild and on lab persons."""
    base = {name: measured(args.base, persons, name, args) for name, persons in sets.items()}
    means: dict[str, dict] = {}
    rows: dict[str, dict] = {}
    for name, found in arms.items():
        runs = {s: [measured(p, persons, s, args) for p in found["paths"]] for s, persons in sets.items()}
        means[name] = {s: {k: np.mean([r[k] for r in each], axis=0) for k in each[0]} for s, each in runs.items()}
        d = differences(means[name]["test"], base["test"])
        lab = differences(*({k: v["lab"][k] for k in COLUMNS[:2]} for v in (means[name], base)))  # all joints are seen
        moved = [1000 * float((r["refined.fused"] - base["test"]["refined.fused"]).mean()) for r in runs["test"]]
        by_seed = [round(x, 2) for x in moved]
        rows[name] = {"rate": found["rate"], "trials": found["trials"], "minus_base": {k: d[k] for k in COLUMNS},
                      "lab": {k: lab[k] for k in COLUMNS[:2]}, "by_seed": by_seed}  # fmt: skip
    pairs = {}
    for a, b in ((DPO.name, SFT.name), ("SFT, then DPO, scorer", SFT.name), ("SFT, then DPO, scorer", "SFT, then SFT")):
        d = differences(means[a]["test"], means[b]["test"])
        pairs[f"{a}, minus {b}"] = {k: d[k] for k in COLUMNS}
    mm = {s: {k: round(1000 * float(np.nanmean(v[k])), 1) for k in COLUMNS} for s, v in base.items()}
    return {"base": mm, "rows": rows, "pairs": pairs, "persons": {s: len(p) for s, p in sets.items()}}


def report(document: dict, out: Path) -> None:
    s, mm = document["settings"], document["base"]["test"]
    lines = [
        f"# Labels first: what a scorer carries over, and what its labels give (`{s['base']}`)", "",
        f"{s['persons']} unlabelled persons of the wild world for DPO by `scorer-lab`; as many labelled persons of "
        f"lab/train, seen again as the scorer saw them, for SFT. {s['steps']} steps, rates chosen on "
        f"{s['val_persons']} persons of wild/val; {document['persons']['test']} new persons of held-out poses and "
        f"{document['persons']['lab']} of the lab, M = {M}, mean over {len(s['seeds'])} fine-tuning seeds; millimetres "
        "on the free body against the base, paired over persons with 95 % intervals.", "",
        f"Command: `python benchmarks/alignment/labels_first.py {s['command']}`; {s['cpu_minutes']} CPU minutes.", "",
        f"Base: fused {mm['raw.fused']} raw, {mm['refined.fused']} refined.", "",
    ]  # fmt: skip
    head = ["fused, raw", "fused, refined", "min 10, raw", "min 10, refined", "hidden, refined"]
    body = [[n, f"{r['rate']:g}", *(said(r["minus_base"][k]) for k in COLUMNS), said(r["lab"]["raw.fused"]),
             " / ".join(f"{x:+.1f}" for x in r["by_seed"])] for n, r in document["rows"].items()]  # fmt: skip
    lines += [markdown_table(["row", "rate", *head, "lab, fused, raw", "by seed"], body), ""]
    body = [[n, *(said(d[k]) for k in COLUMNS)] for n, d in document["pairs"].items()]
    lines += [markdown_table(["paired", *head], body), "", "Trials on wild/val (rate: error, refined, mm):", ""]
    for name, row in document["rows"].items():
        lines.append(f"- {name}: " + ", ".join(f"{rate}: {v:.1f}" for rate, v in row["trials"].items()))
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="lite-lab")
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="holds wild/val")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/labels_first")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/labels_first")
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--val-persons", type=int, default=300)
    parser.add_argument("--test-persons", type=int, default=600)
    parser.add_argument("--lab-persons", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--max-drop", type=float, default=5.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "cpu_seconds.json")
    val = validation(args)
    arms = {DPO.name: arm(args, DPO, args.base, val), SFT.name: arm(args, SFT, args.base, val)}
    start = str(arms[SFT.name]["paths"][0])
    arms["SFT, then DPO, scorer"], arms["SFT, then SFT"] = arm(args, DPO, start, val), arm(args, SFT, start, val)
    lab = world_generator("lab", "heldout").sample(args.lab_persons, seeded(TEST_SEED, "lab"))
    sets = {"test": test_persons(args.test_persons, TEST_SEED), "lab": Persons.of_examples(lab, BODY)}
    document = figures(args, arms, sets)
    names = ("base", "persons", "steps", "seeds", "val_persons")
    settings = {n: getattr(args, n) for n in names} | {"command": command(), "cpu_minutes": round(spent.minutes())}
    report({"settings": settings, **document}, args.out)


if __name__ == "__main__":
    main()
