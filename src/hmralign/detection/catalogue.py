"""Detectors by the words that a user writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from hmralign.detection.detection import Detector
from hmralign.detection.names import DETECTORS, wrong_folder
from hmralign.structures import InputError
from hmralign.structures.extensions import is_extension, load_extension, made_by


@dataclass(frozen=True)
class DetectorSetting:
    """What a detector is made for."""

    folder: Path | None = None
    """Where its models are, for those that read them from a folder of the user's."""
    device: str | torch.device = "cpu"
    one_person: bool = False
    """Whether each picture is of one person who fills it, so that nobody has to be looked for in parts of it."""


def make_detector(name: str, setting: DetectorSetting) -> Detector:
    """The detector of that name, one of `DETECTORS` or code of the user's own, which is called with the setting.

    Raises InputError for a name that is no detector, a folder that does not go with it, code of the user's that makes
    none, and as the detector's own function does.
    """
    if name not in DETECTORS and not is_extension("detectors", name):
        known = ", ".join(f"'{n}'" for n in DETECTORS)
        raise InputError(f"detector is '{name}'; expected {known}, none, FILE.py:FUNCTION, or (in Python) an object")
    if (wrong := wrong_folder(name, setting.folder)) is not None:
        raise InputError(wrong)
    made = made_by(name, load_extension("detectors", DETECTORS.get(name, name)), setting=setting)
    if not isinstance(made, Detector):
        raise InputError(f"{name}: made a {type(made).__name__}, which is no detector (`hmralign.detection.detection`)")
    return made


@contextmanager
def running_detector(name: str, setting: DetectorSetting) -> Iterator[Detector]:
    """`make_detector`, for a block at whose end a detector that runs in a process of its own is closed."""
    detector = make_detector(name, setting)
    try:
        yield detector
    finally:
        if callable(close := getattr(detector, "close", None)):
            close()


def noise_name(name: str, detector: Detector) -> str:
    """What `fitting.detector_noise` knows a detector's noise by: its own file, its own name, or the name it was asked
    for by."""
    of_its_own = getattr(detector, "noise_file", None) or getattr(detector, "name", None)
    return str(of_its_own or (name if name in DETECTORS else type(detector).__name__))
