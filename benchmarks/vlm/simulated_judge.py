"""Does the memory do what it is built for? Measured on a judge that is simulated: a mechanism test.

    python benchmarks/vlm/simulated_judge.py [--replicates 10] [--out FILE]

Nothing here is evidence about real judges: how the simulated one errs is written down in `judge_simulator.py`, and
figures follow from that. Each replicate is a world of its own. The loop explores with truth (retrieve, judge, episode,
scripted review, filter), freezes, and scores held-out groups with the frozen memory; the same groups are scored without
memory. Points are 100 x Spearman correlation of a group of 20, averaged over held-out groups; intervals are 95 % by
Student's t over replicates, differences paired.

A second table leaves the judge out: 60 rules of which a third help and a third hurt, five per prompt, arriving one by
one, credit shared by all of a prompt. It compares ways to choose rules while exploring and to choose those to freeze.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import t as student

from hmralign.critics.vlm.memory.selection import PAPER_SELECTION, SelectionOptions, select_rules, wilson
from hmralign.structures import Rule
from judge_simulator import (
    ASPECTS,
    DISTRACTORS,
    JudgeConfig,
    LoopConfig,
    LoopResult,
    Miner,
    SimulatedJudge,
    World,
    rules_of,
    run_loop,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results"
S = SelectionOptions
START = rules_of(ASPECTS[:1]) + rules_of(DISTRACTORS[:1])
"""One rule that helps and one that hurts, as a person might begin."""
FULL = LoopConfig(episodes=100, held_out=50, seeds=START)
VARIANTS: dict[str, LoopConfig] = {
    "full": FULL,
    "without rule memory": replace(FULL, rules=0, reflection=False),
    "without prototype memory": replace(FULL, prototypes=0),
    "without reflection (the two first rules)": replace(FULL, reflection=False),
    "no UCB: rules drawn at random": replace(FULL, selection=S("random")),
    "no UCB: greedy by success rate": replace(FULL, selection=S("greedy")),
    "Thompson": replace(FULL, selection=S("thompson")),
    "UCB as printed, C = 1": replace(FULL, selection=PAPER_SELECTION),
    "freeze by Wilson bound, shared credit": replace(FULL, credit="shared"),
    "freeze by Wilson bound, one control call per group": replace(FULL, credit="paired", controls=1),
    "freeze all rules (UCB as printed)": replace(FULL, selection=PAPER_SELECTION, keep_all=True),
}
NO_PROTOTYPES = replace(FULL, prototypes=0)
WRONG = replace(NO_PROTOTYPES, seeds=rules_of(DISTRACTORS), miner=Miner(wrong=1.0, junk=0.0))
WORLDS: dict[str, tuple[JudgeConfig, LoopConfig]] = {
    "no rule describes its errors": (JudgeConfig(deaf=True), replace(FULL, miner=Miner(wrong=0.0, useless=True))),
    "all rules are wrong": (JudgeConfig(), WRONG),
    "all rules are wrong, all frozen (UCB as printed)": (
        JudgeConfig(),
        replace(WRONG, selection=PAPER_SELECTION, keep_all=True),
    ),
}
ROUNDS, ARMS, PER_PROMPT = 400, 60, 5
POLICIES: dict[str, SelectionOptions] = {
    "UCB as printed, C = 1.4": S(exploration=1.4, prior=False, relevance="none"),
    "UCB as printed, C = 0.5": S(exploration=0.5, prior=False, relevance="none"),
    "UCB as printed, C = 0.2": S(exploration=0.2, prior=False, relevance="none"),
    "UCB with prior, C = 1 (default)": S(relevance="none"),
    "UCB with prior, C = 0.5": S(exploration=0.5, relevance="none"),
    "UCB with prior, C = 0.2": S(exploration=0.2, relevance="none"),
    "Thompson": S("thompson", relevance="none"),
    "greedy": S("greedy", relevance="none"),
    "random": S("random", relevance="none"),
}


@dataclass(frozen=True)
class Mean:
    """Mean and 95 % interval by Student's t over replicates."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float] | np.ndarray, digits: int = 1) -> "Mean":
        values = np.asarray(values, np.float64)
        half = float(student.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / np.sqrt(len(values))
        return Mean(*(round(float(v), digits) for v in (values.mean(), values.mean() - half, values.mean() + half)))

    def __str__(self) -> str:
        return f"{self.mean:g} ({self.low:g} to {self.high:g})"


def replicates(config: LoopConfig, judge: JudgeConfig, count: int) -> list[LoopResult]:
    results = []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_loop(World.make(seed), SimulatedJudge(judge), config, Path(folder)))
    return results


def loop_row(results: list[LoopResult], full: list[LoopResult] | None) -> dict:
    held_out, bare = (np.array([100 * getattr(r, name).mean() for r in results]) for name in ("held_out", "bare"))
    row = {
        "held_out": Mean.of(held_out).__dict__,
        "gain_over_no_memory": Mean.of(held_out - bare).__dict__,
        "calls_per_group": round(float(np.mean([r.calls / len(r.exploration) for r in results])), 2),
        "rules": round(float(np.mean([r.rules for r in results])), 1),
        "rules_frozen": round(float(np.mean([len(r.kept) for r in results])), 1),
        "prototypes": round(float(np.mean([r.prototypes for r in results])), 1),
        "sentences_refused": round(float(np.mean([r.refused for r in results])), 1),
    }
    if full is not None:
        reference = np.array([100 * r.held_out.mean() for r in full])
        row["minus_full"] = Mean.of(held_out - reference).__dict__
    return row


def bandit(policy: SelectionOptions, seed: int) -> tuple[float, float, float]:
    """Success in the second half of exploration, and of the five frozen by lower bound, and by success rate."""
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    effects = draw.permutation(np.repeat([0.8, 0.0, -0.8], ARMS // 3))
    uses, wins = np.zeros(ARMS, np.int64), np.zeros(ARMS, np.int64)
    rules = [Rule(f"{i:02d}", "", ()) for i in range(ARMS)]
    successes = []
    for number in range(ROUNDS):
        arrived = min(ARMS, 10 + number // 4)
        chosen = [int(r.id) for r in select_rules(rules[:arrived], (), PER_PROMPT, policy, generator)]
        success = bool(draw.random() < expit(effects[chosen].sum()))
        successes.append(success)
        uses[chosen] += 1
        wins[chosen] += success
        for i in chosen:
            rules[i] = replace(rules[i], uses=int(uses[i]), successes=int(wins[i]))
    by_bound = sorted(range(ARMS), key=lambda i: -wilson(int(wins[i]), int(uses[i]))[0])[:PER_PROMPT]
    by_rate = sorted(range(ARMS), key=lambda i: -wins[i] / max(uses[i], 1))[:PER_PROMPT]
    bound, rate = (float(expit(effects[chosen].sum())) for chosen in (by_bound, by_rate))
    return float(np.mean(successes[ROUNDS // 2 :])), bound, rate


def bandit_row(policy: SelectionOptions, count: int) -> dict:
    exploring, by_bound, by_rate = np.array([bandit(policy, seed) for seed in range(count)]).T
    columns = {"second_half": exploring, "frozen_by_lower_bound": by_bound, "frozen_by_rate": by_rate}
    return {name: Mean.of(values, 3).__dict__ for name, values in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--bandits", type=int, default=25)
    parser.add_argument("--out", type=Path, default=RESULTS / "simulated_judge.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    full = replicates(FULL, JudgeConfig(), args.replicates)
    loop = {"full": loop_row(full, None)}
    for name, config in list(VARIANTS.items())[1:]:
        loop[name] = loop_row(replicates(config, JudgeConfig(), args.replicates), full)
        print(name, loop[name]["gain_over_no_memory"], flush=True)
    worlds = {}
    for name, (judge, config) in WORLDS.items():
        worlds[name] = loop_row(replicates(config, judge, args.replicates), None)
        print(name, worlds[name]["gain_over_no_memory"], flush=True)
    result = {
        "replicates": args.replicates, "episodes": FULL.episodes, "held_out_groups": FULL.held_out,
        "bandits": args.bandits, "without_memory": Mean.of([100 * r.bare.mean() for r in full]).__dict__,
        "loop": loop, "worlds": worlds, "policies": {n: bandit_row(p, args.bandits) for n, p in POLICIES.items()},
        "cpu_seconds": round(time.process_time() - start),
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def markdown(result: dict) -> str:
    def cell(row: dict, name: str) -> str:
        return str(Mean(**row[name])) if name in row else ""

    lines = [
        "# The memory with a simulated judge",
        "",
        "**A mechanism test, no evidence about real judges.** The judge is a program whose errors are written down in",
        "`benchmarks/vlm/judge_simulator.py`: it overlooks things until a rule names them, weighs scenes by",
        "habit until",
        "cases show it better, and obeys wrong rules. Figures follow from that; only their order says something about",
        "the memory.",
        f"Written by `python benchmarks/vlm/simulated_judge.py`, {result['cpu_seconds']} CPU seconds.",
        "",
        f"{result['replicates']} worlds, {result['episodes']} episodes with truth, then {result['held_out_groups']} "
        "held-out groups of 20 with the frozen memory.",
        "Points are 100 x Spearman; 95 % intervals (Student's t over worlds), differences paired. Without memory the",
        f"judge has {Mean(**result['without_memory'])}.",
        "",
        "| | held out | gain over no memory | minus full | calls per group | rules found / frozen |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]

    def row_of(name: str, row: dict) -> str:
        cells = [name, *(cell(row, c) for c in ("held_out", "gain_over_no_memory", "minus_full"))]
        return f"| {' | '.join(cells)} | {row['calls_per_group']:g} | {row['rules']:g} / {row['rules_frozen']:g} |"

    lines += [row_of(name, row) for name, row in result["loop"].items()]
    refused = result["loop"]["full"]["sentences_refused"]
    lines += [
        "",
        "`full`: UCB with a prior mean, C = 1, Jaccard relevance; rules are retired and kept by effects that least",
        f"squares untangles from the log. Per world the filter refused {refused:g} of the sentences that the review",
        "proposed, junk and repetitions.",
        "",
        "## Judges that a memory must not spoil",
        "",
        "| errors of the judge | gain over no memory | rules found / frozen |",
        "| --- | --- | ---: |",
    ]
    lines += [
        f"| {name} | {cell(row, 'gain_over_no_memory')} | {row['rules']:g} / {row['rules_frozen']:g} |"
        for name, row in result["worlds"].items()
    ]
    lines += [
        "",
        "A row without cases in which nothing was frozen shows the judge nothing, so its gain is exactly 0: loss was",
        "avoided by keeping no rule, not by telling good ones apart.",
        "",
        "## Choosing rules when all of a prompt share the credit",
        "",
        f"{ARMS} rules (a third help, a third hurt), {PER_PROMPT} per prompt, {ROUNDS} prompts, {result['bandits']} "
        "draws.",
        "Success is that of a prompt. What counts is the frozen list, not success while exploring.",
        "",
        "| policy | success, 2nd half of exploration | five frozen by Wilson bound | five frozen by success rate |",
        "| --- | --- | --- | --- |",
    ]
    columns: tuple[str, ...] = ("second_half", "frozen_by_lower_bound", "frozen_by_rate")
    for name, row in result["policies"].items():
        lines.append(f"| {name} | {' | '.join(cell(row, c) for c in columns)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
