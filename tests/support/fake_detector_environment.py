"""A finished detector environment whose Python, whatever it is told to run, runs the fake worker."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

from hmralign.detection.environment import MARKER
from hmralign.detection.heavy_network import HEAVY_NAME
from hmralign.detection.person_candidates import Finding
from support.detection_support import stick_person

WORKER = Path(__file__).with_name("fake_detector_worker.py")
SIDE = 400
"""Height and width of the photos, pixels."""
LAST_TAG = 250
"""Tags up to this one leave the person within the photo."""


def make_fake_environment(folder: Path) -> Path:
    """The folder of an environment, for `MediapipeDetector` or the variable HMRALIGN_DETECTOR_ENV."""
    (folder / "bin").mkdir(parents=True)
    worker = shutil.copy(WORKER, folder / "bin" / "worker.py")
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -I {shlex.quote(str(worker))}\n")
    python.chmod(0o755)
    person = stick_person(70.0, 200.0, 200.0)
    np.savez(folder / "bin" / "person.npz", landmarks=person.landmarks, world=person.world, alpha=person.alpha)
    (folder / MARKER).write_text(json.dumps({"format": 1}))
    return folder


def add_fake_heavy(folder: Path, person: Finding, content: bytes) -> Path:
    """Let a fake environment have heavy weights, which read this person; returns their file."""
    np.savez(folder / "bin" / "heavy.npz", landmarks=person.landmarks, world=person.world, alpha=person.alpha)
    place = folder / "lib" / "python3.11" / "site-packages" / "mediapipe" / "modules" / "pose_landmark"
    place.mkdir(parents=True)
    (place / HEAVY_NAME).write_bytes(content)
    return place / HEAVY_NAME


def photo_of_person(tag: int) -> np.ndarray:
    """A photo in which the fake worker finds one person, `tag` pixels to the right."""
    rgb = np.full((SIDE, SIDE, 3), 90, np.uint8)
    rgb[0, 0, 0], rgb[0, 1, 0] = 7, tag
    return rgb
