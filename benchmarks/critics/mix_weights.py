"""Weights of the critics' mix, fitted on half of SynthWild's lab/val and measured on the other half.

    python benchmarks/critics/mix_weights.py --data FOLDER [--checkpoint lite-lab] [--persons 500]

Hypotheses are raw samples of the model (M = 32, no refinement), what preference groups are made of. Weights minimise
the logistic loss of all pairs of one group, better against worse by MPJPE (Bradley & Terry 1952; Burges et al. 2005,
RankNet), and are not negative. Wild persons are never looked at: their truth is what alignment must do without.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.critics.by_rule import CriticWeights, weighted_critics
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import Critic, can_judge, judge
from hmralign.critics.plausibility import SURPRISE_UNIT, PlausibilityCritic
from hmralign.critics.pose_surprise import pose_surprise
from hmralign.data.synthwild_folder import open_split
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.metrics.intervals import Interval, bootstrap_mean, paired_difference
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Example, Hypotheses

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SPLIT, DETECTOR, HYPOTHESES, BATCH = "lab/val", "mediapipe", 32, 100
PRESENT = {"reprojection": 1.0, "silhouette": 1.0, "plausibility": 0.5}
"""What `recover` ranks with."""
WITH_PRIOR = "plausibility with pose prior"
TERMS = ("reprojection", "silhouette", "plausibility", "pose prior", WITH_PRIOR)
MIXES = {
    "fitted mix": ("reprojection", "silhouette", "plausibility"),
    "fitted mix with pose prior": ("reprojection", "silhouette", WITH_PRIOR),
}


@dataclass(frozen=True)
class PosePriorCritic:
    """The surprise term of `PlausibilityCritic` alone, bent like the rest of it."""

    name = "pose prior"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> torch.Tensor:
        cost = pose_surprise(hypotheses.body.body_pose).clamp(min=0) / SURPRISE_UNIT
        return -cost / (1 + cost)


@dataclass(frozen=True)
class Judged:
    """Scores (person, hyp) by critic, zeros where it cannot judge, and errors in metres."""

    scores: dict[str, np.ndarray]
    errors: np.ndarray
    has_mask: np.ndarray

    def of(self, persons: np.ndarray) -> "Judged":
        return Judged({k: s[persons] for k, s in self.scores.items()}, self.errors[persons], self.has_mask[persons])

    def mixed(self, weights: dict[str, float]) -> np.ndarray:
        """Within a person the order is that of `MixCritic`: a sum of parts, those that cannot judge adding nothing."""
        return sum((w * self.scores[name] for name, w in weights.items()), np.zeros_like(self.errors))


@torch.no_grad()
def judge_samples(checkpoint: str, body: BodyModel, examples: Example) -> Judged:
    policy, noise = open_policy(checkpoint, body).policy, noise_of(DETECTOR)
    critics: list[Critic] = [critic for critic, _ in weighted_critics(body, noise, CriticWeights())]
    critics += [PosePriorCritic(), RandomCritic(torch.Generator().manual_seed(1)), OracleCritic()]
    named = {critic.name: critic for critic in critics} | {WITH_PRIOR: PlausibilityCritic(body, prior_weight=1.0)}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in named}
    for start in range(0, len(examples.observation.box), BATCH):
        part = examples[start : start + BATCH]
        generator = torch.Generator().manual_seed(0)
        sampler, untouched = SamplerConfig(HYPOTHESES), RefinementConfig(method="none")
        found = estimate_bodies(policy, part.observation, sampler, untouched, noise, generator)
        for name, critic in named.items():
            heard = can_judge(critic, part)[:, None]
            parts[name].append((judge(critic, found.hypotheses, part) * heard).double().numpy())
    scores = {name: np.concatenate(p) for name, p in parts.items()}
    return Judged(scores, -scores.pop("oracle_mpjpe"), examples.observation.has_mask.numpy())


def fit(data: Judged, names: tuple[str, ...]) -> dict[str, float]:
    """Weights relative to the reprojection's, two decimals."""
    stacked = np.stack([data.scores[name] for name in names], -1)
    better = data.errors[:, :, None] < data.errors[:, None, :]
    gaps = (stacked[:, :, None] - stacked[:, None, :])[better]  # (pair, term), better minus worse

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = gaps @ weights
        return float(np.logaddexp(0, -margin).mean()), -(expit(-margin)[:, None] * gaps).mean(0)

    found = minimize(loss, np.ones(len(names)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(names)).x
    return {name: round(float(w / found[0]), 2) for name, w in zip(names, found, strict=True)}


def spearman(scores: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Of each group, with mean ranks for ties; 0 where a critic gives no order."""
    a, b = (rankdata(v, axis=1) - (v.shape[1] + 1) / 2 for v in (scores, -errors))
    return (a * b).sum(1) / np.maximum(np.sqrt((a * a).sum(1) * (b * b).sum(1)), 1e-12)


def regret(scores: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Millimetres that the first choice is worse than the best; among equal first choices the mean."""
    first = scores == scores.max(1, keepdims=True)
    return 1000 * ((errors * first).sum(1) / first.sum(1) - errors.min(1))


def measure(scores: np.ndarray, references: dict[str, np.ndarray], errors: np.ndarray) -> dict[str, Interval]:
    order, loss = spearman(scores, errors), regret(scores, errors)
    found = {"spearman": bootstrap_mean(order), "regret_mm": bootstrap_mean(loss)}
    for name, other in references.items():
        found[f"spearman_minus_{name}"] = paired_difference(order, spearman(other, errors))
        found[f"regret_minus_{name}_mm"] = paired_difference(loss, regret(other, errors))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="lite-lab")
    parser.add_argument("--persons", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    split = open_split(args.data, SPLIT)
    examples = split.shards[torch.arange(min(args.persons, len(split)))]
    body = load_free_body("3k5")
    judged = judge_samples(args.checkpoint, body, examples)
    order = np.random.default_rng(0).permutation(len(judged.errors))
    fitted_on, held_out = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    weights = {name: fit(judged.of(fitted_on), terms) for name, terms in MIXES.items()}
    other_half = {name: fit(judged.of(held_out), terms) for name, terms in MIXES.items()}
    tables = {
        "all": judged.of(held_out),
        "with a mask": judged.of(held_out[judged.has_mask[held_out]]),
        "without a mask": judged.of(held_out[~judged.has_mask[held_out]]),
    }
    rows = []
    for group, data in tables.items():
        present = data.mixed(PRESENT)
        scores = {name: data.scores[name] for name in ("random", *TERMS)} | {"present mix": present}
        scores |= {name: data.mixed(w) for name, w in weights.items()}
        references = {"present": present, "reprojection": data.scores["reprojection"]}
        for name, values in scores.items():
            found = {k: vars(v) for k, v in measure(values, references, data.errors).items()}
            rows.append({"persons": group, "count": len(values), "critic": name} | found)
    record = {
        "split": SPLIT, "split_sha256": split.sha256, "checkpoint": args.checkpoint,
        "checkpoint_sha256": checkpoint_hash(args.checkpoint), "hypotheses": HYPOTHESES, "seed": 0,
        "fitted_on": len(fitted_on), "measured_on": len(held_out), "present": PRESENT, "weights": weights,
        "weights_of_the_other_half": other_half, "single_mm": 1000 * float(tables["all"].errors[:, 0].mean()),
        "best_mm": 1000 * float(tables["all"].errors.min(1).mean()), "rows": rows,
    }  # fmt: skip
    write(record)


def shown(value: dict, digits: int) -> str:
    return f"{value['mean']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def in_words(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {w:g}" for name, w in weights.items())


def write(record: dict) -> None:
    lines = [
        "# Weights of the critics' mix",
        "",
        f"Written by `benchmarks/critics/mix_weights.py`: {record['checkpoint']} on {record['split']},",
        f"{HYPOTHESES} raw samples per person, weights fitted on {record['fitted_on']} persons and measured on",
        f"{record['measured_on']} others. Spearman correlation with minus MPJPE (24 joints, pelvis-relative) within",
        "groups, 0 where a critic sees no difference; regret is how much worse the first choice is than the best of",
        "the group, which is an oracle's.",
        "95 % bootstrap intervals over persons, differences paired. Half of the persons have no mask, as after some",
        "detectors. **The pose prior is that of the benchmark's own poses**, from which no real photo's are drawn: its",
        "rows are an upper bound, and it stays out of the preset. Detectors' 3D landmarks are not part of it.",
        "",
        f"The zero-noise sample has {record['single_mm']:.1f} mm, the best of each group {record['best_mm']:.1f} mm.",
        "",
        "| mix | weights | weights fitted on the other half |",
        "| --- | --- | --- |",
        f"| present mix | {in_words(record['present'])} | |",
        *(
            f"| {name} | {in_words(w)} | {in_words(record['weights_of_the_other_half'][name])} |"
            for name, w in record["weights"].items()
        ),
        "",
        "| persons | critic | Spearman | minus present | regret, mm | minus present, mm |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for r in record["rows"]:
        lines.append(
            f"| {r['persons']} ({r['count']}) | {r['critic']} | {shown(r['spearman'], 3)} "
            f"| {shown(r['spearman_minus_present'], 3)} | {shown(r['regret_mm'], 1)} "
            f"| {shown(r['regret_minus_present_mm'], 1)} |"
        )
    lines += ["", "Minus reprojection alone, all persons:", ""]
    lines += [
        f"- {r['critic']}: Spearman {shown(r['spearman_minus_reprojection'], 3)}, "
        f"regret {shown(r['regret_minus_reprojection_mm'], 1)} mm"
        for r in record["rows"]
        if r["persons"] == "all" and "mix" in r["critic"]
    ]
    (RESULTS / "mix_weights.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "mix_weights.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
