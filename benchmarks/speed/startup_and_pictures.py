"""What a user waits for beside the answer itself: starting, and drawing.

    python benchmarks/speed/startup_and_pictures.py --say before|after [--out FOLDER] [--keep FOLDER]

CPU seconds (user and system) of fresh processes, median of 5: importing, loading, help pages, a mistyped checkpoint;
and of this process, one thread, median of 3: recovering and saving a drawn photo of two people of 1600 pixels' height,
100 hypotheses each, with and without pictures. Results are kept by the word of `--say` beside each other in
docs/results/startup_and_pictures.{json,md}. `--keep` leaves the saved folder for a comparison by pixel.
"""

from __future__ import annotations

import argparse
import inspect
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NAME = "startup_and_pictures"
HYPOTHESES = 100

COMMANDS = {
    "python: import hmralign": ("-c", "import hmralign"),
    "python: from hmralign import Recoverer": ("-c", "from hmralign import Recoverer"),
    "python: Recoverer.load, import included": (
        "-c",
        "from hmralign import Recoverer; Recoverer.load(detector=None)",
    ),
    "hmralign --help": ("-m", "hmralign.cli", "--help"),
    "hmralign recover --help": ("-m", "hmralign.cli", "recover", "--help"),
    "hmralign recover with a mistyped checkpoint": ("-m", "hmralign.cli", "recover", __file__, "--checkpoint", "lte"),
}


def child_seconds(command: tuple[str, ...]) -> float:
    """CPU seconds of a fresh Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def drawn_photo() -> tuple[np.ndarray, np.ndarray]:
    """A drawn photo of 2560 x 1600 pixels and the keypoints of the two people in it, side by side."""
    from hmralign.body.free_body import load_free_body
    from hmralign.systems.recover.demo_scene import demo_scene

    scene = demo_scene(load_free_body("7k"))
    photo = Image.fromarray(np.concatenate([scene.rgb, scene.rgb], axis=1))
    people = np.repeat(scene.keypoints.astype(np.float64), 2, axis=0)
    people[1, :, 0] += scene.rgb.shape[1]
    people[..., :2] = (people[..., :2] + 0.5) * 2 - 0.5
    return np.asarray(photo.resize((2 * photo.width, 2 * photo.height))), people


def process_seconds(job: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of this process."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(keep: Path | None) -> dict[str, float]:
    """All rows: what is done, and its CPU seconds."""
    from hmralign import Recoverer

    rows = {name: statistics.median(child_seconds(command) for _ in range(5)) for name, command in COMMANDS.items()}
    torch.set_num_threads(1)
    photo, keypoints = drawn_photo()
    recoverer = Recoverer.load(detector=None, num_hypotheses=HYPOTHESES)
    with tempfile.TemporaryDirectory() as folder:
        people = recoverer(photo, keypoints=keypoints)
        people.save(keep or Path(folder, "warm"), overwrite=True)  # compiles the kernels
        rows["recovering 2 people"] = process_seconds(lambda: recoverer(photo, keypoints=keypoints))
        saved = Path(folder, "saved")
        rows["saving 2 people, pictures and report"] = process_seconds(lambda: people.save(saved, overwrite=True))
        rows["MB saved"] = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file()) / 1e6
        if "pictures" in inspect.signature(people.save).parameters:
            bare = Path(folder, "bare")
            rows["saving 2 people without pictures"] = process_seconds(
                lambda: people.save(bare, overwrite=True, pictures=False)
            )
    return rows


def page(said: dict[str, dict]) -> str:
    """Both runs side by side."""
    names = list(dict.fromkeys(name for run in said.values() for name in run["rows"]))
    cells = {n: [f"{run['rows'][n]:.2f}" if n in run["rows"] else "" for run in said.values()] for n in names}
    rows = [f"| {name} | {' | '.join(values)} |" for name, values in cells.items()]
    return "\n".join(
        [
            "# What a user waits for beside the answer",
            "",
            "CPU seconds on one thread; fresh processes: median of 5, user and system time; recovering and saving a",
            f"drawn photo of two people, {HYPOTHESES} hypotheses each: median of 3, kernels compiled.",
            "Made by `python benchmarks/speed/startup_and_pictures.py --say WORD`.",
            "",
            f"| what | {' | '.join(said)} |",
            f"| --- |{' ---: |' * len(said)}",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--say", required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    file = arguments.out / f"{NAME}.json"
    said = json.loads(file.read_text()) if file.is_file() else {}
    said[arguments.say] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": measure(arguments.keep),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said, indent=2) + "\n")
    (arguments.out / f"{NAME}.md").write_text(page(said))
    print(page(said))


if __name__ == "__main__":
    main()
