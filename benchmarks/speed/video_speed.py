"""How fast clips are answered where keypoints are given, and how much memory they take.

    python benchmarks/speed/video_speed.py [--frames 300] [--hypotheses 50] [--memory-frames 10000] [--threads 1]

Writes docs/results/video_speed.{json,md}. The clip is a stream of blank frames with one synthetic person who walks
(no pictures are drawn or decoded), so what is measured is estimating, following, linking and smoothing.
"""

import argparse
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hmralign import Recoverer
from hmralign.data.video.clip import Frame
from hmralign.systems.recover.demo_scene import FOCAL, HEIGHT, WIDTH, demo_scene
from hmralign.systems.video.answer_frames import FrameAnswers
from hmralign.systems.video.people import recover_clip
from hmralign.systems.video.ways_in import GivenPeople, clip_camera
from hmralign.tracking.video_config import VideoConfig

ROOT = Path(__file__).parents[2]
BLANK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


class BlankClip:
    """Frames without content."""

    name, sha256, notes = "synthetic", "0", []

    def __init__(self, count: int):
        self.count = count

    def frames(self):
        for number in range(self.count):
            yield Frame(number, number / 30, BLANK, f"{number}")


class Walking(Sequence):
    """Keypoints of one person by frame, made when they are asked for."""

    def __init__(self, body, count: int):
        self.points, self.count = demo_scene(body).keypoints[0].astype(np.float64), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        moved = self.points.copy()
        moved[:, :2] += rng.normal(0, 2, (27, 2)) + np.array([60 * np.sin(number / 40), 4 * np.sin(number / 7)])
        return moved[None]


def resident_mb() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(recoverer: Recoverer, count: int) -> dict:
    clip = BlankClip(count)
    given = GivenPeople(Walking(recoverer.body, count), clip)
    K = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
    answers = FrameAnswers(
        recoverer._policy, given, clip_camera(K, None), recoverer.config, VideoConfig(), lambda _: None
    )
    seen, stop = [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            seen.append((time.perf_counter(), resident_mb()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = recover_clip(clip, answers, Path(folder) / "work", {"n": count}, list)
        disk = sum(f.stat().st_size for f in Path(folder).rglob("*.npz")) / 2**20
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    stop.set()
    watcher.join()
    after = [mb for at, mb in seen if at > start + 0.1 * wall]
    return {
        "frames": count,
        "tracks": [len(t) for t in found.tracks],
        "wall_s": wall,
        "cpu_s": cpu,
        "frames_per_cpu_second": count / cpu,
        "frames_per_second": count / wall,
        "seconds": found.seconds,
        "rss_mb_after_a_tenth": after[0] if after else resident_mb(),
        "rss_mb_most": max(after, default=resident_mb()),
        "disk_mb": disk,
    }


def table(record: dict) -> str:
    speed, memory = record["speed"], record["memory"]
    return (
        "# Speed and memory of clips with given keypoints\n\n"
        "Command: `python benchmarks/speed/video_speed.py`. One synthetic person, no pictures; each frame is estimated "
        f"in two readings. {record['threads']} threads, {record['cpus']} CPUs shared with other work, so CPU seconds "
        "count. Memory is that of the whole process.\n\n"
        "| | speed | memory |\n| --- | ---: | ---: |\n"
        f"| frames | {speed['frames']} | {memory['frames']} |\n"
        f"| hypotheses for each reading | {speed['hypotheses']} | {memory['hypotheses']} |\n"
        f"| CPU seconds a frame | {speed['cpu_s'] / speed['frames']:.3f} | {memory['cpu_s'] / memory['frames']:.3f} |\n"
        f"| frames a CPU second | {speed['frames_per_cpu_second']:.1f} | {memory['frames_per_cpu_second']:.1f} |\n"
        f"| frames a second, wall clock | {speed['frames_per_second']:.1f} | {memory['frames_per_second']:.1f} |\n"
        f"| memory after a tenth of the time, MB | | {memory['rss_mb_after_a_tenth']:.0f} |\n"
        f"| memory at most after that, MB | | {memory['rss_mb_most']:.0f} |\n"
        f"| answered frames on disk, MB | {speed['disk_mb']:.0f} | {memory['disk_mb']:.0f} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="of the run that measures speed")
    parser.add_argument("--hypotheses", type=int, default=50)
    parser.add_argument("--memory-frames", type=int, default=10_000, help="of the run that measures memory")
    parser.add_argument("--memory-hypotheses", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/video_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    record = {"format_version": 1, "machine": platform.machine(), "cpus": os.cpu_count(), "threads": args.threads}
    for name, frames, hypotheses in (
        ("memory", args.memory_frames, args.memory_hypotheses),
        ("speed", args.frames, args.hypotheses),
    ):
        recoverer = Recoverer.load("lite", detector=None, num_hypotheses=hypotheses)
        run(recoverer, 64)  # what is loaded and compiled once
        record[name] = {"hypotheses": hypotheses, **run(recoverer, frames)}
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(table(record))


if __name__ == "__main__":
    main()
