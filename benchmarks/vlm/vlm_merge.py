"""How should a group of 20 be split into calls, and how should the calls be merged? A simulation of judges.

    python benchmarks/vlm/vlm_merge.py [--groups 400]

The judges are made up: quality is normal, every call has its own level and scale and favours places linearly, scores
are whole multiples of 5. It shows what designs and merges do to such errors, and says nothing about real judges.
The figure is the mean over groups of Spearman's correlation of merged scores with the simulated quality.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hmralign.critics.vlm.merge import (
    MergeOptions,
    induced_preferences,
    mean_scores,
    mean_z_scores,
    merge,
    merge_preferences,
)
from hmralign.critics.vlm.plan import group_generator, permutations, windows
from hmralign.metrics.ranking import spearman
from hmralign.structures import Critique, Finding

ROOT = Path(__file__).parents[2]
SIZE = 20
Orders = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Judge:
    """A simulated judge; points on its scale of 0 to 100."""

    signal: float = 15.0
    """Points per standard deviation of quality."""
    level: float = 10.0
    """Standard deviation of the level of a call."""
    least_scale: float = 0.5
    most_scale: float = 1.5
    """Each call stretches its signal by a factor between these."""
    position: float = 8.0
    """Points between first and last place."""
    noise: float = 8.0
    """Standard deviation of a judgement in a call of one."""
    growth: float = 0.0
    """By how much noise grows with each further picture, as a share."""
    step: float = 5.0
    """Scores are multiples of this."""

    def __call__(self, orders: Orders, quality: np.ndarray, random: np.random.Generator) -> list[Critique]:
        """Judge the calls one by one."""
        calls = []
        for order in orders:
            level = self.level * random.standard_normal()
            scale = random.uniform(self.least_scale, self.most_scale)
            place = np.arange(len(order)) / (len(order) - 1) - 0.5
            noise = self.noise * (1 + self.growth) ** (len(order) - 1) * random.standard_normal(len(order))
            said = 50 + level + scale * self.signal * quality[list(order)] + self.position * place + noise
            said = np.clip(np.round(said / self.step) * self.step, 0, 100)
            calls.append(Critique(tuple(Finding(i, float(s)) for i, s in zip(order, said, strict=True))))
        return calls


JUDGES = {"noise grows": Judge(noise=4.0, growth=0.06), "noise flat": Judge(noise=8.0)}
"""In the first a call of 20 has three times the noise of a call of one; both have about the same in a call of 12."""


def fixed_order(g: torch.Generator) -> Orders:
    return permutations(SIZE, 1, g) * 2


DESIGNS: dict[str, Callable[[torch.Generator], Orders]] = {
    "1 call of 20": lambda g: permutations(SIZE, 1, g),
    "2 calls of 20, same order": fixed_order,
    "2 permutations of 20": lambda g: permutations(SIZE, 2, g),
    "2 permutations of 20, mirrored": lambda g: permutations(SIZE, 2, g, mirrored=True),
    "1 partition, windows of 5": lambda g: windows(SIZE, 5, 1, g),
    "2 partitions, windows of 5": lambda g: windows(SIZE, 5, 2, g),
    "2 partitions, windows of 10": lambda g: windows(SIZE, 10, 2, g),
    "2 partitions, windows of 5, mirrored": lambda g: windows(SIZE, 5, 2, g, mirrored=True),
    "2 partitions, windows of 10, mirrored": lambda g: windows(SIZE, 10, 2, g, mirrored=True),
    "3 partitions, windows of 5": lambda g: windows(SIZE, 5, 3, g),
    "3 partitions, windows of 10": lambda g: windows(SIZE, 10, 3, g),
}

CENTRED = MergeOptions(disconnected="centre")
UNBIASED = replace(CENTRED, position="ignore")
MERGES: dict[str, Callable[[list[Critique]], np.ndarray]] = {
    "mean": lambda calls: mean_scores(calls, SIZE),
    "z": lambda calls: mean_z_scores(calls, SIZE),
    "LS": lambda calls: merge(calls, SIZE, UNBIASED).scores,
    "LS + place": lambda calls: merge(calls, SIZE, CENTRED).scores,
    "BT": lambda calls: merge_preferences(induced_preferences(calls), SIZE, UNBIASED).scores,
}


def simulate(judge: Judge, design: Callable[[torch.Generator], Orders], groups: int, seed: int) -> dict:
    merged: dict[str, list[np.ndarray]] = {name: [] for name in MERGES}
    true, slopes, informative, sent = [], [], [], 0
    for number in range(groups):
        random = np.random.default_rng([seed, number])
        quality = random.standard_normal(SIZE)
        orders = design(group_generator(f"simulated/{number}", seed))
        calls = judge(orders, quality, random)
        for name, how in MERGES.items():
            merged[name].append(how(calls))
        full = merge(calls, SIZE, CENTRED)
        slopes.append(full.position_slope)
        informative.append(full.informative)
        sent = sum(map(len, orders))
        true.append(quality)
    errors = -np.stack(true)
    rho = {name: spearman(np.stack(scores), errors) for name, scores in merged.items()}
    known = np.isfinite(slopes)
    return {
        "tiles_sent": sent,
        "spearman": {name: round(float(r.mean()), 3) for name, r in rho.items()},
        "standard_error": {name: round(float(r.std(ddof=1) / groups**0.5), 4) for name, r in rho.items()},
        "position_slope": round(float(np.mean(np.array(slopes)[known])), 2) if known.any() else None,
        "informative": round(float(np.mean(informative)), 3),
    }


def markdown(result: dict) -> str:
    names = list(MERGES)
    lines = [
        "# Splitting a group of 20 into calls, and merging the calls",
        "",
        "Command: `python benchmarks/vlm/vlm_merge.py`.",
        "",
        "**These are simulated judges, which is no evidence about real ones.** Each call has a level, a scale and a",
        f"linear position bias of {result['judges']['noise flat']['position']:g} points from first to last place;",
        "scores are multiples of 5; noise either is the same in every call or grows with the number of pictures. Which",
        "of the two a real judge resembles has to be measured with it, and decides how large windows should be. The",
        f"figures are mean Spearman correlations with the simulated quality over {result['groups']} groups; their",
        f"standard errors are {result['least_standard_error']:g} to {result['most_standard_error']:g}.",
        "",
        "mean: of raw scores; z: of scores standardised per call; LS: least squares with item and call effects; LS +",
        "place: with position bias as well (the default of the package); BT: Bradley-Terry on the pairs of each call.",
        "Where windows share nothing (1 partition) LS gives each window the same mean. Mirrored: the second round",
        "shows last what the first showed first. Informative: groups in which an F test at 5 % finds a difference,",
        "and whose merged scores are at least half signal by the judge's own repeatability; all count where nothing",
        "is judged twice.",
        "",
    ]
    for judge, rows in result["designs"].items():
        lines += [f"## {judge.capitalize()}", ""]
        lines += ["| design | tiles sent | " + " | ".join(names) + " | slope found | informative |"]
        lines += ["| --- | ---: |" + " ---: |" * (len(names) + 2)]
        for design, row in rows.items():
            best = max(row["spearman"].values())
            cells = [f"**{v:.3f}**" if v == best else f"{v:.3f}" for v in row["spearman"].values()]
            slope = "" if row["position_slope"] is None else f"{row['position_slope']:.1f}"
            share = f"{100 * row['informative']:.0f} %"
            lines.append(f"| {design} | {row['tiles_sent']} | " + " | ".join(cells) + f" | {slope} | {share} |")
        lines.append("")
    return "\n".join([*lines, "## Reading", "", *(f"- {line}" for line in reading(result["designs"])), ""])


def reading(designs: dict) -> list[str]:
    """What the package's defaults rest on, with the figures of this run."""

    def of(judge: str, design: str, how: str = "LS + place") -> float:
        return designs[f"noise {judge}"][design]["spearman"][how]

    ten, mirrored, all20 = (
        "2 partitions, windows of 10",
        "2 partitions, windows of 10, mirrored",
        "2 permutations of 20",
    )
    both = ("grows", "flat")
    lines = []
    for name, better, worse in (
        ("Least squares instead of raw means, windows of 10", (ten, "LS + place"), (ten, "mean")),
        ("Mirrored places, windows of 10", (mirrored, "LS + place"), (ten, "LS + place")),
        ("Windows of 10 instead of whole permutations, both mirrored", (mirrored, "LS + place"),
         (f"{all20}, mirrored", "LS + place")),
        ("Windows of 5 instead of 10, both mirrored", ("2 partitions, windows of 5, mirrored", "LS + place"),
         (mirrored, "LS + place")),
    ):  # fmt: skip
        gains = [of(judge, *better) - of(judge, *worse) for judge in both]
        lines.append(f"{name}: {gains[0]:+.3f} where noise grows, {gains[1]:+.3f} where it is flat.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/vlm_merge.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    designs = {
        name: {d: simulate(judge, design, args.groups, args.seed) for d, design in DESIGNS.items()}
        for name, judge in JUDGES.items()
    }
    errors = [e for rows in designs.values() for row in rows.values() for e in row["standard_error"].values()]
    result = {
        "evidence": "simulated judges; no evidence about real ones",
        "groups": args.groups,
        "seed": args.seed,
        "judges": {name: asdict(judge) for name, judge in JUDGES.items()},
        "designs": designs,
        "least_standard_error": min(errors),
        "most_standard_error": max(errors),
        "cpu_seconds": round(time.process_time() - started),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
