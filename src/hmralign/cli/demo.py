"""`hmralign demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class DemoOptions:
    """Recover a bundled photo (NASA portrait of Eileen Collins) and a rendered scene whose truth is known."""

    out: Path = Path("runs/demo")
    """Folder for the results; earlier ones of the demo are replaced."""
    num_hypotheses: int = 100
    """Bodies sampled per person."""
    seed: int = 0
    """Of all random numbers."""
    quiet: bool = False
    """Say nothing but errors."""


def run_demo(options: DemoOptions, terminal: Terminal) -> int:
    """Recover both, compare the second with its truth, and name the page that links both."""
    return 0
