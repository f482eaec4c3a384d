"""Photos of two drawn people as a folder, and who is in them, as a detector of the user's own that costs nothing.

hmralign groups FOLDER --detector benchmarks/speed/drawn_people.py:make
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from startup_and_pictures import drawn_photo

MAKE = f"{Path(__file__)}:make"


def write_photos(folder: Path, count: int) -> Path:
    """That many copies of `drawn_photo`; returns the folder."""
    folder.mkdir()
    Image.fromarray(drawn_photo()[0]).save(folder / "000.jpg", quality=92)
    for number in range(1, count):
        shutil.copy(folder / "000.jpg", folder / f"{number:03d}.jpg")
    return folder


class DrawnPeople:
    """The two people of `drawn_photo`, by their exact keypoints (`hmralign.detection.detection.Detector`)."""

    name = "drawn"

    def __init__(self) -> None:
        from hmralign.detection.find_people import people_from_array

        self.people = people_from_array(drawn_photo()[1])

    def __call__(self, image: np.ndarray) -> list:
        return list(self.people)

    def detect_in_box(self, image: np.ndarray, box: np.ndarray) -> None:
        """Nobody is asked for by a box."""


def make(setting: object) -> DrawnPeople:
    """The detector, whatever the setting."""
    return DrawnPeople()
