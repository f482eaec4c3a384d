"""Clips of known truth with frames that are read from the wrong side by hand: what linking turns, before and after.

    python benchmarks/photos/planted_sides.py [--truth ../shared/data/truth/gym_man_clips.npz] [--hypotheses 6]

Writes docs/results/planted_sides.{json,md}; needs neither detector nor clip. Keypoints are the twelve true joints of
one man over 100 frames at 60 a second, as two networks might read them: heavy with noise of 1.5 % of his height in the
picture, full with 2 %. In the frames of each case heavy's left and right are exchanged; full then reads them rightly
("disagree"), or errs with it ("agree"). `as-read` links by motion alone, as clips were linked before their frames said
anything of their sides. Nothing was chosen on either clip. Intervals: blocks of 10 consecutive frames.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clips import CLIPS, SHARED, errors, interval
from hmralign import Recoverer
from hmralign.body.lbs import posed_keypoints
from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from hmralign.detection.detection import Detection, OtherReading
from hmralign.detection.observe import observe
from hmralign.fitting.detector_noise import noise_of
from hmralign.hypotheses.sides import Sides, SidesConfig, reading_probabilities
from hmralign.models.side_gate import shipped_side_gate
from hmralign.structures import Camera, Observation
from hmralign.systems.video.people import body_params
from hmralign.tracking.chunks import Chunk, ChunkFolder
from hmralign.tracking.clip_tracks import clip_tracks
from hmralign.tracking.frame_groups import FrameGroups, GroupConfig, OtherNetwork, frame_groups
from hmralign.tracking.video_config import VideoConfig

ROOT = Path(__file__).parents[2]
FPS = 60
CASES = {
    "none": [],
    "one frame": [50],
    "three": [50, 51, 52],
    "two apart": [10, 30],
    "sixteen": list(range(16, 32)),
    "every second of 24": list(range(16, 40, 2)),
    "all but sixteen": [*range(16), *range(32, 100)],
}


@dataclass(frozen=True)
class Scene:
    """One clip: truth, camera, what either network reads (frame, 27, 3), and the groups of heavy's reading as it is and
    exchanged, and of full's."""

    joints: torch.Tensor
    names: list[str]
    camera: Camera
    heavy: np.ndarray
    full: np.ndarray
    groups: FrameGroups


def scene_of(truth: dict, name: str, recoverer: Recoverer) -> Scene:
    names = [str(n) for n in truth["joint_names"]]
    columns = [KEYPOINT_NAMES.index(n) for n in names]
    joints, K = torch.from_numpy(truth[f"{name}_joints_cam_m"]).float(), truth[f"{name}_K"].astype(np.float64)
    seen = joints.numpy() @ K.T
    pixels = seen[..., :2] / seen[..., 2:]
    camera = Camera(torch.from_numpy(K).float(), int(2 * K[0, 2] + 1), int(2 * K[1, 2] + 1), "given")
    rng, size = np.random.default_rng(0), np.ptp(pixels, axis=1).max(1)[:, None, None]

    def read(noise: float) -> np.ndarray:
        points = np.zeros((len(joints), NUM_KEYPOINTS, 3), np.float32)
        points[:, columns, :2] = pixels + rng.normal(0, noise, pixels.shape) * size
        points[:, columns, 2] = 0.9
        return points

    heavy, full = read(0.015), read(0.02)
    ours, other = (Observation.stack([observe(person(p), camera) for p in points]) for points in (heavy, full))
    config = recoverer.config
    groups = frame_groups(
        recoverer._policy,
        ours,
        noise_of("mediapipe_heavy"),
        GroupConfig(config.sampler, config.refinement, 0),
        OtherNetwork(np.arange(len(joints)), other, noise_of("mediapipe")),
    )
    return Scene(joints, names, camera, heavy, full, groups)


def person(points: np.ndarray, other: np.ndarray | None = None) -> Detection:
    seen = points[points[:, 2] > 0, :2]
    alternative = None
    if other is not None:
        alternative = OtherReading(other[:, :2].copy(), other[:, 2].copy(), None, "mediapipe-0.10.21", ("body",))
    return Detection(
        points[:, :2].copy(), points[:, 2].copy(), np.concatenate([seen.min(0), seen.max(0)]), 0.9,
        detector="mediapipe_heavy-0.10.21", alternative=alternative,
    )  # fmt: skip


def chunk_of(scene: Scene, wrong: np.ndarray, disagree: bool, sides: Sides) -> Chunk:
    """The frames as they would have been answered with heavy's sides exchanged in those that are `wrong`."""
    count = len(wrong)
    order = np.where(wrong[:, None], [[1, 0, 2]], [[0, 1, 2]])
    groups = [
        np.take_along_axis(a, order.reshape(count, 3, *[1] * (a.ndim - 2)), 1) for a in vars(scene.groups).values()
    ]
    group, betas, misfit = groups
    absent = ~(wrong & disagree) | (sides == "as-read")
    misfit[absent, 2] = np.inf
    read = np.where(wrong[:, None, None], scene.heavy[:, list(MIRROR_KEYPOINTS)], scene.heavy)
    people = [person(r, None if gone else o) for r, o, gone in zip(read, scene.full, absent, strict=True)]
    gate, config, probability = shipped_side_gate(), SidesConfig(mode=sides), np.full((count, 3), np.nan, np.float32)
    probability[:, 1:] = [reading_probabilities(p, observe(p, scene.camera), gate, config) for p in people]
    return Chunk(
        time=np.arange(count) / FPS,
        size=np.tile([scene.camera.width, scene.camera.height], (count, 1)),
        cut=np.zeros(count, bool),
        K=np.tile(scene.camera.K.numpy(), (count, 1, 1)),
        frame=np.arange(count),
        box=np.stack([p.box for p in people]),
        keypoints=read[..., :2],
        confidence=read[..., 2],
        score=np.full(count, 0.9, np.float32),
        group=group,
        betas=betas,
        misfit=misfit,
        probability=probability,
        other=np.where(absent[:, None, None], 0, scene.full),
        left_out=np.zeros(2, np.int64),
        detector=np.array(("mediapipe_heavy-0.10.21", "")),
    )


def linked(scene: Scene, chunk: Chunk, recoverer: Recoverer) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames that were turned, and the errors of all."""
    with tempfile.TemporaryDirectory() as folder, ChunkFolder.held(Path(folder) / "work", {}) as chunks:
        chunks.commit(0, chunk)
        (track,) = clip_tracks(chunks, 1, recoverer.config.sampler.num_hypotheses, recoverer.body, VideoConfig()).tracks
    columns = [KEYPOINT_NAMES.index(n) for n in scene.names]
    return track.exchanged, errors(
        posed_keypoints(recoverer.body, body_params(track))[:, columns], scene.joints, scene.names
    )


def measure(scene: Scene, recoverer: Recoverer) -> list[dict]:
    rows = []
    for name, frames in CASES.items():
        wrong = np.isin(np.arange(len(scene.joints)), frames)
        for disagree in (True, False)[: 2 if frames else 1]:
            row, by = {"case": name, "networks": "disagree" if disagree else "agree", "planted": len(frames)}, {}
            for sides in ("as-read", "both"):
                turned, found = linked(scene, chunk_of(scene, wrong, disagree, sides), recoverer)
                by[sides] = found["mpjpe_mm"]
                row[sides] = {
                    "turned_rightly": int((turned & wrong).sum()),
                    "turned_wrongly": int((turned & ~wrong).sum()),
                    "mpjpe_mm": float(found["mpjpe_mm"].mean()),
                    "flipped_frames": int(found["flipped"].sum()),
                }
            rows.append({**row, "difference_mm": interval(by["both"] - by["as-read"])})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def table(record: dict) -> str:
    lines = [
        "# Frames read from the wrong side by hand, linked by motion alone and by what they say of themselves",
        "",
        f"Command: `python benchmarks/photos/planted_sides.py`, M = {record['hypotheses']}. One man, 100 frames at 60",
        "a second, true joints with noise as keypoints, so these are no errors of a detector. Two networks disagree in",
        "the planted frames or err alike. Nothing was chosen here. Before / after: `--sides as-read` (motion alone) /",
        "`both`. Frames turned, MPJPE in mm, frames that face away from the truth; the difference with 95 % intervals",
        "over blocks of 10.",
        "",
        "| clip | planted | networks | rightly turned | wrongly turned | facing away | MPJPE | difference |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for clip, found in record["clips"].items():
        for row in found["cases"]:
            a, b = row["as-read"], row["both"]
            low, high = row["difference_mm"][1:]
            pairs = [f"{a[n]} / {b[n]}" for n in ("turned_rightly", "turned_wrongly", "flipped_frames")]
            lines.append(
                f"| {clip} | {row['case']} ({row['planted']}) | {row['networks'] if row['planted'] else ''} | "
                f"{' | '.join(pairs)} | {a['mpjpe_mm']:.1f} / {b['mpjpe_mm']:.1f} | "
                f"{row['difference_mm'][0]:+.1f} ({low:+.1f} to {high:+.1f}) |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=SHARED / "truth" / "gym_man_clips.npz")
    parser.add_argument("--hypotheses", type=int, default=6)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/planted_sides.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recoverer, start = Recoverer.load("lite", detector=None, num_hypotheses=args.hypotheses), time.process_time()
    with np.load(args.truth, allow_pickle=False) as file:
        truth = dict(file)
    clips = {name: {"cases": measure(scene_of(truth, name, recoverer), recoverer)} for name in CLIPS}
    record = {"format_version": 1, "hypotheses": args.hypotheses, "cpu_s": time.process_time() - start, "clips": clips}
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
