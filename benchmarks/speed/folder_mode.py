"""`hmralign recover` of a folder with the detector: CPU seconds a person, and how busy two cores would be.

    python benchmarks/speed/folder_mode.py [--photos 6] [--more --no-pictures]

The folder holds drawn photos of two people; the command runs as a child, 20 hypotheses. CPU seconds are those of the
command and the detector's process, opening included. How busy: ten times a second the threads of both processes that
run or could run are counted from /proc; the figure is the mean of min(threads, 2) / 2 from the first finished photo to
the last. On a loaded machine a thread that could run may wait for a core, which does not change what it would use of
two cores of its own; threads that wait for the detector, a file or Python's interpreter lock do not count.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drawn_people import write_photos

CORES = 2
EVERY = 0.1
"""Seconds between two looks."""


def could_run(pid: int) -> int:
    """Threads of a process and its descendants that run or wait for nothing but a core."""
    states, waiting = 0, [pid]
    while waiting:
        for thread in Path(f"/proc/{waiting.pop()}/task").glob("*"):
            try:
                states += (thread / "stat").read_text().rpartition(")")[2].split()[0] == "R"
                waiting += [int(child) for child in (thread / "children").read_text().split()]
            except OSError:
                continue  # it has ended
    return states


def measured(folder: Path, photos: int = 6, more: tuple[str, ...] = ()) -> dict[str, float]:
    """Rows of docs/results/speed_aims.md."""
    pictures, out = write_photos(folder / "photos", photos), folder / "out"
    command = [sys.executable, "-m", "hmralign.cli", "recover", str(pictures), "--out", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.Popen([*command, "--num-hypotheses", "20", "--quiet", *more])
    looks: list[tuple[int, int]] = []
    while run.poll() is None:
        looks.append((len(list(out.glob("*/photo.json"))) if out.is_dir() else 0, could_run(run.pid)))
        time.sleep(EVERY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, f"recover ended with {run.returncode}"
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    busy = [min(threads, CORES) / CORES for done, threads in looks if 0 < done < photos]
    return {
        "recover of a folder with the detector, persons per CPU s": 2 * photos / spent,
        "of two cores busy meanwhile": statistics.mean(busy),
        "looks behind that": len(busy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--more", nargs=argparse.REMAINDER, default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measured(Path(folder), arguments.photos, tuple(arguments.more)).items():
            print(f"{value:8.3f}  {name}")


if __name__ == "__main__":
    main()
