"""Do the stated intervals hold?  One base and one aligned model of it, evaluated again and again.

    python benchmarks/alignment/interval_coverage.py --base lite-lab [--aligned CHECKPOINT]

Without --aligned the base is aligned first, by DPO with the learned scorer on persons of the wild world. Then both are
measured --repetitions times in three ways, each time with another seed of the evaluation's noise:

| way | persons | noise |
| --- | --- | --- |
| `other persons` | others each time, of the same held-out poses | drawn for each person |
| `same persons` | the same ones | drawn for each person |
| `one noise for all` | others each time | the same vectors serve everybody, as in earlier versions |

An interval is that of one repetition: a bootstrap over its persons (`metrics.intervals`), of an error or of the paired
difference. It holds where it covers the mean of all other repetitions. With the same persons it must hold nearly
always, since it allows for other persons too; that way shows how far noise alone moves a figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence_frame import command
from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import BodyProposer, SamplerConfig, propose_each
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Observation, PersonGroup
from hmralign.studies.alignment.measure import Kind, MeasureConfig, Persons, measure_persons
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import align_policy
from hmralign.systems.evaluate.predict import PredictConfig
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
BODY = load_free_body("3k5")
SEED, M = 191, 10
COLUMNS = ("fused", "single", "min_of_10", "fused_depth")
WAYS = ("other persons", "same persons", "one noise for all")


@dataclass(frozen=True)
class SharedNoise:
    """A policy whose noise vectors are the same for everybody; they change with the seed alone."""

    policy: BodyProposer
    seed: int

    @property
    def body(self) -> BodyModel:
        return self.policy.body

    def propose(self, observation: Observation, sampler: SamplerConfig, generator: torch.Generator) -> PersonGroup:
        return self.propose_each(observation, sampler, [generator] * len(observation.box))

    def propose_each(
        self, observation: Observation, sampler: SamplerConfig, generators: Sequence[torch.Generator]
    ) -> PersonGroup:
        return propose_each(self.policy, observation, sampler, [seeded(self.seed, "shared") for _ in generators])


def aligned(args: argparse.Namespace) -> Path:
    """The checkpoint that was given, or one of DPO with the scorer, trained unless it is there."""
    if args.aligned is not None:
        return args.aligned
    folder, done = args.work / "persons", args.work / "aligned/model.safetensors"
    if done.exists():
        return done
    if not (folder / "index.json").exists():
        example = world_generator("wild", "train").sample(args.train_persons, seeded(SEED, "persons"))
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(folder, 0, example)
        write_index(folder, seed=SEED, examples=args.train_persons, skeleton=BODY.skeleton_hash)
    policy, sha256 = LitePolicy.load(args.base, BODY), checkpoint_hash(args.base)
    source, config = ShardSource.open(folder), GroupStoreConfig()
    store = build_groups(policy, BODY, sha256, trained_on(args.base), source, args.work / "groups", config, ["scorer"])
    settings = recommended("dpo", critic="scorer", min_persons=1)
    settings = replace(settings, training=replace(settings.training, steps=args.steps))
    found = align_policy(policy, sha256, BODY, store, settings, done.parent)
    return found.policy.save(done, (*trained_on(args.base), store.facts.source))


def person_sets(args: argparse.Namespace) -> list[Persons]:
    """As many sets of persons as repetitions; nobody is in two of them."""
    wanted = args.repetitions * args.persons
    example = world_generator("wild", "heldout").sample(round(1.25 * wanted) + 20, seeded(SEED, "test"))
    _, first = np.unique(example.observation.box.numpy(), axis=0, return_index=True)
    index = np.sort(first)
    if len(index) < wanted:
        raise SystemExit(f"{len(index)} persons are distinct; expected {wanted}")
    cut = index[:wanted].reshape(args.repetitions, args.persons)
    return [Persons.of_examples(example[torch.from_numpy(one)], BODY) for one in cut]


def measured(path: str, way: str, number: int, sets: list[Persons], args: argparse.Namespace) -> dict[str, np.ndarray]:
    """`kind.column` -> errors per person in one repetition, metres; kept in --work."""
    name = f"{way.replace(' ', '_')}_{checkpoint_hash(path)[:8]}_{number}_{args.persons}.npz"
    kept = args.work / name
    if not kept.exists():
        kinds: tuple[Kind, ...] = ("raw",) if way == WAYS[2] else ("raw", "refined")
        policy: Any = LitePolicy.load(path, BODY)
        if way == WAYS[2]:
            policy = SharedNoise(policy, number)
        config = MeasureConfig(PredictConfig(SamplerConfig(M), seed=1000 + number), kinds=kinds)
        found, _ = measure_persons(policy, sets[0 if way == WAYS[1] else number], config)
        np.savez(kept, **{f"{k}.{c}": columns[c] for k, columns in found.items() for c in COLUMNS})  # pyright: ignore
    with np.load(kept, allow_pickle=False) as file:
        return {k: file[k].astype(np.float64) for k in file.files}


def coverage(values: list[np.ndarray]) -> dict[str, Any]:
    """How many repetitions' intervals cover the mean of all others, and how far means and intervals spread, mm."""
    means = np.array([v.mean() for v in values])
    intervals = [bootstrap_mean(v, seed=number) for number, v in enumerate(values)]
    others = (means.sum() - means) / (len(means) - 1)
    covered = [bool(i.low <= o <= i.high) for i, o in zip(intervals, others, strict=True)]
    half = np.mean([(i.high - i.low) / 2 for i in intervals])
    return {
        "covered": sum(covered), "of": len(values), "mean_mm": round(1000 * float(means.mean()), 2),
        "least_mm": round(1000 * float(means.min()), 2), "most_mm": round(1000 * float(means.max()), 2),
        "moves_mm": round(1000 * float(1.96 * means.std(ddof=1)), 2), "stated_mm": round(1000 * float(half), 2),
    }  # fmt: skip


def covered_rows(runs: dict[str, list[dict[str, np.ndarray]]]) -> dict[str, dict[str, Any]]:
    """`figure` -> coverage, of the base, the aligned model and their paired difference."""
    rows = {}
    for column in runs["base"][0]:
        for who in ("base", "aligned"):
            rows[f"{who}, {column}"] = coverage([r[column] for r in runs[who]])
        both = zip(runs["aligned"], runs["base"], strict=True)
        rows[f"aligned minus base, {column}"] = coverage([a[column] - b[column] for a, b in both])
    return rows


def report(document: dict, out: Path) -> None:
    s = document["settings"]
    lines = [
        "# Do the stated intervals hold?", "",
        f"`{s['base']}` and the same after DPO with the learned scorer, {s['repetitions']} evaluations each of "
        f"{s['persons']} persons of held-out poses, M = {M}, each with another seed of the noise. An interval (95 %, "
        "bootstrap over the persons of one evaluation) holds where it covers the mean of all other evaluations. Of 20 "
        "evaluations 17 or more are expected in 98 of 100 such figures.", "",
        f"Command: `python {' '.join(['benchmarks/alignment/interval_coverage.py', s['command']]).strip()}`; "
        f"{s['cpu_minutes']} CPU minutes.", "",
        "| way | persons | noise |", "| --- | --- | --- |",
        "| other persons | others each time | drawn for each person |",
        "| same persons | the same ones | drawn for each person |",
        "| one noise for all | others each time | the same vectors serve everybody, as in earlier versions |", "",
    ]  # fmt: skip
    for way, rows in document["ways"].items():
        all_of = sum(r["covered"] for r in rows.values()), sum(r["of"] for r in rows.values())
        least = min(r["covered"] for r in rows.values())
        lines += [
            f"## {way[0].upper()}{way[1:]}",
            "",
            f"{all_of[0]} of {all_of[1]} intervals cover; the worst figure {least}.",
            "",
        ]
        body = [[n, f"{r['covered']} of {r['of']}", f"{r['mean_mm']:.1f}", f"{r['least_mm']:.1f} to {r['most_mm']:.1f}",
                 f"{r['moves_mm']:.1f}", f"{r['stated_mm']:.1f}"] for n, r in rows.items()]  # fmt: skip
        head = ["figure, mm", "covered", "mean", "least to most", "moves by (1.96 sd)", "stated half width"]
        lines += [markdown_table(head, body), ""]
    out.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n")
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="lite-lab")
    parser.add_argument("--aligned", type=Path, help="a checkpoint; made here without it")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/interval_coverage")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/interval_coverage")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--persons", type=int, default=150)
    parser.add_argument("--train-persons", type=int, default=500)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "cpu_seconds.json")
    models, sets = {"base": args.base, "aligned": str(aligned(args))}, person_sets(args)
    ways = {}
    for way in WAYS:
        runs = {who: [measured(p, way, n, sets, args) for n in range(args.repetitions)] for who, p in models.items()}
        ways[way] = covered_rows(runs)
        print(way, [r["covered"] for r in ways[way].values()], flush=True)
    settings = {n: getattr(args, n) for n in ("base", "repetitions", "persons", "train_persons", "steps")}
    settings |= {"command": command(), "cpu_minutes": round(spent.minutes())}
    report({"settings": settings, "ways": ways}, args.out)


if __name__ == "__main__":
    main()
