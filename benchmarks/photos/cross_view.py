"""Do bodies of one person, estimated from different cameras at one instant, agree?

    python benchmarks/photos/cross_view.py [--photos DIR] [--checkpoint lite]

Real photos without 3D truth: four cameras see two people at two instants. Boxes are given by hand. For each pair of
views the fused bodies are compared by PA-MPJPE on 12 joints, beside controls that must be worse: one view mirrored,
the other instant, the other person. A constant pose would agree perfectly, so the contrast and the reprojection error
count, not the agreement alone. The detector's own 3D landmarks are the row to beat.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_keypoints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.weighing import Weighing
from hmralign.detection.mediapipe_detector import MediapipeDetector
from hmralign.detection.observe import observe
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.geometry.cameras import estimate_intrinsics, project
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Observation
from shared_photos import PHOTOS, ROOT, BoxedPerson, boxed_people, detect, image_size

BODY_12 = list(range(5, 17))
MIRROR_12 = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
LANDMARKS_12 = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]


def bodies(
    cases: list[BoxedPerson], found, policy, body, method: str, weighing: Weighing | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fused 12 joints per case, and the median reprojection error over box height."""
    seen = [observe(d, estimate_intrinsics(*image_size(c.photo))) for c, d in zip(cases, found, strict=True)]
    observation = Observation.stack(seen)
    estimate = estimate_bodies(
        policy, observation, SamplerConfig(), RefinementConfig(method=method), noise_of(found[0].detector),
        torch.Generator().manual_seed(0), weighing,
    )  # fmt: skip
    points = posed_keypoints(body, estimate.fused)
    error = (project(points, observation.K) - observation.keypoints).norm(dim=-1)
    height = (observation.box[:, 3] - observation.box[:, 1]).clamp(min=1)
    median = [float(error[i][observation.confidence[i] > 0.3].median() / height[i]) for i in range(len(cases))]
    return points[:, BODY_12], torch.tensor(median)


def landmarks(found) -> torch.Tensor:
    return torch.stack([torch.from_numpy(d.landmarks3d[LANDMARKS_12, :3].astype(np.float32)) for d in found])


def distance_mm(a: torch.Tensor, b: torch.Tensor) -> float:
    return 1000 * float(pa_mpjpe(a, b))


def table(cases: list[BoxedPerson], joints: torch.Tensor) -> dict:
    """Mean and values of the agreement and its controls."""
    flip = lambda p: p[MIRROR_12] * torch.tensor([-1.0, 1.0, 1.0])  # noqa: E731
    rows: dict[str, list[float]] = {}
    for i, j in itertools.combinations(range(len(cases)), 2):
        a, b = cases[i], cases[j]
        if a.view == b.view:
            continue
        same_person, same_time = a.person == b.person, a.moment == b.moment
        if same_person and same_time:
            key = f"{a.person} {a.moment}"
            rows.setdefault(f"{key} same", []).append(distance_mm(joints[i], joints[j]))
            rows.setdefault(f"{key} mirrored", []).append(distance_mm(joints[i], flip(joints[j])))
        elif same_person:
            rows.setdefault(f"{a.person} other instant", []).append(distance_mm(joints[i], joints[j]))
        elif same_time:
            rows.setdefault(f"{a.moment} other person", []).append(distance_mm(joints[i], joints[j]))
    return {
        k: {"mean_mm": round(float(np.mean(v)), 1), "pairs": [round(x) for x in v]} for k, v in sorted(rows.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/cross_view.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("7k")
    policy = open_policy(args.checkpoint, body).policy
    cases = [
        c for c in boxed_people(args.photos) if c.photo.name.startswith("gym_pair") and c.person in ("man", "woman")
    ]
    with MediapipeDetector() as detector:
        found = [detect(detector, c) for c in cases]
    missed = [f"{c.photo.name} {c.person}" for c, d in zip(cases, found, strict=True) if d is None]
    kept = [(c, d) for c, d in zip(cases, found, strict=True) if d is not None]
    cases, found = [c for c, _ in kept], [d for _, d in kept]
    result = {"checkpoint_sha256": checkpoint_hash(args.checkpoint), "missed": missed, "rows": {}}
    weighing = Weighing(make_critic("scorer", body))
    for name, method, weighed in (
        ("fused, refined", "gauss_newton", None),
        ("fused, samples only", "none", None),
        ("fused, refined, weighed by the learned scorer", "gauss_newton", weighing),
        ("fused, samples only, weighed by the learned scorer", "none", weighing),
    ):
        joints, reprojection = bodies(cases, found, policy, body, method, weighed)
        result["rows"][name] = table(cases, joints) | {
            "reprojection_over_box_height_median": round(float(reprojection.median()), 4)
        }
    result["rows"]["detector's 3D landmarks"] = table(cases, landmarks(found))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def markdown(result: dict) -> str:
    columns = sorted({k for r in result["rows"].values() for k in r if isinstance(r[k], dict)})
    lines = [
        "# Cross-view agreement on real photos", "",
        "PA-MPJPE in mm between bodies of the same person from different cameras, 12 joints, mean over view pairs;",
        "lower is better in `same`; the controls (mirrored, other instant, other person) should be clearly higher.",
        "Two people, two instants: a smoke test, not a benchmark.",
        "Command: `python benchmarks/photos/cross_view.py`.", "",
        "| | " + " | ".join(columns) + " | reprojection |", "| --- |" + " ---: |" * (len(columns) + 1),
    ]  # fmt: skip
    for name, row in result["rows"].items():
        cells = [f"{row[c]['mean_mm']:.0f}" if c in row else "" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.get('reprojection_over_box_height_median', '')} |")
    lines += ["", f"Not found in their boxes: {', '.join(result['missed']) or 'nobody'}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
