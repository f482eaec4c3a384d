"""Which rule finds bad labels, and what it costs in good ones: the defaults of `hmralign clean` are chosen by this.

    python benchmarks/recovery/cleaning_rules.py --data DIR

500 persons each of SynthWild's lab/val and wild/val with bad labels of seven kinds (`cleaning.NOISES`) at 5, 15 and
40 %. A scorer judges them; rules hold its scores against a threshold: so many robust deviations below the most common
score, or so far below its mean score of 16 samples of `lite` on the same keypoints (`cleaning.reference`). The margin
with the best mean F1 over kinds, shares and splits is the default (`cleaning.selection.DEFAULT_MARGINS`, which a test
holds against the result). Quantiles of the true labels' scores are written for `cleaning.good_labels`.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

from cleaning import BODY, NOISES, critic_scores, planted
from hmralign.cleaning.detection import average_precision, detection
from hmralign.cleaning.reference import SampleReference
from hmralign.cleaning.selection import DEFAULT_MARGINS, KeepRule, select
from hmralign.critics.catalogue import make_critic
from hmralign.data.synthwild_folder import open_split
from hmralign.models.scorer_checkpoint import scorer_path
from hmralign.policies.catalogue import open_policy
from hmralign.structures import Example
from model_study import ROOT, write

SPLITS = ("lab/val", "wild/val")
SHARES = (0.05, 0.15, 0.4)
DEVIATIONS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15)
RULES = {
    **{f"margin {m:g}": KeepRule(margin=m) for m in MARGINS},
    **{f"outliers {d:g}": KeepRule(outliers=d) for d in DEVIATIONS},
}
SAMPLES, CHUNK = 16, 250
LESS = "less the samples'"
ASSET = ROOT / "src/hmralign/cleaning/assets/true_labels.json"


def references(scorer: str, truth: Example, split: str) -> np.ndarray:
    """Mean score of samples on each person's keypoints."""
    policy = open_policy("lite", BODY).diffusion()
    reference, critic = SampleReference(policy, SAMPLES), make_critic(scorer, BODY, "mediapipe")
    parts = []
    for rows in torch.arange(len(truth.observation.box)).split(CHUNK):
        ids = [f"{split}/{int(row):06d}" for row in rows]
        parts.append(reference.scores(critic, truth.observation[rows], ids))
    return torch.cat(parts).double().numpy()


def measured(scorer: str, split: str, truth: Example) -> dict:
    """Precision, recall and F1 of each rule (means over kinds) by share, and what it drops of true labels."""
    reference, true = references(scorer, truth, split), critic_scores(scorer, truth)
    rows = {name: {"good": float(1 - select(true, rule, reference=reference).keep.mean())}
            for name, rule in RULES.items()}  # fmt: skip
    found: dict[str, dict[str, list]] = {name: {f"{s:g}": [] for s in SHARES} for name in RULES}
    precision_areas: dict[str, list[float]] = {"score": [], LESS: []}
    for kind in NOISES:
        labels = planted(truth, kind)
        noisy = critic_scores(scorer, labels.noisy)
        for share in SHARES:
            bad = labels.bad(share).numpy()
            scores = np.where(bad, noisy, true)
            for name, rule in RULES.items():
                hit = detection(~select(scores, rule, reference=reference).keep, bad)
                found[name][f"{share:g}"].append((hit.precision, hit.recall, hit.f1))
            if share == SHARES[1]:
                precision_areas["score"].append(average_precision(scores, bad))
                precision_areas[LESS].append(average_precision(scores - reference, bad))
    for name, by_share in found.items():
        for share, values in by_share.items():
            rows[name][share] = dict(
                zip(("precision", "recall", "f1"), np.mean(values, 0).round(3).tolist(), strict=True)
            )
    quantiles = np.linspace(0, 1, 201)
    return {
        "rules": rows,
        "average_precision": {name: round(float(np.mean(v)), 3) for name, v in precision_areas.items()},
        "quantiles": {"scores": np.quantile(true, quantiles).round(4).tolist(),
                      "levels": np.quantile(true - reference, quantiles).round(4).tolist()},
    }  # fmt: skip


def mean_f1(by_split: dict[str, dict], rule: str) -> float:
    """Over splits and shares."""
    return float(np.mean([by_split[split]["rules"][rule][f"{s:g}"]["f1"] for split in SPLITS for s in SHARES]))


def best_margin(by_split: dict[str, dict]) -> float:
    """The default: the best mean F1, the larger margin of equals, which drops fewer good labels."""
    return max(MARGINS, key=lambda m: (round(mean_f1(by_split, f"margin {m:g}"), 4), m))


def markdown(result: dict) -> str:
    """One table per scorer and split."""
    lines = [
        "# Rules of cleaning: what they find and what they cost",
        "",
        f"{result['persons']} persons each of SynthWild's lab/val and wild/val, seven kinds of bad labels",
        "(`benchmarks/recovery/cleaning.py`) at 5, 15 and 40 %; precision, recall and F1 of what is dropped, means",
        "over the kinds. `good` is the share of labels dropped where all are true. `margin M`: dropped are labels",
        f"scored more than M below the mean of {SAMPLES} samples of `lite` on the same keypoints. `outliers D`: more",
        "than D robust deviations below the most common score. Chosen here, on validation persons. Training with",
        "both is in `cleaning.md`.",
        f"Command: `python benchmarks/recovery/cleaning_rules.py`; {result['cpu_seconds']:.0f} CPU seconds.",
    ]
    for scorer, by_split in result["scorers"].items():
        areas = {s: by_split[s]["average_precision"] for s in SPLITS}
        lines += [
            "",
            f"## `{scorer}`: margin {best_margin(by_split):g} has the best mean F1",
            "",
            "Average precision at 15 % bad: "
            + "; ".join(f"{s} score {a['score']:.2f}, less the samples' {a[LESS]:.2f}"
                        for s, a in areas.items()) + ".",
            "",
            "| rule | mean F1 | " + " | ".join(f"{s}: good | 5 % | 15 % | 40 %" for s in SPLITS) + " |",
            "| --- |" + " ---: |" * 9,
        ]  # fmt: skip
        for rule in RULES:
            cells = [f"{mean_f1(by_split, rule):.3f}"]
            for split in SPLITS:
                row = by_split[split]["rules"][rule]
                cells.append(f"{100 * row['good']:.1f} %")
                cells += [
                    f"{row[s]['precision']:.2f}, {row[s]['recall']:.2f}, {row[s]['f1']:.2f}"
                    for s in (f"{share:g}" for share in SHARES)
                ]
            lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="folder of lab/val and wild/val")
    parser.add_argument("--persons", type=int, default=500, help="of each split")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/cleaning_rules.json")
    parser.add_argument("--asset", type=Path, default=ASSET, help="quantiles of true labels, which the package reads")
    args = parser.parse_args()
    torch.set_num_threads(1)
    people = {split: open_split(args.data, split).examples[: args.persons] for split in SPLITS}
    scorers = {s: {split: measured(s, split, truth) for split, truth in people.items()} for s in DEFAULT_MARGINS}
    recorded = {}
    for scorer, by_split in scorers.items():
        sha256 = hashlib.sha256(scorer_path(scorer).read_bytes()).hexdigest()
        recorded[sha256] = {split: by_split[split].pop("quantiles") for split in SPLITS}
    result = {"persons": args.persons, "samples": SAMPLES, "cpu_seconds": round(time.process_time(), 1),
              "best_margins": {s: best_margin(b) for s, b in scorers.items()}, "scorers": scorers}  # fmt: skip
    write(args.out, json.dumps(result, indent=1) + "\n")
    write(args.out.with_suffix(".md"), markdown(result))
    args.asset.parent.mkdir(exist_ok=True)
    write(args.asset, json.dumps({"made_by": "benchmarks/recovery/cleaning_rules.py", "weights": recorded}) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    main()
