"""Who is in the photo: from the detector, from boxes that are given, or from keypoints that are given.

The detector reads each box. Whom it does not find there, or everybody where there is no detector, is known only by the
box: somebody is there because the user says so.

Boxes and keypoints are in pixels of the original photo (before a very large one was reduced); the people that come back
are in pixels of the photo as loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.images import LoadedImage
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.keypoint_files import TOO_CONFIDENT, load_json, read_people, recognise
from hmralign.detection.observe import MIN_KEYPOINTS, in_loaded_pixels, photo_title
from hmralign.geometry.cameras import scaled_pixels
from hmralign.structures import InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.recover")

Box = tuple[float, float, float, float]

ARRAY_CONVENTIONS = {17: "COCO", 23: "COCO and feet", NUM_KEYPOINTS: "all keypoints of hmralign"}
"""Numbers of keypoints an array may have: each is the beginning of `skeleton.KEYPOINT_NAMES`."""

MIN_BOX_SIDE = 8
"""Pixels: a box must show this much of the photo in both directions; a body in less is no answer."""


class NobodyFound(InputError):
    """There is no person in the photo."""


def find_people(
    image: LoadedImage,
    detector: Detector | None,
    boxes: str | Path | np.ndarray | None = None,
    keypoints: str | Path | np.ndarray | None = None,
) -> list[Detection]:
    """The people to estimate, in the order of the file or array, else the most certain first.

    People known only by a box have no keypoints (`Detection.has_keypoints`); a warning tells of them.

    Raises:
        NobodyFound: the detector sees nobody, and there are no boxes.
        InputError: boxes and keypoints are both given, a file, an array or a box is wrong, or there is nothing to find
            people by: neither a detector nor boxes nor keypoints.
    """
    if boxes is not None and keypoints is not None:
        raise InputError("both boxes and keypoints are given; expected at most one of them")
    if keypoints is not None:
        people = _with_keypoints(image, _given_people(image, keypoints))
        return [in_loaded_pixels(p, image) for p in people]
    if boxes is not None:
        found = _read_boxes(image, detector, _given_boxes(image, boxes))
    elif detector is None:
        raise InputError("no detector is in use; expected boxes, keypoints, or a detector that finds people")
    else:
        found = detector(image.rgb)
    if not found:
        raise NobodyFound(
            f"nobody was found in '{image.name}'; expected at least one person, or give boxes or keypoints"
        )
    _tell_who_is_only_a_box(image, detector, found)
    return found


def _given_people(image: LoadedImage, keypoints: str | Path | np.ndarray) -> list[Detection]:
    if isinstance(keypoints, str | Path):
        return read_people(keypoints, photo_title(image), _original_size(image))
    return people_from_array(keypoints)


def _with_keypoints(image: LoadedImage, people: Sequence[Detection]) -> list[Detection]:
    """Those with enough keypoints; one warning names the others. Raises InputError where there is nobody else."""
    kept, few = [], []
    for number, person in enumerate(people):
        seen = int((person.confidence > 0).sum())
        if seen >= MIN_KEYPOINTS:
            kept.append(person)
        else:
            few.append(f"person {number} has {counted(seen, 'keypoint') if seen else 'no keypoints'}")
    if few and not kept:
        raise InputError(
            f"{few[0]} in '{image.name}'; expected at least {MIN_KEYPOINTS}, or give a file of boxes as boxes"
        )
    if few:
        logger.warning(
            "%s: left out, as at least %d keypoints are needed: %s (boxes, given as boxes, would be enough)",
            *(image.name, MIN_KEYPOINTS, "; ".join(few)),
        )
    return kept


def _given_boxes(image: LoadedImage, boxes: str | Path | np.ndarray) -> list[Box]:
    if isinstance(boxes, str | Path):
        people = read_people(boxes, photo_title(image), _original_size(image))
        return _boxes_of_file(image, Path(boxes), people)
    array = np.asarray(boxes, np.float64)
    array = array[None] if array.shape == (4,) else array
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0:
        raise InputError(f"boxes have shape {array.shape}; expected (people, 4): x0, y0, x1, y1 in pixels")
    return [_checked_box(box, number, image) for number, box in enumerate(array)]


def _boxes_of_file(image: LoadedImage, file: Path, people: Sequence[Detection]) -> list[Box]:
    """Boxes of a file: of one that lists boxes each was meant, of annotations those that show nobody are left out."""
    if not file.is_dir() and recognise(load_json(file), file) == "boxes":
        return [_checked_box(p.box, number, image) for number, p in enumerate(people)]
    boxes, wrong = [], []
    for number, person in enumerate(people):
        try:
            boxes.append(_checked_box(person.box, number, image))
        except InputError as error:
            wrong.append(error)
    if wrong and not boxes:
        raise wrong[0]
    if wrong:
        logger.warning("%s: left out: %s", image.name, "; ".join(str(error) for error in wrong))
    return boxes


def _checked_box(box: Float[np.ndarray, " 4"], number: int, image: LoadedImage) -> Box:
    """A box that may reach beyond the photo, as the border cuts people off, by up to half the photo on each side.

    It is neither cut nor turned round: raises InputError naming a box that is not finite, shows less than
    `MIN_BOX_SIDE` of the photo, or reaches further beyond it.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    width, height = image.original_size
    said = f"box {number} of '{image.name}', [{x0:g}, {y0:g}, {x1:g}, {y1:g}],"
    if not np.isfinite(box).all():
        raise InputError(f"{said} is not finite; expected x0, y0, x1, y1 in pixels")
    if min(x1 - x0, y1 - y0) < MIN_BOX_SIDE:
        raise InputError(f"{said} is empty or too small; expected x0 + {MIN_BOX_SIDE} <= x1, y0 + {MIN_BOX_SIDE} <= y1")
    if min(x1, width - 0.5) - max(x0, -0.5) < MIN_BOX_SIDE or min(y1, height - 0.5) - max(y0, -0.5) < MIN_BOX_SIDE:
        raise InputError(f"{said} shows less than {MIN_BOX_SIDE} pixels of the photo of {width} x {height} pixels")
    if min(x0, width - x1) < -width / 2 or min(y0, height - y1) < -height / 2:
        raise InputError(f"{said} reaches beyond the photo of {width} x {height} pixels by more than half its size")
    return x0, y0, x1, y1


def _read_boxes(image: LoadedImage, detector: Detector | None, boxes: Sequence[Box]) -> list[Detection]:
    """Each box's person: as the detector reads it, else known only by the box."""
    people = []
    for box in boxes:
        corners = torch.tensor(box, dtype=torch.float32).reshape(2, 2)
        there = scaled_pixels(corners, image.scale).reshape(4).numpy()
        found = None if detector is None else detector.detect_in_box(image.rgb, there)
        if found is None or (found.confidence > 0).sum() < MIN_KEYPOINTS:
            found = Detection.of_box(there)
        people.append(found)
    return people


def _tell_who_is_only_a_box(image: LoadedImage, detector: Detector | None, people: Sequence[Detection]) -> None:
    bare = ", ".join(str(number) for number, person in enumerate(people) if not person.has_keypoints)
    if bare:
        why = "there is no detector, which would read it better" if detector is None else "nobody was read in it"
        logger.warning(
            "%s: known only by a box (%s), so that the pose is a guess from its shape: person %s", image.name, why, bare
        )


def tell_whose_sides_are_doubtful(image: LoadedImage, people: Sequence[Detection]) -> None:
    """Warn of people whose left and right two networks read differently, for those who follow one reading alone."""
    doubtful = ", ".join(
        f"{number} ({' and '.join(person.alternative.exchanged)})"
        for number, person in enumerate(people)
        if person.alternative is not None
    )
    if doubtful:
        logger.warning(
            "%s: two networks read left and right, or front and back, the other way round; the more reliable one is "
            "followed and may be wrong: person %s",
            image.name,
            doubtful,
        )


def people_from_array(keypoints: np.ndarray) -> list[Detection]:
    """People from an array (people, keypoints, 3) of x, y, confidence: the first 17, 23 or all 27 keypoints.

    A confidence of 0 says that a keypoint was not observed, wherever it is; confidences a little above 1 are cut to 1.
    Raises InputError naming the person and what is wrong.
    """
    array = np.asarray(keypoints, np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != 3 or array.shape[1] not in ARRAY_CONVENTIONS or len(array) == 0:
        counts = ", ".join(f"{n} ({name})" for n, name in ARRAY_CONVENTIONS.items())
        raise InputError(f"keypoints have shape {array.shape}; expected (people, n, 3) with n one of {counts}")
    return [_array_person(person, number) for number, person in enumerate(array)]


def _array_person(array: np.ndarray, number: int) -> Detection:
    array = np.where(array[:, 2:] == 0, 0.0, array)
    if not np.isfinite(array).all() or not 0 <= array[:, 2].min() <= array[:, 2].max() < TOO_CONFIDENT:
        raise InputError(f"keypoints of person {number} are not finite or a confidence is outside 0 to 1")
    array[:, 2] = np.minimum(array[:, 2], 1.0)
    confidence = array[:, 2]
    seen = confidence > 0
    if seen.sum() < 3:
        raise InputError(f"person {number} has {int(seen.sum())} observed keypoints; expected at least 3")
    whole = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    whole[: len(array)] = array
    box = np.concatenate([array[seen, :2].min(0), array[seen, :2].max(0)]).astype(np.float32)
    score = float(confidence[seen].mean())
    return Detection(whole[:, :2].copy(), whole[:, 2].copy(), box, score, detector="array")


def _original_size(image: LoadedImage) -> tuple[int, int]:
    width, height = image.original_size
    return height, width
