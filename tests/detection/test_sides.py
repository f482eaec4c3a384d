"""When two readings of a person disagree on left and right, and when they merely differ."""

import numpy as np
import pytest

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.detection.detection import Detection
from hmralign.detection.mediapipe_detector import with_alternative
from hmralign.detection.sides import MAX_RATIO, MIN_GAP, exchanged_parts

MIRROR = list(MIRROR_KEYPOINTS)
SURE = np.ones(27, np.float32)
LEGS = [i for i, n in enumerate(KEYPOINT_NAMES) if n.endswith(("knee", "ankle", "toe", "heel"))]
ARMS = [i for i, n in enumerate(KEYPOINT_NAMES) if n.endswith(("elbow", "wrist", "knuckle"))]
HEIGHTS = {
    "nose": 0.06, "eye": 0.04, "ear": 0.05, "shoulder": 0.2, "elbow": 0.4, "wrist": 0.55, "hip": 0.5, "knee": 0.75,
    "ankle": 0.95, "toe": 1.0, "heel": 0.98, "knuckle": 0.6,
}  # fmt: skip


def standing(width=0.25, height=400.0):
    """Somebody seen from the front, `width` body heights wide; 0 from the side."""
    points = []
    for name in KEYPOINT_NAMES:
        aside = 0.0 if name == "nose" else (1 if name.startswith("left") else -1) * width / 2
        points.append((300 + aside * height, 50 + height * next(h for n, h in HEIGHTS.items() if name.endswith(n))))
    return np.array(points, np.float32)


def exchanged(points, part):
    other = points.copy()
    other[part] = points[MIRROR][part]
    return other


@pytest.mark.parametrize(
    ("part", "expected"),
    [(list(range(27)), ("body",)), (LEGS, ("legs",)), (ARMS, ("arms",)), (LEGS + ARMS, ("legs", "arms")), ([], ())],
)
def test_names_what_is_exchanged_under_noise_at_any_scale(part, expected):
    draw = np.random.default_rng(0)
    for height in (60.0, 400.0, 3000.0):
        points = standing(height=height)
        noisy = (exchanged(points, part) + draw.normal(0, 0.015 * height, points.shape)).astype(np.float32)
        if len(part) == len(LEGS + ARMS) and expected == ("legs", "arms"):
            noisy[[i for i in range(27) if i not in part]] += 0.001 * height
        found = exchanged_parts(points, SURE, noisy, SURE)
        # Both limbs exchanged are two thirds of the body: the whole body is then the nearer reading.
        assert found in ((expected, ("body",)) if expected == ("legs", "arms") else (expected,))


def test_does_not_depend_on_which_reading_comes_first_nor_on_a_mirrored_photo():
    points = standing()
    for part in (list(range(27)), LEGS, ARMS, []):
        other = exchanged(points, part)
        expected = exchanged_parts(points, SURE, other, SURE)
        assert exchanged_parts(other, SURE, points, SURE) == expected
        flip = np.array([-1, 1], np.float32)
        assert exchanged_parts(points[MIRROR] * flip, SURE, other[MIRROR] * flip, SURE) == expected


def test_somebody_seen_from_the_side_has_no_sides_to_disagree_on():
    for width, disagrees in ((0.5 * MIN_GAP, False), (2 * MIN_GAP, True)):
        points = standing(width)
        assert bool(exchanged_parts(points, SURE, points[MIRROR], SURE)) is disagrees


def test_readings_that_differ_without_exchange_do_not_disagree():
    points = standing()
    away = points + np.float32(80)
    assert exchanged_parts(points, SURE, away, SURE) == ()
    legs_elsewhere = points.copy()
    legs_elsewhere[LEGS] += np.array([150, 0], np.float32)
    assert exchanged_parts(points, SURE, legs_elsewhere, SURE) == ()
    between = (points + points[MIRROR]) / 2  # as far from the one as from the other
    assert MAX_RATIO < 1 and exchanged_parts(points, SURE, between, SURE) == ()


def test_what_is_not_observed_on_both_sides_in_both_readings_does_not_count():
    points, half = standing(), SURE.copy()
    half[[i for i, n in enumerate(KEYPOINT_NAMES) if n.startswith("left")]] = 0
    assert exchanged_parts(points, half, points[MIRROR], SURE) == ()
    assert exchanged_parts(points, np.zeros(27, np.float32), points[MIRROR], SURE) == ()
    nowhere = points[MIRROR].copy()
    without_feet = SURE.copy()
    without_feet[LEGS] = 0
    nowhere[LEGS] = 1e4
    assert exchanged_parts(points, SURE, nowhere, without_feet) == ("body",)


def test_a_detection_keeps_the_other_reading_only_where_sides_disagree():
    points = standing()
    box = np.array([0, 0, 1, 1], np.float32)
    followed = Detection(points, SURE, box, 0.9, detector="mediapipe_heavy-1")
    same = Detection(points + np.float32(1), SURE, box, 0.9, detector="mediapipe-1")
    turned = Detection(points[MIRROR], SURE, box, 0.9, detector="mediapipe-1")
    assert not with_alternative(followed, same).sides_disagree
    kept = with_alternative(followed, turned)
    assert kept.sides_disagree and kept.alternative is not None and kept.alternative.exchanged == ("body",)
    np.testing.assert_array_equal(kept.keypoints, points)
    np.testing.assert_array_equal(kept.alternative.keypoints, points[MIRROR])
    assert kept.alternative.detector == "mediapipe-1"
