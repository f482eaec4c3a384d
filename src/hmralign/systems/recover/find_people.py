"""Who is in the photo: from the detector, from boxes that the detector reads, or from keypoints that are given.

Boxes and keypoints are in pixels of the original photo (before a very large one was reduced); the people that come back
are in pixels of the photo as loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.images import LoadedImage
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.keypoint_files import read_people
from hmralign.geometry.cameras import scaled_pixels
from hmralign.structures import InputError
from hmralign.systems.recover.observe import in_loaded_pixels, photo_title

logger = logging.getLogger("hmralign.recover")

Box = tuple[float, float, float, float]

ARRAY_CONVENTIONS = {17: "COCO", 23: "COCO and feet", NUM_KEYPOINTS: "all keypoints of hmralign"}
"""Numbers of keypoints an array may have: each is the beginning of `skeleton.KEYPOINT_NAMES`."""


class NobodyFound(InputError):
    """There is no person in the photo, or none where the boxes say."""


@dataclass(frozen=True)
class PeopleFound:
    """People of one photo, and the boxes (pixels of the original photo) in which the detector saw nobody."""

    detections: list[Detection]
    empty_boxes: list[Box]


def find_people(
    image: LoadedImage,
    detector: Detector | None,
    boxes: str | Path | np.ndarray | None = None,
    keypoints: str | Path | np.ndarray | None = None,
) -> PeopleFound:
    """The people to estimate, in the order of the file or array, else the most certain first.

    Raises:
        NobodyFound: the detector sees nobody, or nobody in any of the boxes.
        InputError: boxes and keypoints are both given, a file or an array is wrong, or a detector is needed but absent.
    """
    if boxes is not None and keypoints is not None:
        raise InputError("both boxes and keypoints are given; expected at most one of them")
    if keypoints is not None:
        people = _given_people(image, keypoints)
        bare = next((number for number, p in enumerate(people) if not p.has_keypoints), None)
        if bare is not None:
            raise InputError(f"person {bare} of '{image.name}' has no keypoints; give a file of boxes as boxes")
        return PeopleFound([in_loaded_pixels(p, image) for p in people], [])
    if boxes is not None:
        return _read_boxes(image, detector, _given_boxes(image, boxes))
    found = _required(detector)(image.rgb)
    if not found:
        raise NobodyFound(
            f"nobody was found in '{image.name}'; expected at least one person, or give boxes or keypoints"
        )
    return PeopleFound(found, [])


def _required(detector: Detector | None) -> Detector:
    if detector is None:
        raise InputError("no detector is in use; expected keypoints, or a detector that finds people")
    return detector


def _given_people(image: LoadedImage, keypoints: str | Path | np.ndarray) -> list[Detection]:
    if isinstance(keypoints, str | Path):
        return read_people(keypoints, photo_title(image), _original_size(image))
    return people_from_array(keypoints)


def _given_boxes(image: LoadedImage, boxes: str | Path | np.ndarray) -> list[Box]:
    if isinstance(boxes, str | Path):
        return [_as_box(p.box) for p in read_people(boxes, photo_title(image), _original_size(image))]
    array = np.asarray(boxes, np.float64)
    array = array[None] if array.shape == (4,) else array
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0:
        raise InputError(f"boxes have shape {array.shape}; expected (people, 4): x0, y0, x1, y1 in pixels")
    return [_as_box(box) for box in array]


def _read_boxes(image: LoadedImage, detector: Detector | None, boxes: Sequence[Box]) -> PeopleFound:
    """Each box's person, read by the detector."""
    detections, empty = [], []
    for box in boxes:
        corners = torch.tensor(box, dtype=torch.float32).reshape(2, 2)
        found = _required(detector).detect_in_box(image.rgb, scaled_pixels(corners, image.scale).reshape(4).numpy())
        if found is None:
            empty.append(box)
        else:
            detections.append(found)
    listed = ", ".join(str([round(v) for v in box]) for box in empty)
    if not detections:
        raise NobodyFound(f"nobody was found in '{image.name}' in the boxes {listed}; give keypoints for such people")
    if empty:
        logger.warning("%s: nobody was found in the boxes %s; give keypoints for such people", image.name, listed)
    return PeopleFound(detections, empty)


def people_from_array(keypoints: np.ndarray) -> list[Detection]:
    """People from an array (people, keypoints, 3) of x, y, confidence: the first 17, 23 or all 27 keypoints.

    A confidence of 0 says that a keypoint was not observed. Raises InputError naming the person and what is wrong.
    """
    array = np.asarray(keypoints, np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != 3 or array.shape[1] not in ARRAY_CONVENTIONS or len(array) == 0:
        counts = ", ".join(f"{n} ({name})" for n, name in ARRAY_CONVENTIONS.items())
        raise InputError(f"keypoints have shape {array.shape}; expected (people, n, 3) with n one of {counts}")
    return [_array_person(person, number) for number, person in enumerate(array)]


def _array_person(array: np.ndarray, number: int) -> Detection:
    confidence = array[:, 2]
    if not np.isfinite(array).all() or confidence.min() < 0 or confidence.max() > 1:
        raise InputError(f"keypoints of person {number} are not finite or a confidence is outside 0 to 1")
    seen = confidence > 0
    if seen.sum() < 3:
        raise InputError(f"person {number} has {int(seen.sum())} observed keypoints; expected at least 3")
    whole = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    whole[: len(array)] = array
    whole[whole[:, 2] == 0] = 0.0
    box = np.concatenate([array[seen, :2].min(0), array[seen, :2].max(0)]).astype(np.float32)
    score = float(confidence[seen].mean())
    return Detection(whole[:, :2].copy(), whole[:, 2].copy(), box, score, detector="array")


def _original_size(image: LoadedImage) -> tuple[int, int]:
    width, height = image.original_size
    return height, width


def _as_box(box) -> Box:
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1
