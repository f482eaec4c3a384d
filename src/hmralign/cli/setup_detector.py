"""`hmralign setup-detector`: the person detector in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class SetupDetectorOptions:
    """Install the person detector (mediapipe) into an environment of its own, about 400 MB, and test it."""

    path: Path | None = None
    """Where; the default is the user's cache folder, or what the variable HMRALIGN_DETECTOR_ENV says."""
    force: bool = False
    """Install anew even if a working one is there."""
    quiet: bool = False
    """Say nothing but errors."""


def run_setup_detector(options: SetupDetectorOptions, terminal: Terminal) -> int:
    """Install, test, and say where."""
    from hmralign.detection.environment import setup_detector_environment

    folder = setup_detector_environment(options.path, force=options.force)
    terminal.say(f"The detector is ready in {folder}")
    return 0
