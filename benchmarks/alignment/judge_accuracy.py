"""How right must a judge be?  Its accuracy against what following it gains, in one shot and with groups sampled anew.

    python benchmarks/alignment/judge_accuracy.py --base lite-lab

A judge that knows the truth and errs (`oracle-noisy`) orders the base's own samples of unlabelled persons of the wild
world, at several rank correlations with the truth; chance is one end and the truth the other. DPO follows it, once, and
in three rounds of a third of the steps, in which groups are sampled and judged anew. One rate serves all rows. What a
judge of one's own is worth on this scale is said by `hmralign critic audit`, on persons with truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evidence_frame import M, command, differences, measured, said, test_persons
from hmralign.critics.names import CriticChoice
from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.systems.align.configuration import RefreshConfig, recommended
from lying_labels import Row, aligned, own_groups, whole, written
from spent_cpu import SpentCpu

ROOT = Path(__file__).parents[2]
TEST_SEED = 281
CHANCE, TRUTH = 0.0, 1.0
COLUMNS = ("raw.fused", "refined.fused", "refined.single", "refined.min_of_10", "refined.fused_hidden")


def critic_of(correlation: float) -> CriticChoice:
    """Whose scores a judge of that correlation gives."""
    return "random" if correlation == CHANCE else "oracle" if correlation == TRUTH else "oracle-noisy"


def judged(args: argparse.Namespace, own: GroupStore, correlation: float) -> GroupStore:
    """The base's groups with the scores of one judge."""
    folder = args.work / f"judge_{correlation:g}_{own.facts.checkpoint_sha256[:8]}"
    critics: Sequence[CriticChoice] = [critic_of(correlation)]
    return written(folder, own, whole(own), f"{own.facts.source}, judged at {correlation:g}", critics, correlation)


def pair_accuracy(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of all pairs of a group that the scores order as the truth does."""
    ours, theirs = (np.sign(s[:, :, None] - s[:, None, :]) for s in (scores, truth))
    different = np.triu(np.ones(ours.shape[1:], bool), 1) & (theirs != 0)
    return float(((ours == theirs) & different).sum() / different.sum())


def rows(correlation: float, rounds: Sequence[int]) -> list[tuple[int, Row]]:
    """DPO by a judge, for each number of rounds."""
    made = []
    for number in rounds:
        refresh = RefreshConfig(number, 5.0 if number > 1 else RefreshConfig().tolerance)
        name = f"judge {correlation:g}, rounds {number}"
        made.append((number, Row(name, "own", critic_of(correlation), recommended("dpo", refresh=refresh))))
    return made


def final(args: argparse.Namespace) -> dict[str, Any]:
    own = own_groups(args)
    truth = own.scores("oracle").double().numpy()
    persons = test_persons(args.test_persons, TEST_SEED)
    base = measured(args.base, persons, "judged", args)
    found = []
    for correlation in args.correlations:
        store = judged(args, own, correlation)
        accuracy = pair_accuracy(store.scores(critic_of(correlation)).double().numpy(), truth)
        line: dict[str, Any] = {"correlation": correlation, "pair_accuracy": round(accuracy, 3), "rounds": {}}
        for number, row in rows(correlation, args.rounds):
            paths = [aligned(row, args.rate, seed, store, args) for seed in args.seeds]
            runs = [measured(p, persons, "judged", args) for p in paths]
            mean = {k: np.mean([r[k] for r in runs], axis=0) for k in runs[0]}
            d = differences(mean, base)
            facts = [json.loads((p.parent / "facts.json").read_text()) for p in paths]
            line["rounds"][str(number)] = {
                "minus_base": {k: d[k] for k in COLUMNS}, "stopped": [f["stopped"] for f in facts],
                "by_seed": [round(1000 * float((r["refined.fused"] - base["refined.fused"]).mean()), 2) for r in runs],
            }  # fmt: skip
            print(row.name, line["rounds"][str(number)]["minus_base"]["refined.fused"], flush=True)
        found.append(line)
    mm = {k: round(1000 * float(np.nanmean(base[k])), 1) for k in COLUMNS}
    return {"base": mm, "persons": len(persons), "judges": found}


def report(document: dict, out: Path) -> None:
    s = document["settings"]
    lines = [
        f"# How right must a judge be? `{s['base']}`", "",
        f"{s['persons']} unlabelled persons of the wild world, groups of 16, DPO by a judge that knows the truth and "
        f"errs, {s['steps']} steps at {s['rate']:g} for every row, in one shot or in three rounds of a third of "
        f"the steps with groups sampled and judged anew. {document['persons']} new persons of held-out poses, M = {M}, "
        f"mean over {len(s['seeds'])} fine-tuning seeds; millimetres on the free body against the base, paired over "
        "persons with 95 % intervals. `pairs` is the share of all pairs of a group that the judge orders rightly; 0 is "
        "chance, 1 the truth.", "",
        f"Command: `python benchmarks/alignment/judge_accuracy.py {s['command']}`; {s['cpu_minutes']} CPU minutes.", "",
        f"Base: fused {document['base']['raw.fused']} raw, {document['base']['refined.fused']} refined.", "",
    ]  # fmt: skip
    body = []
    for line in document["judges"]:
        for number, row in line["rounds"].items():
            how = "one shot" if number == "1" else f"{number} rounds"
            stopped = " (stopped)" if any(row["stopped"]) else ""
            cells = [said(row["minus_base"][k]) for k in COLUMNS]
            body.append([f"{line['correlation']:g}", f"{100 * line['pair_accuracy']:.0f} %", how + stopped, *cells])
    head = ["rank correlation", "pairs", "", "fused, raw", "fused, refined", "single", "min 10", "hidden joints"]
    lines.append(markdown_table(head, body))
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="lite-lab")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/lying_labels")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/judge_accuracy")
    parser.add_argument("--persons", type=int, default=2000)
    parser.add_argument("--correlations", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--test-persons", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--max-drop", type=float, default=5.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    spent = SpentCpu(args.work / "judge_cpu_seconds.json")
    document = final(args)
    names = ("base", "persons", "rate", "steps", "seeds")
    settings = {n: getattr(args, n) for n in names} | {"command": command(), "cpu_minutes": round(spent.minutes())}
    report({"settings": settings, **document}, args.out)


if __name__ == "__main__":
    main()
