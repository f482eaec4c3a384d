"""`hmralign setup-detector`: the person detector in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class SetupDetectorOptions:
    """Install the person detector (mediapipe) into an environment of its own, about 400 MB, and test it.

    The heavy weights of its landmark network (28 MB, Apache-2.0) are added: from --heavy FILE, else by the detector
    library's own downloader, else by npm where that is installed. Without them people are read with the full weights.
    """

    path: Path | None = None
    """Where; the default is the user's cache folder, or what the variable HMRALIGN_DETECTOR_ENV says."""
    heavy: Path | None = None
    """File of the heavy weights, pose_landmark_heavy.tflite, or the npm package with it (.tgz); nothing is fetched."""
    check: bool = False
    """Install nothing; say what is installed, with versions and the hash of the heavy weights."""
    force: bool = False
    """Install anew even if a working one is there."""
    quiet: bool = False
    """Say nothing but errors."""


def run_setup_detector(options: SetupDetectorOptions, terminal: Terminal) -> int:
    """Install, test, and say where; or say what is there."""
    from hmralign.detection.environment import environment_python, setup_detector_environment
    from hmralign.detection.heavy_network import add_heavy, tell_what_is_missing

    if options.check:
        if options.force or options.heavy is not None:
            raise UsageError("--check installs nothing; expected it without --force and --heavy")
        return _check(options.path, terminal)
    folder = setup_detector_environment(options.path, force=options.force)
    state = add_heavy(folder, environment_python(folder), options.heavy)
    tell_what_is_missing(state)
    terminal.say(f"The detector is ready in {folder}, with the {'heavy' if state.ready else 'full'} landmark network")
    return 0


def _check(path: Path | None, terminal: Terminal) -> int:
    from hmralign.detection.environment import installed_versions, require_detector_environment
    from hmralign.detection.heavy_network import HEAVY_NAME, heavy_state, tell_what_is_missing

    folder = require_detector_environment(path)
    state = heavy_state(folder)
    terminal.say(f"The detector is installed in {folder}")
    terminal.say(", ".join(f"{name} {version}" for name, version in installed_versions(folder).items()))
    terminal.say(f"{HEAVY_NAME}: {state.state}" + (f", SHA-256 {state.sha256}" if state.sha256 else ""))
    tell_what_is_missing(state)
    return 0
