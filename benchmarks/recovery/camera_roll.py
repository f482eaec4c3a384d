"""Does it help to take the roll out of people who stand aslant in the picture, and to turn the answer back?

    python benchmarks/recovery/camera_roll.py --synthwild FOLDER [--truth ../shared/data/truth/gym_man_clips.npz]

Writes docs/results/camera_roll.{json,md}. FOLDER is of `hmralign bench --splits wild/val`. A camera that is rolled
about the ray to the box centre sees the same person turned in the picture, so keypoints are carried into it exactly,
and its answer back. Persons are those whose trunk is more than 20 degrees from the picture's vertical; masks are left
out in all ways, as they are not turned. A second seed is the control: averaging two answers helps whatever they are.
The gym clips (every fourth frame, true joints with noise of 1.5 % as keypoints, camera m04 rolled by 30 degrees) have
no detector in them. Intervals are bootstrapped over persons or frames.
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmralign import Recoverer
from hmralign.body.lbs import forward_kinematics, posed_keypoints, rest_joints
from hmralign.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.synthwild_folder import open_split
from hmralign.fitting.detector_noise import noise_of
from hmralign.geometry.cameras import look_at_rotation, project, rays
from hmralign.geometry.rotations import axis_rotmat, mean_rotmat
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.structures import MASK_SIZE, BodyParams, Observation

ROOT = Path(__file__).parents[2]
HIPS, SHOULDERS = (
    [KEYPOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "shoulder")
)
MEANS = {
    "mean with a second seed (control)": ("as seen", "second seed"),
    "mean with trunk upright": ("as seen", "trunk upright"),
    "mean with half": ("as seen", "half"),
    "mean with +15 and -15 degrees": ("as seen", "+15", "-15"),
}


def trunk_roll(seen: Observation) -> torch.Tensor:
    """Angle of the trunk from the picture's vertical, clockwise, radians; 0 where the trunk is not seen."""
    up = seen.keypoints[:, SHOULDERS].mean(1) - seen.keypoints[:, HIPS].mean(1)
    known = (seen.confidence[:, HIPS + SHOULDERS] > 0.3).all(1)
    return torch.where(known, torch.atan2(up[:, 0], -up[:, 1]), 0.0)


def rolled(seen: Observation, angle: torch.Tensor) -> tuple[Observation, torch.Tensor]:
    """The same people seen by a camera that is rolled about the ray to each box centre, and the rotation into it."""
    centre = (seen.box[:, :2] + seen.box[:, 2:]) / 2
    R = look_at_rotation(rays(centre[:, None], seen.K)[:, 0])
    turn = R.mT @ axis_rotmat("z", angle) @ R
    ray = rays(seen.keypoints, seen.K) @ turn.mT
    points = project(torch.cat([ray[..., :2], ray[..., 2:].clamp(min=0.17)], -1), seen.K)
    return replace(seen, keypoints=points, box=keypoint_box(points, seen.confidence)), turn


def answers(recoverer: Recoverer, seen: Observation, noise, angle: torch.Tensor, seed: int = 0):
    """Fused rotations in the camera that was, and betas."""
    turned, turn = rolled(seen, angle)
    config, parts = recoverer.config, []
    for first in range(0, len(angle), 16):
        draw = torch.Generator().manual_seed(seed)
        some = turned[first : first + 16]
        parts.append(estimate_bodies(recoverer._policy, some, config.sampler, config.refinement, noise, draw).fused)
    fused = BodyParams.cat(parts)
    rotmats = fused.rotmats.clone()
    rotmats[:, 0] = turn.mT @ rotmats[:, 0]
    return rotmats, fused.betas


def all_ways(recoverer: Recoverer, seen: Observation, noise) -> dict:
    roll = trunk_roll(seen)
    fifteen, still = torch.full_like(roll, math.radians(15)), torch.zeros_like(roll)
    angles = {"as seen": still, "trunk upright": -roll, "half": -roll / 2, "+15": fifteen, "-15": -fifteen}
    found = {name: answers(recoverer, seen, noise, angle) for name, angle in angles.items()}
    found["second seed"] = answers(recoverer, seen, noise, still, seed=1)
    for name, members in MEANS.items():
        rotmats = torch.stack([found[m][0] for m in members], dim=2)  # (B, J, member, 3, 3)
        weights = torch.full(rotmats.shape[:3], 1 / len(members))
        found[name] = mean_rotmat(rotmats, weights), torch.stack([found[m][1] for m in members]).mean(0)
    return found


def interval(difference: np.ndarray) -> list[float]:
    rng = np.random.default_rng(0)
    means = [difference[rng.integers(len(difference), size=len(difference))].mean() for _ in range(4000)]
    return [float(difference.mean()), *(float(v) for v in np.quantile(means, [0.025, 0.975]))]


def on_synthwild(recoverer: Recoverer, folder: Path, persons: int) -> dict:
    split = open_split(folder, "wild/val").first(persons)
    seen = replace(split.examples.observation, has_mask=torch.zeros(len(split), dtype=torch.bool))
    chosen = trunk_roll(seen).abs() > math.radians(20)
    annotation = split.examples.annotation
    assert annotation is not None
    seen, truth, pitch = seen[chosen], annotation[chosen].body, split.slices.pitch[chosen]
    found, body = all_ways(recoverer, seen, noise_of("mediapipe")), recoverer.body

    def joints(rotmats, betas):
        _, at = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
        return at[:, :24] - at[:, :1]

    right = joints(truth.rotmats, truth.betas)
    errors = {
        name: [1000 * (joints(*way) - right).norm(dim=-1).mean(1).numpy(), 1000 * pa_mpjpe(joints(*way), right).numpy()]
        for name, way in found.items()
    }
    roll, pitch = trunk_roll(seen).abs().rad2deg().numpy(), pitch.abs().rad2deg().numpy()
    slices = {"all": roll > 0, "roll 20 to 45": roll < 45, "roll 45 to 100": (roll >= 45) & (roll < 100),
              "roll above 100": roll >= 100, "pitch below 20": pitch < 20, "pitch above 20": pitch >= 20}  # fmt: skip
    return {
        where: {
            "persons": int(rows.sum()),
            "as_seen_mm": [float(e[rows].mean()) for e in errors["as seen"]],
            "difference_mm": {
                name: [interval((e - s)[rows]) for e, s in zip(errors[name], errors["as seen"], strict=True)]
                for name in errors
                if name != "as seen"
            },
        }
        for where, rows in slices.items()
    }


def on_clip(recoverer: Recoverer, truth: dict, name: str) -> dict:
    names = [str(n) for n in truth["joint_names"]]
    columns = [KEYPOINT_NAMES.index(n) for n in names]
    hips, shoulders = ([names.index(KEYPOINT_NAMES[i]) for i in part] for part in (HIPS, SHOULDERS))
    right, K = (
        torch.from_numpy(truth[f"{name}_joints_cam_m"]).float()[::4],
        torch.from_numpy(truth[f"{name}_K"]).float(),
    )
    pixels, count = project(right, K), len(right)
    size = (pixels.amax(1) - pixels.amin(1)).amax(-1)[:, None, None]
    points, confidence = torch.zeros(count, NUM_KEYPOINTS, 2), torch.zeros(count, NUM_KEYPOINTS)
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    points[:, columns], confidence[:, columns] = pixels + 0.015 * size * noise, 0.9
    seen = Observation(
        keypoints=points, confidence=confidence, box=keypoint_box(points, confidence), K=K.expand(count, 3, 3),
        knows_camera=torch.ones(count, dtype=torch.bool), mask=torch.zeros(count, MASK_SIZE, MASK_SIZE),
        has_mask=torch.zeros(count, dtype=torch.bool),
    )  # fmt: skip

    def toward(joints):  # degrees of the trunk out of the picture's plane, away from the camera
        trunk = joints[:, shoulders].mean(1) - joints[:, hips].mean(1)
        return torch.asin(trunk[:, 2] / trunk.norm(dim=-1)).rad2deg()

    def relative(joints):
        return joints - joints[:, hips].mean(1, keepdim=True)

    rows = {}
    for way, (rotmats, betas) in all_ways(recoverer, seen, noise_of("mediapipe_heavy")).items():
        body = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, torch.zeros(count, 3))
        joints = posed_keypoints(recoverer.body, body)[:, columns]
        error = 1000 * (relative(joints) - relative(right)).norm(dim=-1).mean(1).numpy()
        plain = rows["as seen"]["errors"] if rows else error
        lean = float((toward(joints) - toward(right)).mean())
        rows[way] = {"errors": error, "mpjpe_mm": float(error.mean()), "lean_degrees": lean,
                     "difference_mm": interval(error - plain)}  # fmt: skip
    return {way: {k: v for k, v in row.items() if k != "errors"} for way, row in rows.items()}


def table(record: dict) -> str:
    lines = [
        "# Taking the roll out of the picture of people who stand aslant",
        "",
        "Command: `python benchmarks/recovery/camera_roll.py --synthwild FOLDER`. Fused answers, M = "
        f"{record['hypotheses']}; mm, differences",
        "from as seen with 95 % intervals. What it says: [real_photos_reading.md](real_photos_reading.md).",
        "",
        "SynthWild wild/val, persons whose trunk is more than 20 degrees from the vertical: MPJPE, PA-MPJPE",
        "",
    ]
    cell = "{:+.1f} ({:+.1f} to {:+.1f})".format
    for where, found in record["synthwild"].items():
        mpjpe, pa = found["as_seen_mm"]
        lines += [f"**{where}**, {found['persons']} persons, as seen {mpjpe:.1f}, {pa:.1f}", ""]
        lines += ["| way | MPJPE | PA-MPJPE |", "| --- | ---: | ---: |"]
        lines += [f"| {way} | {' | '.join(cell(*d) for d in both)} |" for way, both in found["difference_mm"].items()]
        lines.append("")
    for clip, rows in record["clips"].items():
        lines += [f"Gym clip {clip}; the lean is the trunk's error away from the camera, degrees", "",
                  "| way | MPJPE | difference | lean |", "| --- | ---: | ---: | ---: |"]  # fmt: skip
        lines += [
            f"| {way} | {row['mpjpe_mm']:.1f} | {cell(*row['difference_mm'])} | {row['lean_degrees']:+.1f} |"
            for way, row in rows.items()
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthwild", type=Path, required=True)
    parser.add_argument("--persons", type=int, default=972)
    parser.add_argument("--hypotheses", type=int, default=20)
    parser.add_argument("--truth", type=Path, default=ROOT.parent / "shared" / "data" / "truth" / "gym_man_clips.npz")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/camera_roll.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recoverer = Recoverer.load("lite", detector=None, num_hypotheses=args.hypotheses)
    with np.load(args.truth, allow_pickle=False) as file:
        truth = dict(file)
    record = {
        "format_version": 1,
        "hypotheses": args.hypotheses,
        "synthwild": on_synthwild(recoverer, args.synthwild, args.persons),
        "clips": {name: on_clip(recoverer, truth, name) for name in ("m04", "m02")},
    }
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
