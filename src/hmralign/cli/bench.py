"""`hmralign bench`: the persons of the SynthWild benchmark, written to disk and held against the frozen hashes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class BenchOptions:
    """Write splits of the SynthWild benchmark; splits that are there already are checked."""

    out: Path
    """Folder of the benchmark."""
    splits: tuple[str, ...] = (
        "lab-v2/val",
        "lab-v2/test",
        "wild-v2/val",
        "wild-v2/test",
        "lab/val",
        "lab/test",
        "wild/val",
        "wild/test",
    )
    """Which splits; lab/train, broad/train and wild/train are needed for training, mocap/test needs --poses."""
    poses: Path | None = None
    """Motion-capture pose file, for mocap/test."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_bench(options: BenchOptions, terminal: Terminal) -> int:
    """Write the splits."""
    from hmralign.systems.synth.write_synthwild import write_benchmark

    agreement = write_benchmark(options.out, options.splits, options.poses)
    terminal.answer({"format_version": 1, "out": str(options.out), "splits": agreement})
    words = ", ".join(f"{split}: {how}" for split, how in agreement.items())
    terminal.say(f"{options.out} holds {words}")
    return 0
