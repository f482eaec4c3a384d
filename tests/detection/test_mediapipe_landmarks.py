"""Landmark tables and the geometry of regions, boxes and tiles."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.detection.boxes import box_iou, centre_offset, checked_box, regions_for_box
from hmralign.detection.mediapipe_client import PersonCandidates
from hmralign.detection.mediapipe_detector import distinct_regions, make_tiles, person_box, shrink_image, upright_mask
from hmralign.detection.mediapipe_landmarks import (
    LANDMARK_OF_KEYPOINT,
    distrust_invented_knees,
    landmarks_to_keypoints,
    region_of_points,
)
from hmralign.detection.painting import REACH, paint_out, person_pixels
from hmralign.detection.person_candidates import MIRROR, skeleton_distance
from hmralign.structures import InputError
from support.detection_support import stick_person


def test_map_covers_all_but_the_small_toes():
    assert set(KEYPOINT_NAMES) - set(LANDMARK_OF_KEYPOINT) == {"left_small_toe", "right_small_toe"}
    assert len(set(LANDMARK_OF_KEYPOINT.values())) == 25


def test_map_commutes_with_exchanging_sides():
    landmarks = np.random.default_rng(0).uniform(10, 90, (35, 5)).astype(np.float32)
    landmarks[:, 3] /= 100
    keypoints, confidence = landmarks_to_keypoints(landmarks, (100, 100))
    other, other_confidence = landmarks_to_keypoints(landmarks[MIRROR], (100, 100))
    np.testing.assert_array_equal(keypoints[list(MIRROR_KEYPOINTS)], other)
    np.testing.assert_array_equal(confidence[list(MIRROR_KEYPOINTS)], other_confidence)


def test_points_outside_the_image_have_no_confidence():
    landmarks = np.full((35, 5), 0.9, np.float32)
    landmarks[:, :2] = 50.0
    landmarks[LANDMARK_OF_KEYPOINT["nose"], 1] = -0.6
    landmarks[LANDMARK_OF_KEYPOINT["left_ear"], 0] = 119.4
    landmarks[LANDMARK_OF_KEYPOINT["right_ear"], 0] = 119.6
    _, confidence = landmarks_to_keypoints(landmarks, (100, 120))
    assert confidence[KEYPOINT_NAMES.index("nose")] == 0
    assert confidence[KEYPOINT_NAMES.index("left_ear")] > 0.8
    assert confidence[KEYPOINT_NAMES.index("right_ear")] == 0
    assert confidence[KEYPOINT_NAMES.index("left_small_toe")] == 0


def test_region_turns_with_the_body():
    for degrees in (0, 37, 90, 180, -120):
        angle = np.deg2rad(degrees)
        head = np.array([50 + 30 * np.sin(angle), 60 - 30 * np.cos(angle)])
        x, y, side, turned = region_of_points(np.array([50.0, 60.0]), head)
        assert (x, y) == (50.0, 60.0) and side == pytest.approx(75.0)
        assert np.cos(turned - angle) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(100, 100), (480, 640), (2000, 300), (9, 4000)])
def test_tiles_cover_every_pixel_and_stay_inside(size):
    height, width = size
    tiles = make_tiles(height, width, (1.0, 0.6, 0.4))
    assert tiles[0] == (0.0, 0.0, width, height)
    for scale in (1.0, 0.6, 0.4):
        level = make_tiles(height, width, (scale,))[1:]
        if not level:  # as good as the whole image
            continue
        covered = np.zeros(size, bool)
        for x0, y0, x1, y1 in level:
            assert 0 <= x0 < x1 <= width + 1e-6 and 0 <= y0 < y1 <= height + 1e-6
            covered[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))] = True
        assert covered.all()
    assert len(tiles) < 250


def test_proposals_of_one_person_become_one_region():
    points = np.array([[[50, 60], [50, 20], [50, 40], [50, 10]]] * 3, np.float32)
    points[1] += 2.0
    points[2] += 80.0
    proposals = PersonCandidates(
        tile=np.zeros(3, np.float32),
        score=np.array([0.6, 0.9, 0.7], np.float32),
        box=np.zeros((3, 4), np.float32),
        points=points,
    )
    regions = distinct_regions(proposals)
    assert [n for _, _, n in regions] == [2, 1]
    assert regions[0][0][:2] == (52.0, 62.0) and regions[0][1] == pytest.approx(0.9)


def test_large_photos_shrink_and_odd_arrays_are_refused():
    small, scale = shrink_image(np.zeros((300, 500, 3), np.uint8), 100)
    assert small.shape == (60, 100, 3) and scale == (0.2, 0.2)
    for bad in (np.zeros((3, 3, 3), np.uint8),):
        with pytest.raises(InputError, match="RGB image"):
            shrink_image(bad, 100)


def test_box_holds_head_and_feet_and_the_mask_is_upright():
    person = stick_person(200, 200, 200)
    mask = upright_mask(person, (1.0, 1.0))
    box = person_box(person.landmarks, mask, (400, 400), reach=24.0)
    assert box[1] < 200 - 0.42 * 200 and box[3] > 200 + 0.49 * 200
    assert box[0] < 200 - 0.2 * 200 < 200 + 0.2 * 200 < box[2]
    drawn = mask.to_image(400, 400)
    x, y = person.points[11].round().astype(int)
    assert drawn[y, x] > 200 and drawn[350, 350] == 0
    half = upright_mask(person, (0.5, 0.5)).to_image(800, 800)
    assert half.astype(bool).sum() == pytest.approx(4 * drawn.astype(bool).sum(), rel=0.1)


def test_overlap_and_box_checks():
    a = np.array([0.0, 0.0, 10.0, 10.0])
    assert box_iou(a, a) == 1.0 and box_iou(a, a + 20) == 0.0
    assert centre_offset(a + 5, a) == pytest.approx(np.sqrt(50) / 10)
    np.testing.assert_allclose(checked_box(np.array([-5.0, 2.0, 50.0, 300.0]), (100, 40)), [-0.5, 2.0, 39.5, 99.5])
    for bad in ([5, 5, 6, 50], [50, 5, 90, 50], [np.nan, 0, 10, 10]):
        with pytest.raises(InputError, match="box"):
            checked_box(np.array(bad, float), (100, 40))


def test_a_box_at_the_lower_edge_also_gets_regions_for_a_cut_person():
    whole = regions_for_box(np.array([10.0, 10.0, 60.0, 80.0]), (200, 100))
    cut = regions_for_box(np.array([10.0, 110.0, 60.0, 199.5]), (200, 100))
    assert len(cut) > len(whole)
    assert max(r[1] for r in cut) > 150


def test_painting_removes_the_person_and_nothing_else():
    person = stick_person(200, 200, 200)
    hidden = person_pixels(person, (400, 400))
    image = np.full((400, 400, 3), (40, 90, 200), np.uint8)
    image[hidden] = (255, 0, 0)
    painted = paint_out(image, [person])
    assert (painted[~hidden] == image[~hidden]).all()
    assert np.abs(painted[hidden].astype(int) - (40, 90, 200)).max() <= 12
    assert paint_out(image, []) is image


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.5])
@pytest.mark.parametrize("place", [(200, 200), (20, 390), (-300, 200)])
def test_a_persons_pixels_are_those_of_the_whole_picture(place, angle):
    """They are looked for near the person alone; here at every pixel."""
    finding = stick_person(*place, 200, region=(*map(float, place), 250.0, angle))
    near = np.where(skeleton_distance(finding) < REACH, finding.alpha, 0).astype(np.float32)
    x, y = np.meshgrid(np.arange(400.0) - place[0], np.arange(400.0) - place[1])
    across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    cells = [(v / 250 + 0.5) * len(near) - 0.5 for v in (down, across)]
    expected = map_coordinates(near, cells, order=1, mode="constant", cval=0.0) > 80
    np.testing.assert_array_equal(person_pixels(finding, (400, 400)), expected)
    assert expected.any() == (place[0] > 0)


def test_knees_on_elbows_without_ankles_are_not_believed():
    at = {name: i for i, name in enumerate(KEYPOINT_NAMES)}
    keypoints, confidence = np.zeros((27, 2), np.float32), np.ones(27, np.float32)
    for side, x in (("left", 300.0), ("right", 100.0)):
        for name, y in (("shoulder", 200.0), ("elbow", 340.0), ("wrist", 400.0), ("hip", 450.0), ("knee", 360.0)):
            keypoints[at[f"{side}_{name}"]] = (x, y)
    confidence[[at["left_ankle"], at["right_ankle"]]] = 0
    knees = [at["left_knee"], at["right_knee"]]
    assert (distrust_invented_knees(keypoints, confidence)[knees] == 0).all()
    confidence[at["left_ankle"]] = 0.9
    assert distrust_invented_knees(keypoints, confidence)[knees].tolist() == [1, 0], "a seen ankle vouches for its knee"
    keypoints[at["right_knee"]] = (100.0, 620.0)
    assert distrust_invented_knees(keypoints, confidence)[knees].tolist() == [1, 1], "a knee below the hip is a knee"
