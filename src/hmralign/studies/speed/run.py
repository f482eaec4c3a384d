"""One run of the bench: stages timed beside the roofline, a comparison with an earlier run, two versions in turns.

Seconds of two runs do not compare: machines are busy. So a stage is also told in *products*, its CPU seconds over those
of a matrix product in the same run, and only these are held against an earlier file. Two versions of the package are
compared in one run, stage by stage in turns, by the median of the ratios of neighbours.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.json_file import HEADER, parse_json, read_record
from hmralign.structures import InputError
from hmralign.studies.speed.stages import Stage, opened_setting, stage_names, stages
from hmralign.studies.speed.stopwatch import Roofline, counted_work, measured_roofline, peak_megabytes, timed

logger = logging.getLogger("hmralign.bench")

FORMAT_VERSION = 1
PRODUCT_FLOPS = 1e9
"""Operations of one *product*."""
SLOWER = 1.5
"""A stage is reported where it takes that much more products than in the earlier run; less is noise here."""

Progress = Callable[[Sequence[Any], str], Iterable[Any]]


def straight(items: Sequence[Any], what: str) -> Iterable[Any]:
    """Progress that shows nothing."""
    return items


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(), "system": platform.platform(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "load": load, "python": platform.python_version(),
        "torch": torch.__version__,
    }  # fmt: skip


def run_speed(chosen: tuple[str, ...] = (), *, repeats: int = 5, progress: Progress = straight) -> dict[str, Any]:
    """Time the chosen kinds of stages, or all; the document. Raises InputError for a kind that there is not."""
    with opened_setting() as setting:
        rows, rooflines = [], []
        for stage in progress(list(stages(setting, chosen or stage_names())), "timing"):
            rooflines.append(measured_roofline(3))
            rows.append(_row(stage, repeats, rooflines[-1]))
    return {
        "format_version": FORMAT_VERSION, "machine": machine(), "repeats": repeats,
        "roofline": _median_roofline(rooflines).record(), "stages": rows, "peak_megabytes": round(peak_megabytes(), 1),
    }  # fmt: skip


def _row(stage: Stage, repeats: int, roofline: Roofline) -> dict[str, Any]:
    took = timed(stage.work, repeats)
    amount = counted_work(stage.work)
    product = PRODUCT_FLOPS / roofline.flops_per_second
    return {
        "name": stage.name, "what": stage.what, "items": stage.items, "wall_seconds": took.wall,
        "cpu_seconds": took.cpu,
        "per_cpu_second": stage.items / took.cpu if took.cpu > 0 else 0.0, "products": took.cpu / product,
        "gigaflop": amount.flops / 1e9, "gigabytes": amount.bytes / 1e9, **amount.note(took.cpu, roofline),
        "peak_megabytes": round(peak_megabytes(), 1),
    }  # fmt: skip


def _median_roofline(found: Sequence[Roofline]) -> Roofline:
    return Roofline(
        statistics.median(r.flops_per_second for r in found), statistics.median(r.bytes_per_second for r in found)
    )


def slower_stages(document: dict[str, Any], earlier: Path, most: float = SLOWER) -> list[str]:
    """Stages that take more products than in an earlier run's file, in words.

    Raises InputError for a file that is none, and where no stage is in both.
    """
    there = read_record(earlier, "the record of a bench", FORMAT_VERSION)
    before = {row["name"]: row["products"] for row in there["stages"]}
    both = [row for row in document["stages"] if row["name"] in before]
    if not both:
        raise InputError(f"{earlier}: has none of these stages")
    return [
        f"{row['name']}: {row['products'] / before[row['name']]:.2f} times the products"
        for row in both
        if row["products"] > most * before[row["name"]]
    ]


# -- two versions ------------------------------------------------------------------------------------------------------


def compare_versions(
    other: Path, chosen: tuple[str, ...] = (), *, rounds: int = 7, progress: Progress = straight
) -> dict[str, Any]:
    """Time this version and the one whose sources lie in `other`, stage by stage in turns; the document.

    Raises InputError for a folder without the package, and where that version cannot time its stages.
    """
    if not (other / "hmralign").is_dir():
        raise InputError(f"{other}: has no folder hmralign; expected the `src` of another checkout")
    own = Path(__file__).parents[3]
    with ExitStack() as running:
        ours, theirs = (running.enter_context(_Timer(source, chosen)) for source in (own, other))
        names = [name for name in ours.names if name in theirs.names]
        if not names:
            raise InputError(f"{other}: has none of these stages")
        rows = [_paired(name, ours, theirs, rounds) for name in progress(names, "timing in turns")]
    return {
        "format_version": FORMAT_VERSION, "machine": machine(), "rounds": rounds, "other": str(other), "stages": rows
    }  # fmt: skip


def _paired(name: str, ours: _Timer, theirs: _Timer, rounds: int) -> dict[str, Any]:
    pairs = []
    for number in range(rounds + 1):
        order = (ours, theirs) if number % 2 else (theirs, ours)  # who is first is nobody's advantage
        took = {timer: timer.seconds(name) for timer in order}
        pairs.append((took[ours], took[theirs]))
    kept = pairs[1:]  # the first one warms up
    ratios = sorted(theirs / max(ours, 1e-9) for ours, theirs in kept)
    return {
        "name": name, "cpu_seconds": statistics.median(a for a, _ in kept),
        "other_cpu_seconds": statistics.median(b for _, b in kept), "faster_by": statistics.median(ratios),
        "least": ratios[0], "most": ratios[-1],
    }  # fmt: skip


class _Timer:
    """A process of one version that times a stage when it is asked."""

    def __init__(self, source: Path, chosen: tuple[str, ...]) -> None:
        self.source, self.chosen = source, chosen
        self.names: list[str] = []

    def __enter__(self) -> _Timer:
        paths = os.pathsep.join([str(self.source), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "hmralign.studies.speed.timer", str(torch.get_num_threads()), *self.chosen]
        self._process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.names = self._read()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seconds(self, name: str) -> float:
        """CPU seconds of one call of a stage."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(name) + "\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise InputError(f"{self.source}: this version cannot time its stages")
        return parse_json(line, HEADER)["said"]


# -- tables ------------------------------------------------------------------------------------------------------------


def speed_markdown(document: dict[str, Any]) -> str:
    """The document as a page."""
    found, roofline = document["machine"], document["roofline"]
    rows = [
        [
            row["name"], f"{1000 * row['wall_seconds']:.2f}", f"{1000 * row['cpu_seconds']:.2f}",
            f"{row['per_cpu_second']:,.0f} {row['what']}", f"{row['products']:.3g}", f"{row['gflops']:.3g}",
            f"{row['gigabytes_per_second']:.3g}", f"{100 * row['share_of_roofline']:.0f} %", row["bound_by"],
        ]
        for row in document["stages"]
    ]  # fmt: skip
    header = ["stage", "wall ms", "CPU ms", "per CPU s", "products", "GFLOP/s", "GB/s", "of the roofline", "bound by"]
    return (
        f"# Speed of the stages\n\n{found['processor']}, threads: {found['threads']}, torch {found['torch']}, load "
        f"{found['load']:.1f}; medians of {document['repeats']}, warm. Beside them a matrix product reached "
        f"{roofline['gflops']:.0f} GFLOP/s and a copy {roofline['gigabytes_per_second']:.1f} GB/s, per CPU second. "
        "A *product* is a thousand million operations of that matrix product: it compares runs, seconds do not. "
        f"Most memory: {document['peak_megabytes']:,.0f} MB.\n"
        "Made by `hmralign bench speed`.\n\n"
        f"{markdown_table(header, rows)}\n"
    )


def comparison_markdown(document: dict[str, Any]) -> str:
    """Two versions as a page."""
    rows = [
        [
            row["name"], f"{1000 * row['cpu_seconds']:.2f}", f"{1000 * row['other_cpu_seconds']:.2f}",
            f"{row['faster_by']:.2f}x", f"{row['least']:.2f} to {row['most']:.2f}",
        ]
        for row in document["stages"]
    ]  # fmt: skip
    header = ["stage", "CPU ms", "the other's", "faster by", "of all rounds"]
    return f"# Two versions in turns\n\n{document['rounds']} rounds.\n\n{markdown_table(header, rows)}\n"


def _processor() -> str:
    """Name of the processor, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
