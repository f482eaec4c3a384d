"""Gives keypoints to people known only by a box."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from hmralign.detection.detection import Detection, Detector
from hmralign.structures import InputError

logger = logging.getLogger("hmralign.detection")


def read_boxes_with_detector(
    people: Sequence[Detection],
    image: UInt8[np.ndarray, "height width 3"],
    detector: Detector | None,
    *,
    skip_missing: bool = False,
) -> list[Detection]:
    """People with keypoints, in order: those given only by a box are looked for in it.

    Raises:
        InputError: somebody has only a box and there is no detector, or the detector finds nobody who fits the box.
            With `skip_missing` such a person is left out with a warning instead.
    """
    found: list[Detection] = []
    for index, person in enumerate(people):
        if person.has_keypoints:
            found.append(person)
            continue
        if detector is None:
            raise InputError(
                f"person {index} is given only by a box, which needs the detector: run `hmralign setup-detector` once, "
                "or give keypoints"
            )
        seen = detector.detect_in_box(image, person.box)
        if seen is not None:
            found.append(seen)
        elif skip_missing:
            logger.warning("the detector sees nobody who fits the box of person %d: left out", index)
        else:
            box = [round(float(v)) for v in person.box]
            raise InputError(
                f"the detector sees nobody who fits the box {box} of person {index}: give keypoints for it"
            )
    return found
