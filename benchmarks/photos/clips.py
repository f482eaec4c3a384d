"""Clips of known truth, frame by frame against followed, linked and smoothed: errors, jitter, flips.

    python benchmarks/photos/clips.py [--clips ../shared/data/clips] [--truth ../shared/data/truth/gym_man_clips.npz]
        [--sides both|as-read]

Writes docs/results/video.{json,md}. Needs the detector (`hmralign setup-detector`). The truth is one man over 1.6 s,
from calibrated cameras (`../shared/data/truth/README.md`); joints are the body's keypoints. Constants were
chosen on clip m04 and on synthetic motion, but for `LinkConfig.change` and `disbelief`, which were chosen after a look
at m02: no clip is left that nothing was chosen on. Frame by frame is what `recoverer(frame)` answers,
M = 100; the clip's answer has M = 50.

Errors are compared on the same frames; intervals are bootstrapped over blocks of 10 consecutive frames. Jitter is the
error of the acceleration. A flip is a frame whose body looks more than 90 degrees away from the truth's front.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

from hmralign import Recoverer
from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.video.video_file import VideoFile
from hmralign.detection.detection import Detection
from hmralign.detection.mediapipe_detector import MediapipeDetector
from hmralign.hypotheses.sides import Sides
from hmralign.metrics.intervals import cluster_counts, cluster_interval
from hmralign.metrics.joint_errors import pa_mpjpe
from hmralign.tracking.smoothing import acceleration
from shared_photos import CACHE, _arrays, _detection

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
CLIPS = ("m04", "m02")
BLOCK = 10


class Kept:
    """Detections of a clip's frames, in order; asked once more, it begins again."""

    name = "mediapipe"

    def __init__(self, answers: list[list[Detection]]):
        self.answers, self.next = answers, 0

    def __call__(self, image):
        self.next += 1
        return self.answers[(self.next - 1) % len(self.answers)]

    def detect_in_box(self, image, box):
        raise NotImplementedError


def detections(clip: Path) -> list[list[Detection]]:
    """What the detector sees in every frame, kept between runs beside the photos' detections."""
    code = b"".join(p.read_bytes() for p in sorted((ROOT / "src/hmralign/detection").glob("mediapipe*.py")))
    with MediapipeDetector() as detector:  # its name tells the weights: full alone, or heavy beside it
        read_by = "mediapipe_heavy" if "heavy" in detector.name else "mediapipe"
        key = hashlib.sha256(code + clip.read_bytes() + detector.name.encode()).hexdigest()[:24]
        folder = CACHE / f"clip_{key}"
        if not (folder / "done").exists():
            keep([detector(frame.rgb) for frame in VideoFile(clip).frames()], folder)
    files = sorted(folder.glob("*.npz"))
    found = [[] for _ in range(int((folder / "done").read_text()))]
    for file in files:
        with np.load(file, allow_pickle=False) as data:
            found[int(file.stem.split("_")[0])].append(_detection(dict(data), read_by))
    return found


def keep(found: list[list[Detection]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame, people in enumerate(found):
        for number, person in enumerate(people):
            np.savez_compressed(folder / f"{frame:05d}_{number:02d}.npz", **_arrays(person))
    (folder / "done").write_text(str(len(found)))


def errors(joints, truth, names) -> dict[str, np.ndarray]:
    """Per frame, millimetres: MPJPE about the middle of the hips, PA-MPJPE; whether the front is turned away."""
    hips = [names.index("left_hip"), names.index("right_hip")]
    a, b = (x - x[:, hips].mean(1, keepdim=True) for x in (joints, truth))
    return {
        "mpjpe_mm": 1000 * (a - b).norm(dim=-1).mean(1).numpy(),
        "pa_mpjpe_mm": 1000 * pa_mpjpe(joints, truth).numpy(),
        "flipped": ((front(a, names) * front(b, names)).sum(-1) < 0).numpy(),
        "relative": a.double().numpy(),
        "relative_truth": b.double().numpy(),
    }


def front(joints, names):
    """Direction the trunk faces."""
    at = {name: joints[:, i] for i, name in enumerate(names)}
    across = at["left_hip"] + at["left_shoulder"] - at["right_hip"] - at["right_shoulder"]
    up = at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    return torch.linalg.cross(across, up)


def jitter(found, times) -> np.ndarray:
    """Acceleration error of each frame but the first and last, metres per second^2."""
    gap = acceleration(times, found["relative"]) - acceleration(times, found["relative_truth"])
    return np.linalg.norm(gap, axis=-1).mean(1)


def interval(difference: np.ndarray, seed: int = 0) -> list[float]:
    """Mean and 95 % interval over blocks of consecutive frames, drawn with replacement."""
    found = cluster_interval(difference, cluster_counts(np.arange(len(difference)) // BLOCK, 4000, seed))
    return [found.mean, found.low, found.high]


def nearest(people, truth_px, columns):
    """The person whose keypoints are nearest to the truth's."""
    middles = [np.median(np.linalg.norm(k[columns, :2] - truth_px, axis=1)) for k in people]
    swapped = [abs(k[columns, :2].mean(0) - truth_px.mean(0)).sum() for k in people]
    return int(np.argmin(np.minimum(middles, swapped)))


def measure(clip: Path, truth: dict, name: str, sides: Sides) -> dict:
    names = [str(n) for n in truth["joint_names"]]
    columns = [KEYPOINT_NAMES.index(n) for n in names]
    joints = torch.from_numpy(truth[f"{name}_joints_cam_m"]).float()
    K = truth[f"{name}_K"].astype(np.float64)
    seen = joints.numpy() @ K.T
    pixels = seen[..., :2] / seen[..., 2:]
    kept, single = Kept(detections(clip)), []
    start = time.process_time()
    recoverer = Recoverer.load("lite", detector=kept, num_hypotheses=100)
    for frame in VideoFile(clip).frames():
        people = recoverer(frame.rgb)
        person = people[nearest([p.keypoints.numpy() for p in people], pixels[frame.number], columns)]
        single.append(posed_keypoints(person.body, person.fused)[columns])
    single_seconds = time.process_time() - start
    start = time.process_time()
    video = Recoverer.load("lite", detector=kept, num_hypotheses=50, sides=sides).video(clip)
    video_seconds = time.process_time() - start
    long = [t for t in video if len(t) > 0.9 * len(joints)]
    ways = [np.median([np.abs(t.keypoints[i, columns, :2].mean(0) - pixels[t.frames[i]].mean(0)).sum()
                       for i in range(len(t))]) for t in long]  # fmt: skip
    track = long[int(np.argmin(ways))]
    smooth = posed_keypoints(track.body, track.params)[:, columns]
    frames, times = track.frames, track.times
    before = errors(torch.stack(single)[frames], joints[frames], names)
    after = errors(smooth, joints[frames], names)
    jitters = jitter(before, times), jitter(after, times)
    right = ~before["flipped"]
    facing = right[1:-1] & right[:-2] & right[2:]
    cpu = {"frame_by_frame": single_seconds / len(joints), "clip": video_seconds / len(joints)}
    return {
        "frames": len(frames),
        "frame_by_frame": summary(before, jitters[0]),
        "clip": summary(after, jitters[1]),
        "difference": {
            "mpjpe_mm": interval(after["mpjpe_mm"] - before["mpjpe_mm"]),
            "pa_mpjpe_mm": interval(after["pa_mpjpe_mm"] - before["pa_mpjpe_mm"]),
            "mpjpe_mm_where_not_flipped": interval((after["mpjpe_mm"] - before["mpjpe_mm"])[right]),
            "pa_mpjpe_mm_where_not_flipped": interval((after["pa_mpjpe_mm"] - before["pa_mpjpe_mm"])[right]),
        },
        "jitter_ratio": float(jitters[1].mean() / jitters[0].mean()),
        "jitter_ratio_where_not_flipped": float(jitters[1][facing].mean() / jitters[0][facing].mean()),
        "interpolated": int(track.interpolated.sum()),
        "exchanged": np.flatnonzero(track.exchanged).tolist(),
        "spread_mm": 1000 * float(track.spread.mean()),
        "notes": video.notes,
        "cpu_seconds_per_frame_without_detector": cpu,
    }


def summary(found, jitters) -> dict[str, float]:
    flips = found["flipped"].astype(int)
    return {
        "mpjpe_mm": float(found["mpjpe_mm"].mean()),
        "worst_frame_mpjpe_mm": float(found["mpjpe_mm"].max()),
        "pa_mpjpe_mm": float(found["pa_mpjpe_mm"].mean()),
        "jitter_m_s2": float(jitters.mean()),
        "flipped_frames": int(flips.sum()),
        "changes_of_front": int(np.abs(np.diff(flips)).sum()),
    }


def table(record: dict) -> str:
    lines = [
        "# Clips: frame by frame against followed, linked and smoothed",
        "",
        "Command: `python benchmarks/photos/clips.py`. One man over 1.6 s in two cameras, truth from calibrated",
        "cameras: one small sample. Constants were chosen on m04 and on synthetic motion, but for `LinkConfig.change`",
        f"and `disbelief`, which were chosen after a look at m02. Read by {record['detector']}. Millimetres; jitter is",
        "the error of the acceleration, m/s^2.",
        "",
        "| clip | answer | MPJPE | worst frame | PA-MPJPE | jitter | flipped frames | changes of front |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for clip, found in record["clips"].items():
        for way, words in (("frame_by_frame", "frame by frame (M = 100)"), ("clip", "clip (M = 50)")):
            row = found[way]
            lines.append(
                f"| {clip} | {words} | {row['mpjpe_mm']:.1f} | {row['worst_frame_mpjpe_mm']:.0f} | "
                f"{row['pa_mpjpe_mm']:.1f} | {row['jitter_m_s2']:.1f} | {row['flipped_frames']} | "
                f"{row['changes_of_front']} |"
            )
    lines += [
        "",
        "Paired differences, clip minus frame by frame, with 95 % intervals over blocks of 10 frames; the last two on",
        "the frames in which the frame-by-frame answer faces the right way:",
        "",
        "| clip | MPJPE | PA-MPJPE | MPJPE, right way | PA-MPJPE, right way | jitter ratio | jitter ratio, right way |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for clip, found in record["clips"].items():
        cells = [f"{m:+.1f} ({low:+.1f} to {high:+.1f})" for m, low, high in found["difference"].values()]
        ratios = f"{found['jitter_ratio']:.3f} | {found['jitter_ratio_where_not_flipped']:.3f}"
        lines.append(f"| {clip} | {' | '.join(cells)} | {ratios} |")
    lines += ["", "What the clip's answer says of itself:", ""]
    for clip, found in record["clips"].items():
        lines.append(
            f"- {clip}: mean spread {found['spread_mm']:.0f} mm, {found['interpolated']} frames filled in, "
            f"{len(found['exchanged'])} frames with sides exchanged; CPU s per frame for two people "
            f"{found['cpu_seconds_per_frame_without_detector']['clip']:.2f}, without the detector"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=SHARED / "clips")
    parser.add_argument("--truth", type=Path, default=SHARED / "truth" / "gym_man_clips.npz")
    parser.add_argument("--sides", choices=("both", "as-read"), default="both", help="as-read: linked by motion alone")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/video.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(args.truth, allow_pickle=False) as file:
        truth = dict(file)
    clips = {name: measure(args.clips / f"gym_pair_{name}.mp4", truth, name, args.sides) for name in CLIPS}
    with MediapipeDetector() as detector:
        record = {"format_version": 1, "detector": detector.name, "sides": args.sides, "clips": clips}
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
