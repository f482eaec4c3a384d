"""Does dropping labels that a critic dislikes make a better model?  After ADHMR (Shen et al. 2025) sec. 5.4.

    python benchmarks/recovery/cleaning.py --data DIR [--critic scorer] [--deadline MINUTES] [--only NOISE]

Persons of SynthWild's lab/train, a share of whose labels is spoilt in one way (`data/synthetic/label_noise.py`); a
small deterministic regressor (`models/regressor.py`) is trained for the same number of steps on all of them, on those
that the critic leaves, on as many drawn at random, and on those that are not spoilt (an oracle), and measured on
lab/val. Critics are also asked which labels are spoilt: average precision, and precision and recall of what is dropped.

The critic's threshold is found without truth: as `hmralign clean` does by default (margin: against samples of `lite` on
the same keypoints), the same against samples of `lite-lab`, which was trained on less (does the reference matter?), by
outliers, with the share of bad labels taken as known (as many are dropped as are bad), or the paper's 0.6 (for the
scorers). No masks for the regressor; half of the persons have one for the critics. Persons and planted noise are the
same for both training seeds.

Each result is a file in `--runs` when it is done, and is not computed again while its settings, labels and scores are
the same; tables are made of all that are there.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.cleaning.detection import average_precision, detection
from hmralign.cleaning.reference import SampleReference
from hmralign.cleaning.selection import DEFAULT_MARGINS, OUTLIER_DEVIATIONS, PAPER_THRESHOLD, KeepRule, select
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import can_judge, judge
from hmralign.data.synthetic.label_noise import LabelNoise, drawn_bad, with_planted_noise
from hmralign.data.synthwild_folder import open_split
from hmralign.metrics.intervals import Interval, bootstrap_mean, paired_difference
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.context import KeypointFeatures, keypoint_features
from hmralign.models.lite import LiteConfig
from hmralign.models.person_frame import person_frame
from hmralign.models.regressor import PoseRegressor, mirrored_average, regression_loss
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS, scorer_path
from hmralign.policies.catalogue import open_policy
from hmralign.structures import Example, Hypotheses
from hmralign.training.base_batches import TrainingBatch, training_batch
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.step import Part
from model_study import ROOT, stored, write

BODY = load_free_body("3k5")
FIRST_PERSON = 80_000
"""Of lab/train: behind the persons whose labels, as observed, `scorer-lab` was trained on."""
SMALL = LiteConfig(width=128, hidden=256, depth=2, context_width=128)
BATCH, LEARNING_RATE, WARM_UP_STEPS, EMA_DECAY, BETAS_WEIGHT = 128, 2e-3, 50, 0.99, 0.1
NOISES = {
    "joint rotations 30 deg": LabelNoise("joint_rotations", 30.0),
    "limb swap": LabelNoise("limb_swap"),
    "depth flip": LabelNoise("depth_flip"),
    "global rotation": LabelNoise("global_rotation"),
    "wrong person": LabelNoise("wrong_person"),
    "joint rotations 15 deg": LabelNoise("joint_rotations", 15.0),
    "joint rotations 60 deg": LabelNoise("joint_rotations", 60.0),
}
SHARES = (0.15, 0.4)
AT_ONE_SHARE = ("joint rotations 15 deg", "joint rotations 60 deg")
"""Trained at the larger share only."""
CRITICS = ("scorer", "scorer-lab", "reprojection", "plausibility", "mix", "random")
FEWEST_SHARE = 0.05
"""Of the labels; with fewer no model is trained."""
SLOW = ("plausibility", "mix")
REFERENCES = {"margin": "lite", "margin by lite-lab": "lite-lab"}
"""Whose samples a label is held against; `lite-lab` was trained on less data than `lite`."""
SHARELESS = (*REFERENCES, "outliers", "0.6")
"""Rules that need no known share, and for that a scorer."""
RULES = (*SHARELESS, "known share")
SAMPLES = 16
ARMS = ("all", *(f"cleaned, {rule}" for rule in RULES), "random", "oracle")
DETECTOR = {**dict.fromkeys(SHIPPED_SCORERS, "mediapipe")}
"""Whose landmark offsets a critic assumes. Lab keypoints have none, which critics by rule are told; the scorers were
trained with those of mediapipe."""
CHUNK = 500


@dataclass(frozen=True)
class Planted:
    """Persons with true labels, the same with every label that is bad at the largest share, and in which order."""

    truth: Example
    noisy: Example
    order: torch.Tensor

    def bad(self, share: float) -> torch.Tensor:
        """The first of the order: what is bad at a small share is bad at a larger one."""
        marks = torch.zeros(len(self.order), dtype=torch.bool)
        marks[self.order[: round(share * len(marks))]] = True
        return marks

    def labels(self, share: float) -> Example:
        """Observations with the labels of that share of bad ones."""
        assert self.truth.annotation is not None and self.noisy.annotation is not None
        return replace(self.truth, annotation=self.noisy.annotation.where(self.bad(share), self.truth.annotation))

    def errors_mm(self) -> np.ndarray:
        """How far off each bad label is: pelvis-relative MPJPE."""
        assert self.truth.annotation is not None and self.noisy.annotation is not None
        bad = self.bad(max(SHARES))
        a, b = (e.joints[bad, :24] for e in (self.noisy.annotation, self.truth.annotation))
        return 1000 * mpjpe(a, b, root=0).double().numpy()


def planted(truth: Example, name: str) -> Planted:
    seed = 1 + list(NOISES).index(name)
    draw = torch.Generator().manual_seed(seed)
    bad = drawn_bad(len(truth.observation.box), max(SHARES), draw)
    noisy = with_planted_noise(BODY, truth, bad, NOISES[name], draw)
    order = bad.nonzero()[:, 0]
    order = order[torch.randperm(len(order), generator=draw)]
    return Planted(truth, noisy, torch.cat([order, (~bad).nonzero()[:, 0]]))


# -- critics -----------------------------------------------------------------------------------------------------------


def available(critic: str) -> bool:
    return critic not in SHIPPED_SCORERS or scorer_path(critic).is_file()


def critic_scores(critic_name: str, example: Example) -> np.ndarray:
    """Of every label; the annotation is shown as a hypothesis, never as truth."""
    critic = make_critic(critic_name, BODY, DETECTOR.get(critic_name, "unknown"), seed=17)  # pyright: ignore
    parts = []
    for rows in torch.arange(len(example.observation.box)).split(CHUNK):
        some = example[rows]
        assert some.annotation is not None
        body = some.annotation.body[:, None]
        shown = Example(some.observation)
        assert bool(can_judge(critic, shown).all()), "every lab person has keypoints"
        parts.append(judge(critic, Hypotheses(body, posed_joints(BODY, body)), shown)[:, 0])
    return torch.cat(parts).double().numpy()


def scored(args: argparse.Namespace, critic: str, name: str, labels: Planted) -> dict:
    """Scores of the true labels and of the bad ones, each judged once: a critic sees one label at a time."""
    count = min(args.persons, args.slow_persons) if critic in SLOW else args.persons
    weights = scorer_path(critic).read_bytes() if critic in SHIPPED_SCORERS else b""
    settings = shared_settings(args) | {
        "critic": critic, "persons_scored": count, "detector": DETECTOR.get(critic, "unknown"),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip

    def once(file: str, extra: dict, example: Example, judged=critic_scores) -> dict:
        path = args.runs / f"scores_{slug(critic)}_{file}.json"
        result = stored(path, settings | extra)
        if result is None:
            started = time.process_time()
            values = judged(critic, example).tolist()
            result = {"settings": settings | extra, "scores": values, "cpu_seconds": time.process_time() - started}
            write(path, json.dumps(result) + "\n")
        return result

    rows = labels.bad(max(SHARES)).nonzero()[:, 0]
    rows = rows[rows < count]
    true = once("true", {}, labels.truth[torch.arange(count)])
    bad = once(slug(name), {"noise": asdict(NOISES[name])}, labels.noisy[rows])
    both = np.array(true["scores"])
    both[rows.numpy()] = bad["scores"]
    references = {}
    for rule, policy in REFERENCES.items() if critic in SHIPPED_SCORERS else ():
        extra = {"samples": SAMPLES, "policy": policy}
        sampled = once(f"samples_{policy}", extra, labels.truth[torch.arange(count)], partial(sample_scores, policy))
        references[rule] = np.array(sampled["scores"])
    return {"true": np.array(true["scores"]), "noisy": both, "count": count, "references": references}


def sample_scores(policy: str, critic: str, example: Example) -> np.ndarray:
    """The critic's mean score of samples of a policy on each person's keypoints."""
    reference = SampleReference(open_policy(policy, BODY).diffusion(), SAMPLES)
    judge_, parts = make_critic(critic, BODY, DETECTOR[critic]), []
    for rows in torch.arange(len(example.observation.box)).split(CHUNK):
        parts.append(reference.scores(judge_, example.observation[rows], [f"lab/train/{int(r):06d}" for r in rows]))
    return torch.cat(parts).double().numpy()


def at_share(scores: dict, labels: Planted, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the labels at a share of bad ones, and which are bad."""
    bad = labels.bad(share).numpy()[: scores["count"]]
    return np.where(bad, scores["noisy"], scores["true"]), bad


def keep_rule(rule: str, share: float, critic: str) -> KeepRule:
    return {
        **{margin: KeepRule(margin=DEFAULT_MARGINS.get(critic, 0.0)) for margin in REFERENCES},
        "outliers": KeepRule(outliers=OUTLIER_DEVIATIONS),
        "known share": KeepRule(keep_share=1 - share),
        "0.6": KeepRule(PAPER_THRESHOLD),
    }[rule]


def found(args: argparse.Namespace, name: str, labels: Planted) -> dict:
    """How well each critic finds the bad labels, by share."""
    rows: dict[str, dict] = {}
    for critic in (c for c in CRITICS if available(c)):
        scores = scored(args, critic, name, labels)
        for share in SHARES:
            values, bad = at_share(scores, labels, share)
            row = {"labels": len(bad), "average_precision": average_precision(values, bad)}
            for rule in RULES if critic in SHIPPED_SCORERS else ("known share",):
                chosen = select(values, keep_rule(rule, share, critic), reference=scores["references"].get(rule))
                hit = detection(~chosen.keep, bad)
                row[rule] = {"dropped": hit.dropped, "precision": hit.precision, "recall": hit.recall, "f1": hit.f1}
            rows.setdefault(critic, {})[f"{share:g}"] = row
    return rows


# -- training ----------------------------------------------------------------------------------------------------------


def kept_rows(
    arm: str, critic: str, scores: np.ndarray, references: dict, bad: np.ndarray, share: float, seed: int
) -> np.ndarray:
    """Marks of the labels that an arm trains on; the random ones are as many as are left where the share is known."""
    if arm == "all":
        return np.ones(len(bad), bool)
    if arm == "oracle":
        return ~bad
    if arm == "random":
        count = int(select(scores, keep_rule("known share", share, critic)).keep.sum())
        marks = np.zeros(len(bad), bool)
        marks[np.random.default_rng(1000 + seed).permutation(len(bad))[:count]] = True
        return marks
    rule = arm.removeprefix("cleaned, ")
    return select(scores, keep_rule(rule, share, critic), reference=references.get(rule)).keep


def doubled(example: Example) -> TrainingBatch:
    """Input and targets of all persons, then of their mirror images; without masks."""
    count = len(example.observation.box)
    parts = [training_batch(example, BODY, torch.full((count,), mirrored)) for mirrored in (False, True)]
    features = KeypointFeatures(
        torch.cat([p.features.vector for p in parts]), torch.zeros(2 * count, 1, 1), torch.zeros(2 * count)
    )
    return TrainingBatch(features, torch.cat([p.pose_vector for p in parts]), torch.cat([p.betas for p in parts]))


def trained(data: TrainingBatch, keep: np.ndarray, steps: int, seed: int) -> PoseRegressor:
    """The averaged regressor after that many steps on the kept persons and their mirror images."""
    torch.manual_seed(seed)
    rows = torch.from_numpy(np.flatnonzero(np.concatenate([keep, keep])))
    model = PoseRegressor(SMALL)
    model.codec.fit(data.pose_vector[rows])
    draw = torch.Generator().manual_seed(seed)

    def parts(model: PoseRegressor, _: int) -> Iterator[Part]:
        batch = rows[torch.randint(len(rows), (BATCH,), generator=draw)]
        targets = data.pose_vector[batch], data.betas[batch]
        yield Part({"loss": regression_loss(model, data.features[batch], *targets, BETAS_WEIGHT)})

    config = LoopConfig(
        lambda step, _: warm_cosine(step, step, steps, peak=LEARNING_RATE, warmup=WARM_UP_STEPS, floor=0.01),
        steps,
        fused=True,
        ema_decay=EMA_DECAY,
    )
    averaged = Loop(model, parts, config).run()
    assert isinstance(averaged, PoseRegressor)
    return averaged


@torch.no_grad()
def test_errors(model: PoseRegressor, example: Example) -> np.ndarray:
    """Root-relative MPJPE of each person over 24 joints, mm; the mean of the answers to photo and mirror image."""
    seen = example.observation
    seen = replace(seen, mask=torch.zeros_like(seen.mask), has_mask=torch.zeros_like(seen.has_mask))
    frame = person_frame(seen)
    x_0, betas = mirrored_average(model, keypoint_features(seen, frame), keypoint_features(seen, frame, mirrored=True))
    rest = rest_joints(BODY, betas)
    joints = forward_kinematics(rest, model.codec.to_rotmats(x_0, rest), BODY.parents)[1]
    assert example.annotation is not None
    truth = example.annotation.joints @ frame.R_person_cam.mT
    return 1000 * mpjpe(joints[:, :24], truth[:, :24], root=0).double().numpy()


def run_cell(args: argparse.Namespace, key: str, cell: dict, data, keep: np.ndarray, test: Example, seed: int) -> dict:
    """One training, or its stored result. `data` is a function: targets are only made where they are needed."""
    settings = shared_settings(args) | cell | {
        "seed": seed, "steps": args.steps, "test_persons": args.test_persons, "model": asdict(SMALL),
        "kept_sha256": hashlib.sha256(keep.tobytes()).hexdigest(),
    }  # fmt: skip
    path = args.runs / f"{key}_{seed}.json"
    result = stored(path, settings)
    if result is None:
        started = time.process_time()
        errors = test_errors(trained(data(), keep, args.steps, seed), test)
        result = {"settings": settings, "kept": int(keep.sum()), "per_person_mm": errors.round(3).tolist(),
                  "cpu_seconds": time.process_time() - started}  # fmt: skip
        write(path, json.dumps(result) + "\n")
        print(
            f"{path.stem}: {result['kept']} labels, {errors.mean():.1f} mm, {result['cpu_seconds']:.1f} s", flush=True
        )
    return result


def cells_of(args: argparse.Namespace, name: str, labels: Planted, test: Example, open_until: float) -> dict:
    """Per-person errors of each arm and seed, by share; what the deadline cut off is absent."""
    scores, done = scored(args, args.critic, name, labels), {}
    for share in SHARES if name not in AT_ONE_SHARE else (max(SHARES),):
        values, bad = at_share(scores, labels, share)
        made: list[TrainingBatch] = []

        def data(share: float = share, made: list[TrainingBatch] = made) -> TrainingBatch:
            if not made:
                made.append(doubled(labels.labels(share)))
            return made[0]

        for seed in args.seeds:
            for arm in ARMS:
                if arm.removeprefix("cleaned, ") in SHARELESS and args.critic not in SHIPPED_SCORERS:
                    continue
                keep = kept_rows(arm, args.critic, values, scores["references"], bad, share, seed)
                cell = {"noise": asdict(NOISES[name]), "share": share, "arm": arm}
                key = f"{slug(name)}_{share:g}_{slug(arm)}" + (f"_{slug(args.critic)}" if "cleaned" in arm else "")
                if keep.sum() < FEWEST_SHARE * len(keep):
                    print(f"{key}: {keep.sum()} labels are left, too few to train on", flush=True)
                    continue
                if time.monotonic() > open_until:
                    return done
                done.setdefault(f"{share:g}", {}).setdefault(arm, {})[seed] = run_cell(
                    args, key, cell, data, keep, test, seed
                )
    return done


# -- report ------------------------------------------------------------------------------------------------------------


def plain(interval: Interval) -> dict[str, float]:
    return {k: round(v, 2) for k, v in asdict(interval).items()}


def over_seeds(runs: dict[int, dict]) -> np.ndarray:
    return np.mean([r["per_person_mm"] for r in runs.values()], axis=0)


def figures(arms: dict[str, dict[int, dict]]) -> dict:
    """Means and paired differences of one noise at one share; seeds that an arm lacks count for no difference."""
    rows: dict[str, dict] = {}
    for arm, runs in arms.items():
        rows[arm] = {
            "kept": [r["kept"] for r in runs.values()],
            "mpjpe_mm": plain(bootstrap_mean(over_seeds(runs))),
            "by_seed_mm": {seed: round(float(np.mean(r["per_person_mm"])), 2) for seed, r in runs.items()},
        }
        for other in ("all", "random", "cleaned, margin by lite-lab"):
            common = sorted(set(runs) & set(arms.get(other, {})))
            if arm != other and common:
                a, b = (over_seeds({s: arms[n][s] for s in common}) for n in (arm, other))
                rows[arm][f"minus_{other}_mm"] = plain(paired_difference(a, b)) | {
                    "by_seed": [round(float(np.mean(arms[arm][s]["per_person_mm"]))
                                      - float(np.mean(arms[other][s]["per_person_mm"])), 2) for s in common],
                }  # fmt: skip
    return rows


def cell_text(value: dict | None, signed: bool = False) -> str:
    if value is None:
        return ""
    sign = "+" if signed else ""
    return f"{value['mean']:{sign}.1f} ({value['low']:{sign}.1f} to {value['high']:{sign}.1f})"


def markdown(result: dict) -> str:
    s = result["settings"]
    persons = f"{s['persons']:,} persons of SynthWild's lab/train"
    lines = [
        "# Data cleaning with planted bad labels",
        "",
        f"{persons}, a share of whose labels is spoilt; a small regressor trained for {s['steps']} steps of {BATCH}",
        f"persons, seeds {', '.join(map(str, s['seeds']))}; tested on {s['test_persons']} persons of lab/val.",
        "mm, root-relative MPJPE over 24 joints of the free body (not comparable with published figures), mean over",
        "seeds; 95 % bootstrap intervals over persons, differences paired. They do not hold the variation between",
        "trainings: see the differences by seed in the JSON. Command:",
        f"`python benchmarks/recovery/cleaning.py --data DIR --critic {s['critic']} --persons {s['persons']} "
        f"--slow-persons {s['slow_persons']} --steps {s['steps']}`;",
        f"{result['cpu_seconds']:.0f} CPU seconds.",
        "",
        f"With all labels true: {cell_text(result['true_labels'])}. Negative differences are better.",
        "",
        f"## Training, cleaned by {s['critic']}",
        "",
        "`margin` (the default of `hmralign clean`), `margin by lite-lab` (the same, against samples of a model",
        "trained on less data), `outliers`, `known share` and `0.6` say how the threshold was found; `random` are as",
        "many labels as the known share leaves. `0.6` is empty where it leaves too few to train on.",
        "",
        "| noise | bad | off by, median mm | all labels | margin, minus all | kept | margin by lite-lab, minus all "
        "| kept | by lite minus by lite-lab | outliers, minus all | kept | known share, minus all | the same minus "
        "random | 0.6, minus all | kept | random, minus all | oracle, minus all |",
        "| --- |" + " ---: |" * 16,
    ]
    for name, block in result["noises"].items():
        for share, rows in block["training"].items():

            def minus(arm: str, other: str = "all", rows: dict = rows) -> str:
                return cell_text(rows.get(arm, {}).get(f"minus_{other}_mm"), signed=True)

            def kept(arm: str, rows: dict = rows) -> str:
                return str(rows.get(arm, {}).get("kept", [""])[0])

            cells = [
                f"{100 * float(share):g} %",
                f"{block['label_error_mm']['median']:.0f}",
                cell_text(rows.get("all", {}).get("mpjpe_mm")),
                minus("cleaned, margin"),
                kept("cleaned, margin"),
                minus("cleaned, margin by lite-lab"),
                kept("cleaned, margin by lite-lab"),
                minus("cleaned, margin", "cleaned, margin by lite-lab"),
                minus("cleaned, outliers"),
                kept("cleaned, outliers"),
                minus("cleaned, known share"),
                minus("cleaned, known share", "random"),
                minus("cleaned, 0.6"),
                kept("cleaned, 0.6"),
                minus("random"),
                minus("oracle"),
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    for share in SHARES:
        lines += [
            "",
            f"## Finding the bad labels, {100 * share:g} % of them bad",
            "",
            "Average precision, and recall where as many labels are dropped as are bad (precision is the same up to",
            f"ties). Saying nothing gives {share:g} for both.",
            "",
        ]
        critics = [c for c in CRITICS if any(c in b["found"] for b in result["noises"].values())]
        lines += ["| noise | " + " | ".join(critics) + " |", "| --- |" + " ---: |" * len(critics)]
        for name, block in result["noises"].items():
            rows = [block["found"].get(c, {}).get(f"{share:g}") for c in critics]
            said = [
                "" if r is None else f"{r['average_precision']:.2f}, {r['known share']['recall']:.2f}" for r in rows
            ]
            lines.append(f"| {name} | {' | '.join(said)} |")
    lines += rule_lines(result)
    lines += [
        "",
        "Critics by rule know that lab keypoints have no landmark offsets. `plausibility` and `mix` judged the first",
        f"{s['slow_persons']:,} labels. `scorer-lab` was trained on lab/train: a third of these persons' poses were",
        "among those it saw again from other views.",
        "",
    ]
    return "\n".join(lines)


def dropped_of_true(args: argparse.Namespace, labels: Planted, name: str) -> dict[str, dict[str, float]]:
    """Share of true labels that each scorer would drop."""
    shares: dict[str, dict[str, float]] = {}
    for critic in (c for c in SHIPPED_SCORERS if available(c)):
        scores = scored(args, critic, name, labels)
        shares[critic] = {
            rule: float(
                1
                - select(
                    scores["true"], keep_rule(rule, 0, critic), reference=scores["references"].get(rule)
                ).keep.mean()
            )
            for rule in SHARELESS
        }
    return shares


def rule_lines(result: dict) -> list[str]:
    """What the rules drop that need no known share."""
    scorers = [c for c in SHIPPED_SCORERS if all(c in b["found"] for b in result["noises"].values())]
    if not scorers:
        return []
    columns = [(critic, rule) for critic in scorers for rule in SHARELESS]
    lines = [
        "",
        "## Thresholds that need no share",
        "",
        "Precision and recall of what is dropped, and the share of all labels that is dropped. Below the margin lie",
        "labels scored " + " and ".join(f"{m:g} (`{c}`)" for c, m in DEFAULT_MARGINS.items()) + " below the mean of",
        f"{SAMPLES} samples of `lite` (the default of `hmralign clean`) or `lite-lab` on the same keypoints; outliers",
        f"lie {OUTLIER_DEVIATIONS:g} robust deviations below the most common score; 0.6 is the paper's.",
        "",
        "| noise | bad | " + " | ".join(f"{critic}, {rule}" for critic, rule in columns) + " |",
        "| --- | ---: |" + " ---: |" * len(columns),
    ]
    for name, block in result["noises"].items():
        for share in SHARES:
            cells = []
            for critic, rule in columns:
                row = block["found"][critic][f"{share:g}"]
                dropped = f"{100 * row[rule]['dropped'] / row['labels']:.0f} %"
                cells.append(f"{row[rule]['precision']:.2f}, {row[rule]['recall']:.2f}, {dropped}")
            lines.append(f"| {name} | {100 * share:g} % | {' | '.join(cells)} |")
    for critic, rules in result["on_true_labels"].items():
        said = ", ".join(f"{100 * share:.1f} % by {rule}" for rule, share in rules.items())
        lines += ["", f"With all labels true, `{critic}` would drop {said}."]
    return lines


def slug(text: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "_" for c in text)


def shared_settings(args: argparse.Namespace) -> dict:
    return {"persons": args.persons, "first_person": FIRST_PERSON, "data_sha256": args.data_sha256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild", help="folder of lab/train and lab/val")
    parser.add_argument("--critic", default="scorer", choices=CRITICS, help="who cleans the training data")
    parser.add_argument("--persons", type=int, default=6_000)
    parser.add_argument("--slow-persons", type=int, default=2_000, help="labels that slow critics judge")
    parser.add_argument("--test-persons", type=int, default=500)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", choices=NOISES, help="compute this noise; tables hold all that are done")
    parser.add_argument("--deadline", type=float, help="begin no training after so many minutes")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/cleaning")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/cleaning.json")
    args = parser.parse_args()
    if not available(args.critic):
        parser.error(f"the weights of --critic {args.critic} are not in the package; choose another critic")
    if args.critic in SLOW:
        args.slow_persons = args.persons  # who cleans judges everybody
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    until = math.inf if args.deadline is None else time.monotonic() + 60 * args.deadline
    train_split, test_split = open_split(args.data, "lab/train"), open_split(args.data, "lab/val")
    args.data_sha256 = {split.name: split.sha256 for split in (train_split, test_split)}
    truth = train_split.shards[torch.arange(FIRST_PERSON, FIRST_PERSON + args.persons)]
    test = test_split.examples[: args.test_persons]
    del train_split
    everybody = np.ones(args.persons, bool)
    clean = {
        seed: run_cell(args, "true_labels", {"arm": "true labels"}, lambda: doubled(truth), everybody, test, seed)
        for seed in args.seeds
    }
    noises, on_true_labels = {}, {}
    for name in NOISES if args.only is None else [args.only]:
        labels = planted(truth, name)
        errors = labels.errors_mm()
        cells = cells_of(args, name, labels, test, until)
        on_true_labels = dropped_of_true(args, labels, name)
        noises[name] = {
            "label_error_mm": {"median": round(float(np.median(errors)), 1), "mean": round(float(errors.mean()), 1),
                               "share_below_20": round(float((errors < 20).mean()), 3)},
            "found": found(args, name, labels),
            "training": {share: figures(arms) for share, arms in cells.items()},
        }  # fmt: skip
    settings = {"persons": args.persons, "slow_persons": min(args.slow_persons, args.persons),
                "test_persons": len(test.observation.box), "steps": args.steps, "seeds": args.seeds,
                "critic": args.critic, "batch": BATCH, "learning_rate": LEARNING_RATE, "model": asdict(SMALL),
                "data_sha256": args.data_sha256}  # fmt: skip
    spent = sum(json.loads(p.read_text())["cpu_seconds"] for p in args.runs.glob("*.json"))
    result = {"settings": settings, "cpu_seconds": round(spent, 1),
              "true_labels": plain(bootstrap_mean(over_seeds(clean))), "noises": noises,
              "on_true_labels": on_true_labels}  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write(args.out, json.dumps(result, indent=1) + "\n")
    write(args.out.with_suffix(".md"), markdown(result))
    print(markdown(result))
    print(f"CPU seconds: {spent:.0f} in all results, {time.process_time():.0f} in this run")


if __name__ == "__main__":
    main()
