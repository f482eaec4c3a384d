"""What `recover` gets wrong on photos of known 3D: on any calibrated multi-view set, with full and heavy readings.

    python benchmarks/photos/real_photos.py                  the gym photos of ../shared/data
    python benchmarks/photos/real_photos.py --set FOLDER     a set of yours; its format: `real_photo_sets.py`
    python benchmarks/photos/real_photos.py --only-report    the tables again, from the figures

Writes docs/results/real_photos.{json,md}; of a set of yours FOLDER/real_photos.{json,md}. Every photo is read twice, by
the detector with the full and with the heavy weights of its landmark network, and the person is the detection that fits
the projected truth best, sides counting or not. K is given. Errors are of twelve joints, the body's own keypoints,
about the middle of the hips.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import real_photo_report
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.data.images import LoadedImage, load_image
from hmralign.detection.detection import Detection
from hmralign.detection.mediapipe_detector import MediapipeDetector, MediapipeDetectorConfig
from hmralign.detection.observe import camera_of
from hmralign.evaluation.summary import CALIBRATED_JOINTS
from hmralign.geometry.procrustes import procrustes
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, plane_and_depth_errors
from hmralign.metrics.uncertainty import CHI2_3, JointGaussians, Recalibration, joint_gaussians, squared_mahalanobis
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.systems.recover.expected_error import recalibration_for
from hmralign.systems.recover.people import RecoverConfig, recover_people
from real_photo_sets import INDEX, JOINTS, PhotoSet, gym_set, read_set

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("full", "heavy")
MIRROR = [INDEX.index(MIRROR_KEYPOINTS[k]) for k in INDEX]
LANDMARKS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
"""The twelve joints among mediapipe's landmarks."""
NOT_HIM = 0.2
"""Mean distance from the projected truth, sides not counting, as a share of its height, above which a detection is
somebody else."""


def with_root(joints: torch.Tensor) -> torch.Tensor:
    """The middle of the hips, then the twelve joints, about it: (..., 13, 3)."""
    hips = joints[..., [6, 7], :].mean(-2, keepdim=True)
    return torch.cat([hips, joints], dim=-2)


def across_and_up(joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From the right to the left of the trunk, and from hips to shoulders."""
    across = joints[0] - joints[1] + joints[6] - joints[7]
    return across, joints[[0, 1]].mean(0) - joints[[6, 7]].mean(0)


def faces_away(pred: torch.Tensor, truth: torch.Tensor) -> bool:
    """Whether the trunk's front points more than 90 degrees away from the true one."""
    fronts = [torch.linalg.cross(*across_and_up(joints), dim=0) for joints in (pred, truth)]
    return bool(fronts[0] @ fronts[1] < 0)


def lean(pred: torch.Tensor, truth: torch.Tensor) -> float:
    """Degrees by which the body as a whole is turned away from the camera about the camera's x axis, too far."""
    _, (R, _, _) = procrustes(with_root(pred), with_root(truth), with_scale=False)
    return math.degrees(float(rotmat_to_rotvec(R)[0]))


def errors(pred: torch.Tensor, truth: torch.Tensor) -> dict:
    """All measures of one answer (12, 3) in the `cam` frame; millimetres and degrees."""
    a, b = with_root(pred.double()), with_root(truth)
    plane, depth = plane_and_depth_errors(a, b, root=0)
    apart = ((a - a[:1]) - (b - b[:1])).norm(dim=-1)[1:]
    share = 13 / 12  # the root, which is exact, is no joint
    return {
        "mpjpe": 1000 * share * float(mpjpe(a, b, root=0)),
        "pa_mpjpe": 1000 * float(pa_mpjpe(a[1:], b[1:])),
        "plane": 1000 * share * float(plane),
        "depth": 1000 * share * float(depth),
        "joints": [round(1000 * float(v), 1) for v in apart],
        "faces_away": faces_away(a[1:], b[1:]),
        "lean": lean(a[1:], b[1:]),
    }


def pick(people: list[Detection], truth: np.ndarray) -> tuple[Detection | None, bool]:
    """The detection of the person whose joints are at `truth` (12, 2) pixels, and whether its sides are exchanged."""
    height = np.ptp(truth, axis=0).max()
    best: tuple[float, Detection | None, bool] = (NOT_HIM, None, False)
    for person in people:
        for other in (False, True):
            target = truth[MIRROR] if other else truth
            away = float(np.linalg.norm(person.keypoints[INDEX] - target, axis=1).mean() / height)
            if away < best[0]:
                best = (away, person, other)
    return best[1], best[2]


def calibration(
    group: torch.Tensor, fused: torch.Tensor, truth: torch.Tensor, found: Recalibration | None
) -> dict[str, dict]:
    """Whether each joint but the hips lies in the regions that the group states, about the fused answer.

    The group's own covariance, and widened as `expected_error` is, by the numbers fitted for the joint of that name.
    """
    spread = joint_gaussians(with_root(group))
    answer = with_root(fused)
    stated = {"as predicted": JointGaussians(answer[1:] - answer[:1], spread.covariance)}
    if found is not None:
        rows = [CALIBRATED_JOINTS.index(n) for n in JOINTS]
        own = Recalibration(found.scale[rows].double(), found.floor[rows].double())
        stated["recalibrated"] = own(stated["as predicted"])
    target = with_root(truth)
    limbs = [k for k in range(12) if k not in (6, 7)]  # the hips are nearly the root
    result: dict = {}
    for name, gaussians in stated.items():
        away = squared_mahalanobis(gaussians, target[1:] - target[:1])[limbs]
        result[name] = {f"{p:.0%}": (away <= limit).tolist() for p, limit in CHI2_3.items()}
        result[name]["expected_mm"] = round(1000 * float(gaussians.spread[limbs].square().mean().sqrt()), 1)
        gap = (gaussians.mean - (target[1:] - target[:1]))[limbs].norm(dim=-1)
        result[name]["actual_mm"] = round(1000 * float(gap.square().mean().sqrt()), 1)
    return result


@dataclass(frozen=True)
class Setting:
    """What makes bodies of a reading, and how its regions are widened."""

    policy: BodyProposer
    config: RecoverConfig
    recalibration: Recalibration | None


def measure_photo(setting: Setting, image: LoadedImage, K: np.ndarray, person: Detection, truth: torch.Tensor) -> dict:
    """Errors of fused, best, min of M and the detector's own 3D for one reading of one photo."""
    body = setting.policy.body
    (answer,) = recover_people(setting.policy, image, camera_of(image, K), [person], setting.config).persons
    group = posed_keypoints(body, answer.hypotheses.body)[:, INDEX]
    fused = posed_keypoints(body, answer.fused[None])[0, INDEX]
    each = torch.stack([mpjpe(with_root(g.double()), with_root(truth), root=0) * 13 / 12 for g in group])
    row: dict = {"fused": errors(fused, truth), "best": errors(group[answer.selected], truth)}
    row["min_of_group"] = 1000 * float(each.min())
    if person.landmarks3d is not None:
        row["detector"] = errors(torch.from_numpy(person.landmarks3d[LANDMARKS, :3].astype(np.float64)), truth)
    row["calibration"] = calibration(group.double(), fused.double(), truth, setting.recalibration)
    return row


def measure(photos: PhotoSet, checkpoint: str, hypotheses: int) -> dict:
    """Rows of all photos; photos in which the person was not found are counted."""
    config = RecoverConfig(sampler=SamplerConfig(num_hypotheses=hypotheses))
    recalibration = recalibration_for(checkpoint_hash(checkpoint), config)
    setting = Setting(open_policy(checkpoint, load_free_body("7k")).policy, config, recalibration)
    images = {(t, c): load_image(p) for t, shots in photos.photos.items() for c, p in shots.items()}
    found = {network: read_all(images, network) for network in NETWORKS}
    photos, triangulated = with_truth(photos, found, images)
    rows: list[dict] = []
    read: dict[str, dict[str, dict[str, np.ndarray]]] = {network: {} for network in NETWORKS}
    for (instant, camera), image in images.items():
        if instant not in photos.truth:
            continue
        points = photos.truth[instant]
        pixels, K = photos.pixels(points, camera).numpy(), photos.views.K[photos.cameras.index(camera)].numpy()
        row: dict = {"instant": instant, "camera": camera, "elevation": photos.elevation(points, camera)}
        for network in NETWORKS:
            person, exchanged = pick(found[network][instant, camera], pixels)
            if person is None:
                continue
            height = np.ptp(pixels, axis=0).max()
            away = np.linalg.norm(person.keypoints[INDEX] - pixels, axis=1) / height
            read[network].setdefault(instant, {})[camera] = np.c_[person.keypoints, person.confidence]
            row[network] = measure_photo(setting, image, K, person, photos.in_camera(points, camera))
            row[network] |= {"sides_exchanged": exchanged, "pixels_percent": 100 * float(away.mean())}
            row[network] |= {"sides_disagree": [] if person.alternative is None else list(person.alternative.exchanged)}
        rows.append(row)
        print(instant, camera, {n: round(row[n]["fused"]["mpjpe"]) for n in NETWORKS if n in row}, flush=True)
    height = float(next(iter(images.values())).height)
    return {
        "set": photos.name,
        "notes": list(photos.notes),
        "checkpoint_sha256": checkpoint_hash(checkpoint),
        "hypotheses": hypotheses,
        "rows": rows,
        "truth": triangulated,
        "triangulated": {n: against_truth(photos, read[n], height) for n in NETWORKS},
    }


def read_all(images: dict[tuple[str, str], LoadedImage], network) -> dict[tuple[str, str], list[Detection]]:
    """Everybody in every photo."""
    with MediapipeDetector(config=MediapipeDetectorConfig(network=network)) as detector:
        if network == "heavy" and detector.name != "mediapipe_heavy":
            raise SystemExit("the heavy weights are not installed: run `hmralign setup-detector`")
        return {shot: detector(image.rgb) for shot, image in images.items()}


def with_truth(photos: PhotoSet, found: dict, images: dict) -> tuple[PhotoSet, dict]:
    """The set with joints for every instant that has all of them, and how they were made."""
    if photos.truth:
        return photos, {"source": "given with the set"}
    source, keypoints = "keypoints.json", photos.keypoints
    if not keypoints:
        source = "the heavy reading of the largest person in each photo, which is also what is judged"
        keypoints = {t: {} for t in photos.photos}
        for (instant, camera), people in found["heavy"].items():
            if people:
                big = max(people, key=lambda p: float((p.box[2:] - p.box[:2]).prod()))
                keypoints[instant][camera] = np.c_[big.keypoints, big.confidence]
    made = {t: photos.triangulated(k, float(next(iter(images.values())).height)) for t, k in keypoints.items()}
    truth = {t: m.points for t, m in made.items() if bool(m.found.all())}
    residuals = torch.cat([m.residuals.flatten() for m in made.values()])
    residuals = residuals[~residuals.isnan()]
    return replace(photos, truth=truth), {
        "source": source,
        "joints_left_out": int(sum(int((~m.found).sum()) for m in made.values())),
        "instants_left_out": sorted(set(photos.photos) - set(truth)),
        "leave_view_out_px": quantiles(residuals),
    }


def quantiles(values: torch.Tensor) -> list[float]:
    """Median, 90 % and maximum."""
    return [round(float(v), 1) for v in torch.quantile(values, torch.tensor([0.5, 0.9, 1.0]).to(values))]


def against_truth(photos: PhotoSet, read: dict, height: float) -> dict:
    """Joints triangulated from one network's own keypoints in all views of an instant, against the truth."""
    apart, aligned, residuals, left_out, views = [], [], [], 0, []
    for instant, keypoints in read.items():
        made, truth = photos.triangulated(keypoints, height), photos.truth[instant]
        left_out += int((~made.found).sum())
        apart += (made.points - truth).norm(dim=-1)[made.found].tolist()
        if int(made.found.sum()) >= 6:
            aligned.append(float(pa_mpjpe(made.points[made.found], truth[made.found])))
        residuals += made.residuals[~made.residuals.isnan()].tolist()
        views += made.agreeing.sum(0)[made.found].tolist()
    return {
        "joints": 12 * len(read),
        "left_out": left_out,
        "views_mean": round(float(np.mean(views)), 2),
        "distance_mm": round(1000 * float(np.mean(apart)), 1),
        "pa_mpjpe_mm": round(1000 * float(np.mean(aligned)), 1),
        "leave_view_out_px": quantiles(torch.tensor(residuals)),
    }


def write_figures(path: Path, result: dict) -> None:
    """All figures as JSON, a line for each photo."""
    rows = ",\n".join(json.dumps(row) for row in result["rows"])
    head = json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=1)
    path.write_text(head.removesuffix("\n}") + ',\n "rows": [\n' + rows + "\n]}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="folder of a set of yours")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with the gym photos")
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--out", help="name of the figures, real_photos unless given")
    parser.add_argument("--only-report", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = (args.set or ROOT / "docs" / "results") / f"{args.out or 'real_photos'}.json"
    if not args.only_report:
        photos = gym_set(args.data) if args.set is None else read_set(args.set)
        result = measure(photos, args.checkpoint, args.hypotheses)
        if args.out:
            result["command"] = f" --checkpoint {args.checkpoint} --out {args.out}"
        write_figures(out, result)
    text = real_photo_report.markdown(json.loads(out.read_text()))
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
