"""Scorers on perturbed truth and on what models sample: which inputs, data and losses close the gap between the two.

    python benchmarks/critics/scorer.py --data DIR --phase all [--work DIR]

Every scorer of the study has the same size (residual MLP, width 160) and the same number of steps, one seed; they
differ in one thing each. Training persons: SynthWild's lab/train, as observed and seen again; the ceiling's are the
true bodies of wild/train. Choices are made on wild/val (`--phase val`); the tables are of wild/test and lab/test
(`--phase test`, logged). Per group and pooled, 95 % bootstrap intervals over persons. Every trained scorer and every
column of scores is a file in `--work`: a run that was cut off goes on where it was.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.reobserved import reobserved
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.openings import log_opening
from hmralign.fitting.detector_noise import noise_of
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.metrics.ranking import kendall, pearson, pooled_pearson, pooled_spearman, regret, spearman
from hmralign.models.scorer import ScorerConfig
from hmralign.models.scorer_checkpoint import scorer_path
from hmralign.policies.lite import LitePolicy
from hmralign.structures import Example, Hypotheses
from hmralign.systems.scorer_dpo.train import mirrored_outputs
from hmralign.training.hypothesis_sets import (
    PUBLISHED_NOISE,
    WIDE_NOISE,
    body_errors,
    hypothesis_set,
    perturbing,
    sampling,
)
from hmralign.training.scorer import HypothesisSet, ScorerLoss, ScorerTrainingConfig, train_scorer

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
HYPOTHESES, PERSONS, SHARE = 16, 500, 12_000
CRITICS = ("random", "reprojection", "silhouette", "plausibility", "mix", "consistency")
SHIPPED = ("scorer-lab", "scorer")


@dataclass(frozen=True)
class Variant:
    """A scorer of the study: what differs."""

    name: str
    inputs: str = "full"
    data: tuple[str, ...] = ("seen again",)
    loss: ScorerLoss = "listwise_regression"
    heads: str = "per_metric"
    architecture: str = "mlp"
    metrics: tuple[int, ...] = (0, 1, 2, 3)

    @property
    def key(self) -> str:
        return "".join(c if c.isalnum() else "_" for c in self.name)


VARIANTS = (
    Variant("HMR-Scorer as published", "uvd", ("perturbed",), "ranknet", "one"),
    Variant("HMR-Scorer-2D", "2d", ("perturbed",), "ranknet", "one"),
    Variant("HMR-Scorer-P", "pose", ("perturbed",), "ranknet", "one"),
    Variant("published, attention instead of MLP", "uvd", ("perturbed",), "ranknet", "one", "attention"),
    Variant("ScoreNet-style", "uvd", ("lab samples",), "ranknet", "one", metrics=(0,)),
    Variant("full inputs, perturbed truth", data=("perturbed",)),
    Variant("full inputs, lab samples", data=("lab samples",)),
    Variant("full inputs, seen again"),
    Variant("full inputs, lab samples and seen again", data=("lab samples", "seen again")),
    Variant("UVD, seen again", "uvd"),
    Variant("full inputs, seen again, RankNet", loss="ranknet"),
    Variant("full inputs, seen again, listwise alone", loss="listwise"),
    Variant("group inputs, seen again", "group"),
    Variant("ceiling: full inputs, truth of wild/train", data=("wild truth",)),
    Variant("ceiling: group inputs, truth of wild/train", "group", ("wild truth",)),
)


def training_set(kind: str, args: argparse.Namespace) -> HypothesisSet:
    body, offsets = load_free_body("3k5"), noise_of("mediapipe").offsets
    policy = LitePolicy.load("lite-lab", body)
    lab = open_split(args.data, "lab/train")
    count = args.persons_trained
    if kind == "perturbed":
        return hypothesis_set(body, lab.shards[torch.arange(count)], perturbing(HYPOTHESES, WIDE_NOISE, 3), offsets)
    if kind == "lab samples":
        return hypothesis_set(body, lab.shards[torch.arange(count)], sampling(policy, HYPOTHESES, 0), offsets)
    if kind == "wild truth":
        wild = open_split(args.data, "wild/train")
        some = torch.arange(min(count, len(wild)))
        return hypothesis_set(body, wild.shards[some], sampling(policy, HYPOTHESES, 2), offsets)
    annotation = lab.shards[torch.arange(8000, 40_000)].annotation
    assert annotation is not None
    draw = torch.Generator().manual_seed(0)
    again = reobserved(body, annotation, lab.sha256, load_measured_noise(), count, draw)
    return hypothesis_set(body, again, sampling(policy, HYPOTHESES, 1), offsets)


def trained(variant: Variant, sets: dict[str, HypothesisSet], args: argparse.Namespace):
    """The variant's scorer; its folder says what it cost."""
    model = ScorerConfig(
        inputs=variant.inputs, architecture=variant.architecture, heads=variant.heads,  # pyright: ignore
        width=160, depth=2, context_width=128, context_depth=2,
    )  # fmt: skip
    steps = args.steps
    if variant.architecture == "attention":  # the same CPU seconds, not the same steps
        model, steps = replace(model, width=48), max(1, args.steps // 6)
    config = ScorerTrainingConfig(model=model, steps=steps, loss=variant.loss)
    folder = args.work / variant.key
    done = folder / f"member_0_{steps}.json"
    for kind in variant.data:
        if kind not in sets:
            sets[kind] = training_set(kind, args)
    data = HypothesisSet.join([sets[k] for k in variant.data]) if len(variant.data) > 1 else sets[variant.data[0]]
    data = HypothesisSet(data.input, data.errors[..., list(variant.metrics)].expand(-1, -1, 4).contiguous() if len(
        variant.metrics) == 1 else data.errors)  # fmt: skip
    started = time.process_time()
    scorer = train_scorer(data, config, folder)
    if not done.exists():
        done.write_text(json.dumps({"cpu_seconds": round(time.process_time() - started, 1), "steps": steps}))
    return scorer


@dataclass(frozen=True)
class TestSet:
    """Persons with hypotheses whose errors are known."""

    __test__ = False
    name: str
    split: str
    model: str | None
    """Whose samples; None for perturbed truth."""


def test_sets(args: argparse.Namespace) -> list[TestSet]:
    wild, lab = ("wild/val", "lab/val") if args.phase == "val" else ("wild/test", "lab/test")
    sets = [
        TestSet("lite-lab on wild", wild, "lite-lab"), TestSet("lite-lab on lab", lab, "lite-lab"),
        TestSet("perturbed truth, wild", wild, None), TestSet("perturbed truth, lab", lab, None),
    ]  # fmt: skip
    others = [p for p in args.others if Path(p).exists()] if args.phase != "val" else []
    return sets + [TestSet(f"{Path(p).parent.name} on wild", wild, p) for p in others]


@torch.no_grad()
def proposals(test: TestSet, args: argparse.Namespace) -> tuple[Example, Hypotheses, np.ndarray]:
    body = load_free_body("3k5")
    if test.split.endswith("/test"):
        log_opening(
            RESULTS / "test_openings.jsonl", test.split, "benchmarks/critics/scorer.py", predictor=str(test.model)
        )
    example = open_split(args.data, test.split).shards[torch.arange(PERSONS)]
    if test.model is None:
        propose = perturbing(HYPOTHESES, PUBLISHED_NOISE, 100)
    else:
        propose = sampling(LitePolicy.load(test.model, body), HYPOTHESES, 100)
    bodies = propose(example, 0)
    assert example.annotation is not None
    errors = body_errors(body, bodies, example.annotation, with_vertices=False)[..., 0]
    return example, Hypotheses(bodies, posed_joints(body, bodies)), errors.double().numpy()


def described(example: Example, group: Hypotheses) -> HypothesisSet:
    body, offsets = load_free_body("3k5"), noise_of("mediapipe").offsets
    return hypothesis_set(body, example, lambda some, numbers: group.body[numbers.start : numbers.stop], offsets)


def columns(test: TestSet, args: argparse.Namespace, sets: dict[str, HypothesisSet]) -> dict[str, np.ndarray]:
    """Errors and everybody's scores, kept in a file."""
    kept = args.work / f"scores_{args.phase}_{''.join(c if c.isalnum() else '_' for c in test.name)}.npz"
    found: dict[str, np.ndarray] = {}
    if kept.exists():
        with np.load(kept, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    wanted = [*CRITICS, *(n for n in SHIPPED if scorer_path(n).exists()), *(v.name for v in VARIANTS)]
    missing = [name for name in wanted if name not in found]
    if not missing:
        return found
    example, group, errors = proposals(test, args)
    found["errors"] = errors
    body, by_name = load_free_body("3k5"), {v.name: v for v in VARIANTS}
    data = described(example, group)
    for name in missing:
        if name in by_name:
            found[name] = mirrored_outputs(trained(by_name[name], sets, args), data).double().numpy()
        else:
            shown = Example(example.observation)
            found[name] = judge(make_critic(name, body, seed=1), group, shown).double().numpy()  # pyright: ignore
        np.savez_compressed(kept.with_suffix(".part.npz"), **found)  # pyright: ignore
        kept.with_suffix(".part.npz").replace(kept)
    return found


def standardised(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-9)


def measured(scores: np.ndarray, found: dict[str, np.ndarray]) -> dict:
    errors = found["errors"]
    order, of_reprojection = spearman(scores, errors), spearman(found["reprojection"], errors)
    shown = {
        "spearman": bootstrap_mean(order), "pearson": bootstrap_mean(pearson(scores, errors)),
        "kendall": bootstrap_mean(kendall(scores, errors)),
        "regret_mm": bootstrap_mean(1000 * regret(scores, errors)),
        "spearman_minus_reprojection": paired_difference(order, of_reprojection),
    }  # fmt: skip
    row: dict = {k: [v.mean, v.low, v.high] for k, v in shown.items()}
    return row | {
        "pooled_spearman": pooled_spearman(scores, errors),
        "pooled_pearson": pooled_pearson(scores, errors),
        "chance_regret_mm": float(1000 * (errors.mean(1) - errors.min(1)).mean()),
    }


def table(args: argparse.Namespace) -> dict:
    sets: dict[str, HypothesisSet] = {}
    rows = {}
    for test in test_sets(args):
        found = columns(test, args, sets)
        names = [n for n in found if n != "errors"]
        rows[test.name] = {n: measured(found[n], found) for n in names}
        for name in ("scorer-lab", "full inputs, seen again"):
            if name in found:
                both = standardised(found[name]) + 0.5 * standardised(found["consistency"])
                rows[test.name][f"{name} + half consistency"] = measured(both, found)
        print(test.name, "done", flush=True)
    return rows


def report(rows: dict, args: argparse.Namespace) -> None:
    out = RESULTS / ("scorer_val.json" if args.phase == "val" else "scorer.json")
    costs = {}
    for v in VARIANTS:
        for file in (args.work / v.key).glob("member_0_*.json"):
            costs[v.name] = json.loads(file.read_text())["cpu_seconds"]
    settings = {"persons": PERSONS, "hypotheses": HYPOTHESES, "steps": args.steps, "trained_on": args.persons_trained}
    out.write_text(json.dumps({"settings": settings, "cpu_seconds": costs, "rows": rows}, indent=1) + "\n")
    lines = [
        "# Scorers on perturbed truth and on what models sample", "",
        f"Written by `benchmarks/critics/scorer.py --phase {args.phase} --steps {args.steps} --persons-trained "
        f"{args.persons_trained}`. {PERSONS} persons of each split, {HYPOTHESES} hypotheses each; scorers of the study "
        "see so many persons for so many steps, one seed, an MLP of width 160 unless said. SRCC, PLCC and tau-b are "
        "means over groups with 95 % intervals over persons (a silent group counts 0); regret is what the first choice "
        "costs above the best of the group, in mm of MPJPE; pooled is over all hypotheses of all persons, which is "
        "what a threshold relies on. "
        "`scorer` has seen wild-like persons in training and is not to be compared; `ceiling` "
        "rows have seen the truth of wild/train.", "",
        "`perturbed truth` is the published protocol (joints off by 0.05 rad); its columns say little of the others.",
    ]  # fmt: skip
    for test, found in rows.items():
        chance = next(iter(found.values()))["chance_regret_mm"]
        lines += [
            "", f"## {test}", "", f"A random pick costs {chance:.1f} mm.", "",
            "| critic | SRCC | minus reprojection | PLCC | tau-b | regret, mm | pooled SRCC | pooled PLCC |",
            "| --- |" + " ---: |" * 7,
        ]  # fmt: skip
        for name, r in found.items():
            cells = [
                name, _interval(r["spearman"], 3), _interval(r["spearman_minus_reprojection"], 3),
                f"{r['pearson'][0]:.3f}", f"{r['kendall'][0]:.3f}", _interval(r["regret_mm"], 1),
                f"{r['pooled_spearman']:.3f}", f"{r['pooled_pearson']:.3f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Training, CPU seconds: {json.dumps(costs)}.", ""]
    reading = RESULTS / "scorer_reading.md"
    if reading.exists() and args.phase != "val":
        lines[1:1] = ["", reading.read_text().strip()]
    out.with_suffix(".md").write_text("\n".join(lines))


def _interval(value: list[float], digits: int) -> str:
    return f"{value[0]:.{digits}f} ({value[1]:.{digits}f} to {value[2]:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/scorer_study")
    parser.add_argument("--phase", choices=["val", "test"], default="test")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--persons-trained", type=int, default=SHARE)
    parser.add_argument("--others", nargs="*", default=["runs/lite_lab_seed1/model.safetensors"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    report(table(args), args)


if __name__ == "__main__":
    main()
