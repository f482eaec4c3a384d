"""Which record of a data set each prediction of another system is of: by its name, else by photo and box.

    prediction: /any/where/imageFiles/walk_00/image_00012.jpg, box     record: walk_00/image_00012.jpg, box
    the same photo    one path ends in the other, whatever the photo's suffix is
    the same person   boxes that overlap most, each with one; less than `LEAST_OVERLAP` is somebody else

A record without a prediction stays without one: whoever prints figures says how many there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from scipy.optimize import linear_sum_assignment

from hmralign.detection.boxes import box_iou
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

LEAST_OVERLAP = 0.3
"""Intersection over union below which two boxes are of different people."""


@dataclass(frozen=True)
class Persons:
    """Who is to be told apart."""

    names: Sequence[str]
    images: Sequence[str]
    """Photos; empty where they are not known."""
    boxes: np.ndarray
    """(N, 4) corners, pixels; NaN where there is none."""


def matched(records: Persons, predictions: Persons) -> np.ndarray:
    """(records,) number of each record's prediction, -1 where it has none.

    Raises InputError where a photo's name fits several photos of the data set, where boxes would be needed and are not
    there, and where nobody is matched at all.
    """
    by_name = {name: place for place, name in enumerate(predictions.names)}
    found = np.array([by_name.get(name, -1) for name in records.names], np.int64)
    if (found < 0).all():
        found = _by_photo(records, predictions)
    if (found < 0).all():
        raise InputError(
            f"none of {counted(len(predictions.names), 'prediction')} is of a record of the data set: "
            f"predictions are of '{shown(_first(predictions))}', records of '{shown(_first(records))}'"
        )
    return found


def _first(persons: Persons) -> str:
    return next((image for image in persons.images if image), persons.names[0] if len(persons.names) else "nobody")


def _by_photo(records: Persons, predictions: Persons) -> np.ndarray:
    found = np.full(len(records.names), -1, np.int64)
    of_photo: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(records.images):
        if image:
            of_photo[image].append(place)
    photos = _Photos(of_photo)
    predicted: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(predictions.images):
        if image and (photo := photos.find(image)) is not None:
            predicted[photo].append(place)
    for photo, those in predicted.items():
        for record, prediction in _pairs(records, of_photo[photo], predictions, those, photo):
            found[record] = prediction
    return found


def _pairs(
    records: Persons, rows: list[int], predictions: Persons, columns: list[int], photo: str
) -> list[tuple[int, int]]:
    a, b = records.boxes[rows], predictions.boxes[columns]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        if len(rows) == len(columns) == 1:
            return [(rows[0], columns[0])]
        raise InputError(
            f"'{shown(photo)}' has {counted(len(rows), 'record')} and {counted(len(columns), 'prediction')}, and a box "
            "is missing that would tell who is who"
        )
    overlap = np.array([[box_iou(one, other) for other in b] for one in a])
    chosen = zip(*linear_sum_assignment(-overlap), strict=True)
    return [(rows[i], columns[j]) for i, j in chosen if overlap[i, j] >= LEAST_OVERLAP]


class _Photos:
    """Photos of a data set by the ends of their paths."""

    def __init__(self, photos: dict[str, list[int]]) -> None:
        self.ends: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for photo in photos:
            parts = _parts(photo)
            for length in range(1, len(parts) + 1):
                self.ends[parts[-length:]].append(photo)

    def find(self, image: str) -> str | None:
        """The photo that a path means; None where it means none. Raises InputError where it may mean several."""
        parts = _parts(image)
        for length in range(len(parts), 0, -1):
            fitting = self.ends.get(parts[-length:], [])
            whole = [photo for photo in fitting if length in (len(parts), len(_parts(photo)))]
            if len(whole) == 1:
                return whole[0]
            if whole:
                raise InputError(
                    f"predictions are of '{shown(image)}', which may be {counted(len(whole), 'photo')} of the data set "
                    f"('{shown(whole[0])}' is one); expected paths that say which"
                )
            if fitting:
                return None
        return None


def _parts(path: str) -> tuple[str, ...]:
    pure = PurePosixPath(path.replace("\\", "/"))
    return (*(part for part in pure.parts[:-1] if part not in ("/", ".", "..")), pure.stem)
