"""The frame in which kinds of evidence are held against one another: rows, groups, rates, persons of the tables, pages.

`other_cameras.py` and `moments.py` say what a critic knows that a photo does not; what is done with it, and what stands
beside it, is said here once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.data.synthwild_folder import open_split
from hmralign.metrics.intervals import paired_difference
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import SamplerConfig
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import Example
from hmralign.studies.alignment.measure import Kind, MeasureConfig, Persons, measure_persons
from hmralign.systems.align.configuration import AlignConfig, RefreshConfig
from hmralign.systems.align.run import align_policy
from hmralign.systems.evaluate.predict import PredictConfig

ROOT = Path(__file__).parents[2]
BODY = load_free_body("3k5")
COLUMNS = ("fused", "single", "min_of_10", "fused_hidden", "fused_depth", "spread")
TEST_SEED = 71
M = 20
LADDER = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Rates that a grid is extended by."""


@dataclass(frozen=True)
class Row:
    """A way to use a kind of evidence: `store` says whose annotation the groups have."""

    name: str
    store: str
    critic: str
    config: AlignConfig
    from_base: bool = False
    """Starts before the sequence, and takes its steps as well."""

    @property
    def key(self) -> str:
        return self.name.replace(" ", "_").replace(",", "").replace("'", "")


class Named(Protocol):
    """A row of any benchmark."""

    @property
    def name(self) -> str: ...


AnyRow = TypeVar("AnyRow", bound=Named)


def rows_named(rows: Sequence[AnyRow], names: Sequence[str] | None) -> list[AnyRow]:
    """The rows asked for by name, in their order, or all of them. Leaves the program for a name that no row has."""
    found = [row for row in rows if not names or row.name in names]
    if unknown := set(names or ()) - {row.name for row in found}:
        raise SystemExit(f"--rows: no row is called {', '.join(sorted(unknown))}")
    return found


def shards(args: argparse.Namespace, name: str, example: Example) -> Path:
    folder = args.work / f"persons_{name}"
    if not (folder / "index.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(folder, 0, example)
        write_index(folder, seed=args.evidence_seed, examples=len(example.observation.box), skeleton=BODY.skeleton_hash)
    return folder


def store_of(args: argparse.Namespace, base: str, name: str) -> GroupStore:
    """Groups of the base on the persons, scored by nearness to their annotation and by what knows nothing."""
    source = ShardSource.open(args.work / f"persons_{name}")
    config = GroupStoreConfig(group_size=16, with_truth=True)
    folder = args.work / f"groups_{name}_{checkpoint_hash(base)[:8]}"
    policy = LitePolicy.load(base, BODY)
    return build_groups(
        policy,
        BODY,
        checkpoint_hash(base),
        trained_on(base),
        source,
        folder,
        config,
        ["oracle", "consistency", "random"],
    )


def aligned(row: Row, rate: float, seed: int, base: str, store: GroupStore, args: argparse.Namespace) -> Path:
    """Checkpoint of one cell, trained unless it is there."""
    if row.from_base:
        base, store = args.base, store_of(args, args.base, row.store)
    rounds = row.config.refresh.rounds
    steps = (args.steps + (args.sequence if row.from_base else 0)) // rounds
    training = replace(row.config.training, steps=steps, learning_rate=rate, seed=seed)
    training = replace(training, max_drop=args.max_drop)  # the default stops half of the runs on `lite`
    config = replace(row.config, critic=row.critic, training=training, min_persons=1)
    config = replace(config, refresh=RefreshConfig(rounds, args.max_drop if rounds > 1 else config.refresh.tolerance))
    what = json.dumps([asdict(config), checkpoint_hash(base), store.content_hash()], sort_keys=True, default=str)
    folder = args.work / f"{row.key}_{rate:g}_{seed}_{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    path = folder / "model.safetensors"
    if not (folder / "facts.json").exists():
        policy = LitePolicy.load(base, BODY)
        started = time.process_time()
        done = align_policy(policy, checkpoint_hash(base), BODY, store, config, folder)
        done.policy.save(path, (*trained_on(base), store.facts.source))
        facts = {"cpu_seconds": round(time.process_time() - started, 1), "stopped": done.stopped, "groups": done.groups}
        for late in folder.glob("round_*"):  # groups and states of later rounds
            shutil.rmtree(late)
        (folder / "facts.json").write_text(json.dumps(facts))
        (folder / "state.pt").unlink(missing_ok=True)
        print(folder.name, facts, flush=True)
    return path


def measured(path: str | Path, persons: Persons, name: str, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """`kind.column` -> errors per person, metres; kept beside the checkpoint."""
    folder = args.work / f"base_{checkpoint_hash(str(path))[:8]}" if not Path(path).exists() else Path(path).parent
    kept = folder / f"{name}_{len(persons)}.npz"
    if not kept.exists():
        kinds: tuple[Kind, ...] = ("refined",) if name == "val" else ("raw", "refined")  # rates are chosen refined
        config = MeasureConfig(PredictConfig(SamplerConfig(M)), kinds=kinds)
        found, _ = measure_persons(LitePolicy.load(str(path), BODY), persons, config)
        folder.mkdir(parents=True, exist_ok=True)
        flat = {name: values.astype(np.float32) for name, values in by_kind(found).items()}
        np.savez(kept, **flat)  # pyright: ignore
    with np.load(kept, allow_pickle=False) as file:
        return {k: file[k].astype(np.float64) for k in file.files}


def by_kind(found: Mapping[Any, Mapping[str, np.ndarray]], columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
    """`kind.column` -> errors per person, metres."""
    return {f"{kind}.{c}": of[c] for kind, of in found.items() for c in columns}


def test_persons(count: int, seed: int) -> Persons:
    """New persons of the held-out poses; those drawn twice are there once."""
    example = world_generator("wild", "heldout").sample(count, seeded(seed, "test"))
    return Persons.of_examples(without_repeats(example), BODY)


def without_repeats(example: Example) -> Example:
    """Everybody once, in the same order."""
    _, first = np.unique(example.observation.box.numpy(), axis=0, return_index=True)
    return example[torch.tensor(np.sort(first))]


def chosen_test(args: argparse.Namespace) -> tuple[Persons, str]:
    """The persons of the tables, and what they are called in kept files."""
    if args.test_split is None:
        called = "test" if args.test_seed == TEST_SEED else f"test{args.test_seed}"
        return test_persons(args.test_persons, args.test_seed), called
    split = replace_first(open_split(args.data, args.test_split), args.test_persons)
    if not args.without_masks:
        return Persons.of(split, BODY), args.test_split.replace("/", "_")
    example = split.examples
    seen = replace(example.observation, has_mask=torch.zeros_like(example.observation.has_mask))
    bare = replace(example, observation=seen)
    return Persons.of_examples(bare, BODY), args.test_split.replace("/", "_") + "_bare"


def validation(args: argparse.Namespace) -> Persons:
    return Persons.of(replace_first(open_split(args.data, "wild/val"), args.val_persons), BODY)


def best_rates(rows: Sequence[Row], base: str, args: argparse.Namespace) -> dict[str, dict]:
    """Rate of each row by `fused` with refinement on validation persons, and all trials."""
    val, chosen = validation(args), {}
    for row in rows:
        store = store_of(args, base, row.store)

        def error(rate: float, row: Row = row, store: GroupStore = store) -> float:
            found = measured(aligned(row, rate, 0, base, store, args), val, "val", args)
            return round(1000 * float(found["refined.fused"].mean()), 2)

        chosen[row.name] = best_rate(error, args.rates, args.extend)
        print(row.name, chosen[row.name], flush=True)
    return chosen


def best_rate(error: Callable[[float], float], rates: Sequence[float], extend: bool) -> dict[str, Any]:
    """The rate of least error, and all trials; `extend` goes on beyond the grid's edge while that is the best."""
    trials = {rate: error(rate) for rate in rates}
    while True:
        best = min(trials, key=trials.__getitem__)
        beyond = [rate for rate in LADDER if rate not in trials and (rate > max(trials) or rate < min(trials))]
        above, below = [r for r in beyond if r > best], [r for r in beyond if r < best]
        if extend and best == max(trials) and above:
            trials[above[0]] = error(above[0])
        elif extend and best == min(trials) and below:
            trials[below[-1]] = error(below[-1])
        else:
            return {"rate": best, "trials": {f"{rate:g}": trials[rate] for rate in sorted(trials)}}


def replace_first(split, count: int):
    from hmralign.systems.evaluate.run import first_persons

    return first_persons(split, count)


def start_of_sequence(row: Row, args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The base trained by a row (SFT), as long as asked for, and which rate of it was best on wild/val."""
    longer = argparse.Namespace(**{**vars(args), "steps": args.sequence})
    store = store_of(args, args.base, row.store)

    def trained(rate: float) -> str:
        return str(aligned(row, rate, args.sequence_seed, args.base, store, longer))

    if len(args.sequence_rate) == 1:
        return trained(args.sequence_rate[0]), {"rate": args.sequence_rate[0], "trials": {}}
    val = validation(args)

    def error(rate: float) -> float:
        return round(1000 * float(measured(trained(rate), val, "val", args)["refined.fused"].mean()), 2)

    chosen = best_rate(error, args.sequence_rate, args.extend)
    print("start", chosen, flush=True)
    return trained(chosen["rate"]), chosen


def final(
    rows: Sequence[Row],
    ours: Sequence[str],
    base: str,
    chosen: dict[str, dict],
    args: argparse.Namespace,
    test: tuple[Persons, str] | None = None,
) -> dict[str, Any]:
    """Table of all rows, and those that are held against each of the others, on persons of one's own or the frame's."""
    persons, called = test or chosen_test(args)
    reference = measured(base, persons, called, args)
    table: dict[str, Any] = {"base": {"mm": {k: round(1000 * float(np.nanmean(v)), 1) for k, v in reference.items()}}}
    means: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        store = store_of(args, base, row.store)
        paths = [aligned(row, chosen[row.name]["rate"], s, base, store, args) for s in args.seeds]
        runs = [measured(p, persons, called, args) for p in paths]
        means[row.name] = {k: np.mean([r[k] for r in runs], axis=0) for k in reference}
        facts = [json.loads((p.parent / "facts.json").read_text()) for p in paths]
        table[row.name] = {
            "rate": chosen[row.name]["rate"], "minus_base": differences(means[row.name], reference),
            "by_seed": [round(1000 * float((r["refined.fused"] - reference["refined.fused"]).mean()), 2) for r in runs],
            "stopped": [f["stopped"] for f in facts], "cpu_seconds": [f["cpu_seconds"] for f in facts],
        }  # fmt: skip
        print(row.name, table[row.name]["minus_base"]["refined.fused"], flush=True)
    found: dict[str, Any] = {"rows": table, "persons": len(persons)}
    for name in ours:
        if name in means:
            found[f"{name}, minus"] = {n: differences(means[name], m) for n, m in means.items() if n != name}
    return found


def differences(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Paired over persons who have a figure in both, mm."""
    found = {}
    for k in b:
        there = ~(np.isnan(a[k]) | np.isnan(b[k]))
        d = paired_difference(a[k][there], b[k][there])
        found[k] = [round(1000 * v, 2) for v in (d.mean, d.low, d.high)]
    return found


def said(interval: list[float]) -> str:
    return f"{interval[0]:+.1f} ({interval[1]:+.1f} to {interval[2]:+.1f})"


def tables(document: dict, titles: dict[str, str]) -> list[str]:
    """What the rows gave, the rows of `titles` held against each of the others, and the trials of all rates."""
    mm = document["rows"]["base"]["mm"]
    lines = ["", "## What it teaches", "", f"Base: fused {mm['raw.fused']} raw, {mm['refined.fused']} refined.", ""]
    body = []
    for name, row in document["rows"].items():
        if name != "base":
            d = row["minus_base"]
            cells = [d[f"refined.{c}"] for c in ("fused", "single", "min_of_10", "fused_hidden", "fused_depth")]
            body.append(
                [name, f"{row['rate']:g}", said(d["raw.fused"]), *map(said, cells), f"{d['refined.spread'][0]:+.1f}",
                 " / ".join(f"{x:+.1f}" for x in row["by_seed"])]
            )  # fmt: skip
    head = [
        "row",
        "rate",
        "fused, raw",
        "fused, refined",
        "single",
        "min 10",
        "hidden joints",
        "depth",
        "spread",
        "by seed",
    ]
    lines.append(markdown_table(head, body))
    keys = ("fused", "single", "min_of_10", "fused_hidden", "fused_depth")
    for ours, title in titles.items():
        if pairs := document.get(f"{ours}, minus"):
            lines += ["", f"## {title}, minus the others (refined, paired)", ""]
            body = [[n, *(said(d[f"refined.{k}"]) for k in keys)] for n, d in pairs.items()]
            lines.append(markdown_table(["minus", *keys], body))
    lines += ["", "## Trials on wild/val (fused, refined, mm)", ""]
    tried = sorted({rate for c in document["tuning"].values() for rate in c["trials"]}, key=float)
    if document.get("start", {}).get("trials"):
        told = ", ".join(f"{rate}: {error:.1f}" for rate, error in document["start"]["trials"].items())
        lines[-1] += f"\nStart of the sequence (rate: error): {told}.\n"
    body = []
    for name, c in document["tuning"].items():
        body.append([name, *(f"{c['trials'][rate]:.1f}" if rate in c["trials"] else "" for rate in tried)])
    lines.append(markdown_table(["row", *tried], body))
    return lines


def written(document: dict, lines: Sequence[str], out: Path) -> None:
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def command() -> str:
    """What was typed, without the places of files."""
    words, kept = sys.argv[1:], []
    for word, before in zip(words, ["", *words], strict=False):
        if before == "--poses":
            kept.append(Path(word).name)
        elif not {word, before} & {"--data", "--work", "--out"}:
            kept.append(f'"{word}"' if " " in word else word)
    return " ".join(kept)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that all kinds of evidence have."""
    parser.add_argument("--base", default="lite")
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="holds wild/val")
    parser.add_argument("--phase", choices=["critics", "all"], default="all")
    parser.add_argument("--persons", type=int, default=4000)
    parser.add_argument("--critic-persons", type=int, default=300)
    parser.add_argument("--val-persons", type=int, default=300)
    parser.add_argument("--test-persons", type=int, default=600)
    parser.add_argument("--test-split", help="a split of --data for the tables, in place of new persons")
    parser.add_argument("--test-seed", type=int, default=TEST_SEED, help="of new persons")
    parser.add_argument("--without-masks", action="store_true", help="of the persons of --test-split")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sequence", type=int, default=0, help="steps of SFT on the evidence before the rows")
    parser.add_argument(
        "--sequence-rate", type=float, nargs="+", default=[3e-4], help="of several the best on wild/val"
    )
    parser.add_argument("--sequence-seed", type=int, default=0)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 3e-5, 1e-4])
    parser.add_argument("--extend", action="store_true", help="try rates beyond --rates where their edge is the best")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="+", help="names of rows; all without it")
    parser.add_argument("--max-drop", type=float, default=5.0)
