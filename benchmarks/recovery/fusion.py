"""One answer from a group: which selection or fusion is best, before and after test-time refinement.

    python benchmarks/recovery/fusion.py --data FOLDER [--checkpoint lite-lab lite] [--test]

On wild/val every way is measured (temperatures are chosen there); `--test` measures the ways kept from validation on
wild/test and logs the reading. Columns: fused-type MPJPE and PA-MPJPE in mm with intervals, and the paired difference
to the plain mean of the same stage. `after` ways answer from the refined group; rows `then refined` add the last step
of `recover`, the gentle refinement of the mean itself.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.critics.by_rule import CriticWeights, weighted_critics
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.critics.mix import MixCritic
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.summary import interval_mm
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import Evidence, predict
from hmralign.fitting.keypoint_update import RefinementConfig, place, refine_group
from hmralign.fitting.placement import place_in_image
from hmralign.hypotheses.fusion import densest, fuse_rotations, likelihood_weights, medoid, score_weights
from hmralign.metrics.intervals import bootstrap_mean, paired_difference
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.models.checkpoint import checkpoint_hash, load_checkpoint
from hmralign.models.person_frame import person_frame
from hmralign.models.scorer_checkpoint import scorer_for
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Example, Hypotheses

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
TEMPERATURES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.5)
SCORER_TEMPERATURES = (0.01, 0.03, 0.1, 0.3)
LIKELIHOOD_TEMPERATURES = (1.0, 3.0, 10.0, 30.0)
BANDWIDTHS = (0.03, 0.06, 0.12)
BATCH = 100
WEIGHED = 0.15


def pelvis_relative(body, rotmats, betas):
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    return joints - joints[..., :1, :]


def ways() -> dict[str, Callable]:
    """Name -> (rotmats, joints, scores, learned, chi2) -> rotations of the one answer."""

    def pick(index: Callable) -> Callable:
        return lambda rotmats, joints, scores, *_: rotmats[torch.arange(len(rotmats)), index(joints, scores)]

    found: dict[str, Callable] = {
        "mean": lambda rotmats, *_: fuse_rotations(rotmats),
        "zero noise": pick(lambda joints, scores: torch.zeros(len(joints), dtype=torch.long)),
        "top 1 by critic": pick(lambda joints, scores: scores.argmax(1)),
        "top 1 by learned scorer": lambda rotmats, joints, scores, learned, _: rotmats[
            torch.arange(len(rotmats)), learned.argmax(1)
        ],
        "medoid": pick(lambda joints, scores: medoid(joints)),
    }
    for h in BANDWIDTHS:
        found[f"mode, bandwidth {h} m"] = pick(lambda joints, scores, h=h: densest(joints, h))
    for t in TEMPERATURES:
        found[f"score-weighted mean, T {t}"] = lambda rotmats, joints, scores, learned, chi2, t=t: fuse_rotations(
            rotmats, score_weights(scores, t)
        )
    for t in SCORER_TEMPERATURES:
        found[f"learned-scorer-weighted mean, T {t}"] = lambda rotmats, j, s, learned, c, t=t: fuse_rotations(
            rotmats, score_weights(learned, t)
        )
    for t in LIKELIHOOD_TEMPERATURES:
        found[f"likelihood-weighted mean, T {t:g}"] = lambda rotmats, joints, scores, learned, chi2, t=t: (
            fuse_rotations(rotmats, likelihood_weights(chi2, t))
        )
    return found


@torch.no_grad()
def stage(body, rotmats, betas, observation, frame, evidence, config, critics):
    """Placed hypotheses of a stage, their scores by each critic and the chi^2 of their keypoints."""
    points = predict(body, rotmats, betas, evidence.noise.offsets, derivatives=False).points
    residual = place(points, evidence, config)
    placed = place_in_image(body, rotmats, betas, points, residual, observation, frame)
    _, joints = forward_kinematics(rest_joints(body, betas), placed.rotmats, body.parents)
    hypotheses = Hypotheses(placed, joints + placed.transl[..., None, :])
    example = Example(observation)
    scores = [torch.nan_to_num(judge(critic, hypotheses, example), nan=-1e9, neginf=-1e9) for critic in critics]
    seen = (evidence.confidence > 0)[:, None]
    ratio = torch.where(seen, residual.error.norm(dim=-1) / residual.sigma, 0.0)
    chi2 = (ratio.square() / (1 + ratio.square() / 9)).sum(-1)  # bounded: a wrong keypoint decides nothing
    return *scores, chi2


@torch.no_grad()
def errors(checkpoint: str, examples: Example, hypotheses: int, chosen: list[str] | None) -> dict[str, np.ndarray]:
    """Per-person (mpjpe, pa) of every way, metres."""
    body, noise = load_free_body("3k5"), noise_of("mediapipe")
    model = load_checkpoint(checkpoint, body.skeleton_hash)
    critics = (
        MixCritic(weighted_critics(body, noise, CriticWeights(silhouette=0.0))),
        make_critic(scorer_for(checkpoint), body),
    )
    config, none = RefinementConfig(), RefinementConfig(method="none")
    columns: dict[str, list] = {}
    for start in range(0, len(examples.observation.box), BATCH):
        part = slice(start, start + BATCH)
        observation = examples.observation[part]
        frame = person_frame(observation)
        group = sample_group(model, body, observation, SamplerConfig(hypotheses), torch.Generator().manual_seed(0))
        evidence = Evidence(frame.keypoints_tan, observation.confidence, noise)
        truth = examples.annotation.joints[part] @ frame.R_person_cam.mT
        refined = refine_group(body, group.rotmats, group.betas, evidence, config)
        for name, (rotmats, betas), setting in (
            ("before", (group.rotmats, group.betas), none),
            ("after", refined, config),
        ):
            joints = pelvis_relative(body, rotmats, betas)
            scores, learned, chi2 = stage(body, rotmats, betas, observation, frame, evidence, setting, critics)
            shape = betas.mean(1)
            for way, make in ways().items():
                key = f"{way} | {name}"
                if chosen is None or key in chosen:
                    answer = make(rotmats, joints, scores, learned, chi2)
                    columns.setdefault(key, []).append(score(pelvis_relative(body, answer, shape), truth))
        gentle = replace(config, noise_scale=config.fused_noise_scale)
        shape = refined[1].mean(1, keepdim=True)
        last = {
            "mean, then refined (recover) | after": None,
            f"score-weighted mean T {WEIGHED}, then refined | after": score_weights(scores, WEIGHED),
        }
        for t in SCORER_TEMPERATURES:
            last[f"learned-scorer-weighted then refined, T {t} | after"] = score_weights(learned, t)
        for key, weights in last.items():
            if chosen is not None and key not in chosen:
                continue
            mean = fuse_rotations(refined[0], weights)[:, None]
            final = refine_group(body, mean, shape, evidence, gentle, refined[0])
            columns.setdefault(key, []).append(score(pelvis_relative(body, final[0][:, 0], final[1][:, 0]), truth))
    return {name: torch.cat(values).double().numpy() for name, values in columns.items()}


def score(joints: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    pred, target = joints[:, :24], truth[:, :24]
    return torch.stack([mpjpe(pred, target, root=0), pa_mpjpe(pred, target)], dim=1)


def table(columns: dict[str, np.ndarray]) -> dict[str, dict]:
    rows = {}
    for name, values in columns.items():
        mean = columns[f"mean | {name.split(' | ')[1]}"]
        rows[name] = {
            "mpjpe_mm": interval_mm(bootstrap_mean(values[:, 0])),
            "pa_mpjpe_mm": interval_mm(bootstrap_mean(values[:, 1])),
            "minus mean": interval_mm(paired_difference(values[:, 0], mean[:, 0])),
            "pa minus mean": interval_mm(paired_difference(values[:, 1], mean[:, 1])),
        }
    return rows


def kept(rows: dict[str, dict]) -> list[str]:
    """One of each family and stage: the best temperature or bandwidth on validation."""
    best: dict[tuple[str, str], str] = {}
    for name, row in rows.items():
        way, stage_name = name.split(" | ")
        family = (way.split(", T")[0].split(", bandwidth")[0], stage_name)
        if family not in best or row["mpjpe_mm"][0] < rows[best[family]]["mpjpe_mm"][0]:
            best[family] = name
    return list(best.values())


def markdown(result: dict) -> str:
    lines = ["# One answer from a group", "", *result["reading"], ""]
    for key, rows in result["tables"].items():
        lines += [f"## {key}", "", "| answer | stage | MPJPE | PA-MPJPE | minus the mean | PA minus the mean |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
        for name, row in rows.items():
            cells = [f"{v[0]} ({v[1]} to {v[2]})" for v in row.values()]
            way, stage_name = name.split(" | ")
            lines.append(f"| {way} | {stage_name} refinement | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--checkpoint", nargs="*", default=["lite-lab", "lite"])
    parser.add_argument("--hypotheses", type=int, default=50)
    parser.add_argument("--persons", type=int, default=1000, help="of each split")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "fusion.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = json.loads(args.out.read_text()) if args.out.exists() else {"tables": {}}
    split = "wild/test" if args.test else "wild/val"
    for checkpoint in args.checkpoint:
        name = Path(checkpoint).stem
        chosen = kept(result["tables"][f"{name} on wild/val"]) if args.test else None
        if args.test:
            log_opening(RESULTS / "test_openings.jsonl", split, "benchmarks/recovery/fusion.py", predictor=name)
        opened = open_split(args.data, split)
        examples = opened.shards[torch.arange(min(args.persons, len(opened)))]
        rows = table(errors(checkpoint, examples, args.hypotheses, chosen))
        result["tables"][f"{name} on {split}"] = rows
        result.setdefault("checkpoints", {})[name] = checkpoint_hash(checkpoint)
    result["reading"] = [
        f"M = {args.hypotheses}, at most {args.persons} persons of a split; mm, 24 joints, pelvis-relative;",
        "95 % intervals over persons, differences paired. Temperatures and bandwidths are chosen on wild/val.",
        "Command: `python benchmarks/recovery/fusion.py`, then `python benchmarks/recovery/fusion.py --test`.",
        "",
        "Reading: for `lite-lab`, which has never seen wild persons, weighing the refined group by the learned",
        "scorer (T 0.01 to 0.03) is better than anything else here: on test 5 % better than what `recover`",
        "answers, 7 % better than the plain mean. For `lite`, which has seen such persons, it gains 1 mm on",
        "validation and 2 mm on test where the mean is not refined once more, and the scorer's first choice is",
        "worse than the mean: what the scorer knows, `lite` knows. Weights by the other critics gain less and made",
        "answers depend on crops where intrinsics are guessed (benchmarks/photos/stability.py). One hypothesis, by the",
        "keypoint critics or as medoid, is never better than the mean in PA.",
    ]
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
