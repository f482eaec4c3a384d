"""How much does the answer move when the photo is changed but the person is not?

    python benchmarks/photos/stability.py [--photos DIR] [--checkpoint lite]

Part 1, keypoints from a file: synthetic persons whose keypoints are shifted, scaled, cropped or mirrored exactly.
Part 2, through the detector: the shared photos resized by 0.5 and 2, shifted by a border, cropped, and turned by EXIF.
The figure is the median over the 23 body joints of the angle between the fused rotations.
"""

import argparse
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.data.images import load_image
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.detection.mediapipe_detector import MediapipeDetector
from hmralign.detection.observe import observe
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.geometry.cameras import estimate_intrinsics
from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import rotmat_angle
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import Observation
from shared_photos import PHOTOS, ROOT, boxed_people, detect


def fused_pose(policy, observation: Observation, detector: str) -> torch.Tensor:
    estimate = estimate_bodies(
        policy, observation, SamplerConfig(), RefinementConfig(), noise_of(detector),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    return estimate.fused.body_pose


def angles_deg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(rotmat_angle(a, b))


def moved(o: Observation, scale: float, shift: tuple[float, float], K: torch.Tensor) -> Observation:
    offset = torch.tensor(shift)
    return replace(o, keypoints=scale * o.keypoints + offset, box=scale * o.box + offset.repeat(2), K=K)


def mirrored(o: Observation, width: float) -> Observation:
    flip = lambda p: torch.cat([width - 1 - p[..., :1], p[..., 1:]], -1)  # noqa: E731
    box = o.box[:, [2, 1, 0, 3]].clone()
    box[:, [0, 2]] = width - 1 - box[:, [0, 2]]
    K = o.K.clone()
    K[:, 0, 2] = width - 1 - K[:, 0, 2]
    swap = list(MIRROR_KEYPOINTS)
    return replace(o, keypoints=flip(o.keypoints)[:, swap], confidence=o.confidence[:, swap], box=box, K=K)


def from_files(policy, body, persons: int) -> dict:
    source = Generator(body, PoseSource(load_pose_prior("heldout")))
    observation = source.sample(persons, torch.Generator().manual_seed(3)).observation
    out = {}
    for known in (False, True):
        o = replace(observation, knows_camera=torch.full((persons,), known))
        base = fused_pose(policy, o, "file")
        guess = estimate_intrinsics(640, 480).K.expand(persons, 3, 3)
        for name, scale, shift in (
            ("scale x2", 2.0, (0.0, 0.0)),
            ("scale x0.5", 0.5, (0.0, 0.0)),
            ("crop", 1.0, (-80.0, -55.0)),
        ):
            A = torch.tensor([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1.0]])
            other = fused_pose(policy, moved(o, scale, shift, A @ o.K if known else guess), "file")
            out[f"{name}, intrinsics {'known' if known else 'guessed'}"] = largest(angles_deg(base, other))
        back = fused_pose(policy, mirrored(o, 1000.0), "file")
        eye = torch.eye(3).expand(persons, 1, 3, 3)
        back = mirror_rotmats(torch.cat([eye, back], 1), MIRROR_JOINTS[:24])[:, 1:]
        out[f"mirror, intrinsics {'known' if known else 'guessed'}"] = largest(angles_deg(base, back))
    return out


def largest(angles: torch.Tensor) -> dict:
    return {"median_deg": round(float(angles.median()), 4), "max_deg": round(float(angles.max()), 4)}


def changed_photos(rgb: np.ndarray, box: tuple[float, ...]) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """Changed copies and the hand box in each. Edges of a resized box move with pixel centres."""
    image = Image.fromarray(rgb)
    out = {}
    for s in (0.5, 2.0):
        small = image.resize((round(image.width * s), round(image.height * s)), Image.Resampling.LANCZOS)
        out[f"x{s:g}"] = np.asarray(small), tuple((c + 0.5) * s - 0.5 for c in box)
    framed = Image.new("RGB", (image.width + 90, image.height + 50), (128, 128, 128))
    framed.paste(image, (70, 40))
    out["shifted"] = np.asarray(framed), tuple(c + d for c, d in zip(box, (70, 40, 70, 40), strict=True))
    margin = 0.25 * max(box[2] - box[0], box[3] - box[1])
    x0, y0 = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    x1, y1 = min(image.width, int(box[2] + margin)), min(image.height, int(box[3] + margin))
    out["cropped"] = rgb[y0:y1, x0:x1].copy(), tuple(c - d for c, d in zip(box, (x0, y0, x0, y0), strict=True))
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for viewing
    image.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    turned.seek(0)
    out["EXIF-rotated"] = load_image(turned).rgb, box
    return out


def through_detector(policy, body, photos: Path, detector: MediapipeDetector) -> dict:
    rows: dict[str, dict] = {}
    cases: dict[Path, list] = {}
    for case in boxed_people(photos):
        cases.setdefault(case.photo, []).append(case)
    for photo, people in cases.items():
        rgb = load_image(photo).rgb
        base = {c.person: detect(detector, c) for c in people}
        people = [c for c in people if base[c.person] is not None]
        copies = {c.person: changed_photos(rgb, c.box) for c in people}
        for name in ("x0.5", "x2", "shifted", "EXIF-rotated", "cropped"):
            for case in people:  # one copy after the other for everybody: the detector remembers its last photo
                copy, box = copies[case.person][name]
                found = detect(detector, replace(case, box=tuple(box)), copy)
                angle = None
                if found is not None:
                    change = angles_deg(_pose(policy, body, base[case.person], rgb), _pose(policy, body, found, copy))
                    angle = round(float(change.median()), 2)
                rows.setdefault(f"{photo.name} {case.person}", {})[name] = angle
    return rows


def _pose(policy, body, found, rgb: np.ndarray) -> torch.Tensor:
    camera = estimate_intrinsics(rgb.shape[1], rgb.shape[0])
    return fused_pose(policy, Observation.stack([observe(found, camera)]), found.detector.split("-")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--persons", type=int, default=32)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/stability.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("3k5")
    policy = open_policy(args.checkpoint, body).policy
    result = {
        "checkpoint_sha256": checkpoint_hash(args.checkpoint),
        "keypoints_from_file": from_files(policy, body, args.persons),
    }
    with MediapipeDetector() as detector:
        rows = through_detector(policy, body, args.photos, detector)
    result["through_detector_median_deg"] = rows
    names = ["x0.5", "x2", "shifted", "cropped", "EXIF-rotated"]
    result["through_detector_summary"] = {
        n: {
            "median_deg": round(float(np.median([r[n] for r in rows.values() if r[n] is not None])), 2),
            "lost": sum(r[n] is None for r in rows.values()),
        }
        for n in names
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result, names))
    print(markdown(result, names))


def markdown(result: dict, names: list[str]) -> str:
    lines = ["# Stability", "", "Command: `python benchmarks/photos/stability.py`.", "", "## Keypoints from a file", ""]
    lines += [
        "Angle between fused joint rotations, all persons and joints.",
        "",
        "| change | median deg | max deg |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {k} | {v['median_deg']} | {v['max_deg']} |" for k, v in result["keypoints_from_file"].items()]
    lines += [
        "",
        "## Through the detector",
        "",
        "Median joint angle per person in its hand box, degrees; empty: not found again.",
        "",
    ]
    lines += ["| person | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    s = result["through_detector_summary"]
    lines += ["| **median** | " + " | ".join(f"**{s[n]['median_deg']}**" for n in names) + " |"]
    lines += ["| lost | " + " | ".join(str(s[n]["lost"]) for n in names) + " |"]
    for name, row in result["through_detector_median_deg"].items():
        lines.append(f"| {name} | " + " | ".join("" if row[n] is None else str(row[n]) for n in names) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
