"""Keypoint layouts that other tools write, each as a table from our keypoint names to places in theirs.

Sources: COCO (Lin et al. 2014), COCO-WholeBody (Jin et al. 2020), OpenPose's BODY_25 and COCO output (Cao et al. 2019),
Halpe full body (Fang et al. 2022, AlphaPose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.structures import InputError

ConventionName = Literal["coco17", "coco_wholebody", "openpose_body25", "openpose_coco18", "halpe26", "halpe136"]


@dataclass(frozen=True)
class KeypointConvention:
    """A layout of `count` points; `place` gives where each of our keypoints stands in it, as far as it has it."""

    name: ConventionName
    count: int
    place: dict[str, int]


_COCO = {name: i for i, name in enumerate(KEYPOINT_NAMES[:17])}
_COCO_FEET = {name: 17 + i for i, name in enumerate(KEYPOINT_NAMES[17:23])}


def _knuckles(left: int, right: int) -> dict[str, int]:
    """Index and little finger's knuckles in two 21-point hands that start at `left` and `right`."""
    return {
        f"{side}_{finger}_knuckle": start + offset
        for side, start in (("left", left), ("right", right))
        for finger, offset in (("index", 5), ("pinky", 17))
    }


_OPENPOSE_ARMS = {
    "nose": 0, "right_shoulder": 2, "right_elbow": 3, "right_wrist": 4,
    "left_shoulder": 5, "left_elbow": 6, "left_wrist": 7,
}  # fmt: skip

COCO17 = KeypointConvention("coco17", 17, _COCO)
COCO_WHOLEBODY_FEET = KeypointConvention("coco_wholebody", 23, {**_COCO, **_COCO_FEET})
"""Body and feet, as in the fields `keypoints` and `foot_kpts`."""
COCO_WHOLEBODY = KeypointConvention("coco_wholebody", 133, {**_COCO, **_COCO_FEET, **_knuckles(91, 112)})
OPENPOSE_BODY25 = KeypointConvention(
    "openpose_body25",
    25,
    {
        **_OPENPOSE_ARMS,
        "right_hip": 9, "right_knee": 10, "right_ankle": 11, "left_hip": 12, "left_knee": 13, "left_ankle": 14,
        "right_eye": 15, "left_eye": 16, "right_ear": 17, "left_ear": 18, "left_big_toe": 19, "left_small_toe": 20,
        "left_heel": 21, "right_big_toe": 22, "right_small_toe": 23, "right_heel": 24,
    },
)  # fmt: skip
OPENPOSE_COCO18 = KeypointConvention(
    "openpose_coco18",
    18,
    {
        **_OPENPOSE_ARMS,
        "right_hip": 8, "right_knee": 9, "right_ankle": 10, "left_hip": 11, "left_knee": 12, "left_ankle": 13,
        "right_eye": 14, "left_eye": 15, "right_ear": 16, "left_ear": 17,
    },
)  # fmt: skip
_HALPE_FEET = {
    "left_big_toe": 20, "right_big_toe": 21, "left_small_toe": 22, "right_small_toe": 23, "left_heel": 24,
    "right_heel": 25,
}  # fmt: skip
HALPE26 = KeypointConvention("halpe26", 26, {**_COCO, **_HALPE_FEET})
HALPE136 = KeypointConvention("halpe136", 136, {**_COCO, **_HALPE_FEET, **_knuckles(94, 115)})

OPENPOSE_HAND_KNUCKLES = {"index": 5, "pinky": 17}
"""Where the knuckles stand in OpenPose's and COCO-WholeBody's 21-point hands."""

FLAT_CONVENTIONS = (COCO17, COCO_WHOLEBODY_FEET, HALPE26, COCO_WHOLEBODY, HALPE136)
"""Layouts of COCO's and AlphaPose's flat lists; their numbers of points differ, so a count tells which it is."""
OPENPOSE_CONVENTIONS = (OPENPOSE_BODY25, OPENPOSE_COCO18)


def in_our_order(points: Float[np.ndarray, "points 3"], convention: str) -> Float32[np.ndarray, "27 3"]:
    """x, y (pixels) and confidence of a named convention's points, in the order of `KEYPOINT_NAMES`.

    What the convention lacks, and what has confidence 0, is zeros. Raises InputError for a convention that is not
    known, and for another number of points than it has.
    """
    known = [c for c in (*FLAT_CONVENTIONS, *OPENPOSE_CONVENTIONS) if c.name == convention]
    if not known:
        raise InputError(f"there is no convention '{convention}'; expected {', '.join(get_args(ConventionName))}")
    layout = next((c for c in known if points.shape == (c.count, 3)), None)
    if layout is None:
        counts = " or ".join(str(c.count) for c in known)
        raise InputError(f"points have the shape {points.shape}; {convention} has {counts} of x, y, confidence")
    ours = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
    for name, place in layout.place.items():
        if points[place, 2] > 0:
            ours[KEYPOINT_NAMES.index(name)] = points[place]
    return ours
