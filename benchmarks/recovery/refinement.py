"""Which test-time refinement, and with which settings: chosen on validation persons.

    python benchmarks/recovery/refinement.py --poses FILE [--checkpoint lite] [--persons 200]

Validation persons: poses of the validation split of a motion-capture file (and of the held-out prior), seen through the
measured detector noise and its failures. Each row refines the same samples. Columns: `single` (mean over hypotheses),
`mode` (the zero-noise hypothesis), `fused` (their mean), `fused refined` (the answer of `recover`), `min10`, all
root-relative MPJPE over 24 joints in mm, PA for the fused body, spread, and CPU seconds per person at M = 100
hypotheses. Differences to the samples are paired, with 95 % bootstrap intervals over persons.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import Evidence
from hmralign.fitting.guidance import keypoint_guidance
from hmralign.fitting.keypoint_update import RefinementConfig, refine_group
from hmralign.hypotheses.fusion import fuse_rotations
from hmralign.hypotheses.spread import joint_spread
from hmralign.metrics.intervals import Interval, paired_difference
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.models.checkpoint import checkpoint_hash, load_checkpoint
from hmralign.models.person_frame import person_frame
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Example

ROOT = Path(__file__).parents[2]
R = RefinementConfig
ROWS = {
    "samples only": R(method="none"),
    "ensemble Kalman, 2 passes": R("ensemble", steps=2),
    "ensemble Kalman, 2 passes, noise x2": R("ensemble", steps=2, noise_scale=2.0),
    "Gauss-Newton, 1 step (default)": R(),
    "Gauss-Newton, 1 step, noise x2": R(noise_scale=2.0),
    "Gauss-Newton, 1 step, floor 12 deg": R(floor_deg=12.0),
    "Gauss-Newton, 2 steps": R(steps=2),
    "Gauss-Newton, 3 steps": R(steps=3),
    "Gauss-Newton, 4 steps": R(steps=4),
    "Gauss-Newton, 3 steps, no robustness": R(steps=3, robust=0.0),
    "Gauss-Newton, 3 steps, noise x2": R(steps=3, noise_scale=2.0),
    "Gauss-Newton, 3 steps, floor 3 deg": R(steps=3, floor_deg=3.0),
    "Gauss-Newton, 3 steps, floor 12 deg": R(steps=3, floor_deg=12.0),
    "Gauss-Newton, 3 steps, floor 20 deg": R(steps=3, floor_deg=20.0),
    "Gauss-Newton, 3 steps, shape kept": R(steps=3, betas_sd=0.0),
}


def validation_persons(poses: Path, n: int, seed: int) -> Example:
    mix = PoseMix(file_share=0.8, recombine_share=0.1, posture_share=0.15, perturb_deg=2.0)
    source = PoseSource(load_pose_prior("heldout"), mix, load_pose_file(poses, "val"))
    generator = Generator(load_free_body("3k5"), source, noise=load_measured_noise())
    return generator.sample(n, torch.Generator().manual_seed(seed))


def errors(body, rotmats, betas, example: Example, R_person_cam, evidence, config) -> dict[str, np.ndarray]:
    """Errors per person, mm."""
    rest = rest_joints(body, betas)
    _, joints = forward_kinematics(rest, rotmats, body.parents)
    _, fused = forward_kinematics(rest.mean(1), fuse_rotations(rotmats), body.parents)
    gentle = replace(config, noise_scale=config.fused_noise_scale)
    refined = refine_group(
        body, fuse_rotations(rotmats)[:, None], betas.mean(1, keepdim=True), evidence, gentle, rotmats
    )
    _, final = forward_kinematics(rest_joints(body, refined[1][:, 0]), refined[0][:, 0], body.parents)
    truth = (example.annotation.joints @ R_person_cam.mT)[:, :24]
    each = 1000 * mpjpe(joints[..., :24, :], truth[:, None].expand(-1, joints.shape[1], -1, -1), root=0)
    return {
        "single": each.mean(1).numpy(),
        "mode": each[:, 0].numpy(),
        "fused": 1000 * mpjpe(fused[:, :24], truth, root=0).numpy(),
        "min10": each[:, :10].amin(1).numpy(),
        "fused refined": 1000 * mpjpe(final[:, :24], truth, root=0).numpy(),
        "fused PA": 1000 * pa_mpjpe(fused[:, :24], truth).numpy(),
        "spread": 1000 * joint_spread(joints).mean(1).numpy(),
    }


def rounded(interval: Interval) -> list[float]:
    return [round(interval.mean, 1), round(interval.low, 1), round(interval.high, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, default=ROOT.parent / "shared/data/poses/cmu_smpl24_poses.npz")
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--hypotheses", type=int, default=20)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/refinement.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("3k5")
    model = load_checkpoint(args.checkpoint, body.skeleton_hash)
    example = validation_persons(args.poses, args.persons, args.seed)
    noise = noise_of("mediapipe")
    sampler = SamplerConfig(num_hypotheses=args.hypotheses)
    frame = person_frame(example.observation)
    group = sample_group(model, body, example.observation, sampler, torch.Generator().manual_seed(0))
    evidence = Evidence(frame.keypoints_tan, example.observation.confidence, noise)
    rows, base = {}, None
    for name, config in ROWS.items():
        start = time.process_time()
        rotmats, betas = refine_group(body, group.rotmats, group.betas, evidence, config)
        seconds = (time.process_time() - start) / args.persons / args.hypotheses * 100
        base = add_row(
            rows, name, errors(body, rotmats, betas, example, frame.R_person_cam, evidence, config), seconds, base
        )
    start = time.process_time()
    guidance = keypoint_guidance(model, body, evidence)
    guided = sample_group(model, body, example.observation, sampler, torch.Generator().manual_seed(0), guidance)
    seconds = (time.process_time() - start) / args.persons / args.hypotheses * 100
    guided_errors = errors(body, guided.rotmats, guided.betas, example, frame.R_person_cam, evidence, R(method="none"))
    add_row(rows, "guided DDIM (sampling included)", guided_errors, seconds, base)
    result = {"checkpoint_sha256": checkpoint_hash(args.checkpoint), "persons": args.persons, "seed": args.seed}
    result |= {"hypotheses": args.hypotheses, "rows": rows}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def add_row(rows: dict, name: str, values: dict, seconds: float, base: dict | None) -> dict:
    rows[name] = {k: round(float(v.mean()), 1) for k, v in values.items()} | {
        "cpu_s_per_person_M100": round(seconds, 3)
    }
    if base is not None:
        rows[name]["fused minus samples, 95 %"] = rounded(paired_difference(values["fused"], base["fused"]))
    return base if base is not None else values


def markdown(result: dict) -> str:
    columns = ["single", "mode", "fused", "fused refined", "min10", "fused PA", "spread", "cpu_s_per_person_M100"]
    lines = [
        "# Test-time refinement on the 2D keypoints",
        "",
        f"{result['persons']} validation persons, M = {result['hypotheses']}, mm (root-relative MPJPE, 24 joints, free",
        "body; not comparable with published figures). `min10` needs the truth.",
        "Command: `python benchmarks/recovery/refinement.py`.",
        "",
        "| | " + " | ".join(columns) + " | fused minus samples (95 %) |",
        "| --- |" + " ---: |" * (len(columns) + 1),
    ]
    for name, row in result["rows"].items():
        gain = row.get("fused minus samples, 95 %")
        cells = [str(row[c]) for c in columns] + [f"{gain[0]} ({gain[1]} to {gain[2]})" if gain else ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
