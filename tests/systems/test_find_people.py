"""Who is in the photo: detector, boxes, keypoints; pixels of a reduced photo; wrong input by name."""

import dataclasses
import json

import numpy as np
import pytest

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.images import load_image
from hmralign.detection.detection import Detection
from hmralign.structures import InputError
from hmralign.systems.recover.find_people import NobodyFound, find_people, people_from_array
from support.recover_example import example_photo, write_keypoints


class FixedDetector:
    """Sees the given people, and in a box whoever's box it is."""

    def __init__(self, people):
        self.people, self.boxes = people, []

    def __call__(self, image):
        return self.people

    def detect_in_box(self, image, box):
        self.boxes.append(box)
        return next((p for p in self.people if np.abs(p.box - box).max() < 1), None)


@pytest.fixture(scope="module")
def photo():
    return load_image(example_photo()[0])


@pytest.fixture
def points():
    return example_photo()[1]


def person(points) -> Detection:
    return people_from_array(points)[0]


def test_the_detector_is_asked_when_nothing_is_given(photo, points):
    people = [person(points), person(points)]
    assert find_people(photo, FixedDetector(people)).detections == people
    with pytest.raises(NobodyFound, match="nobody"):
        find_people(photo, FixedDetector([]))
    with pytest.raises(InputError, match="detector"):
        find_people(photo, None)


def test_boxes_pick_people_and_empty_ones_are_told(photo, points, caplog):
    seen = person(points)
    empty = [100.0, 0.0, 120.0, 30.0]
    with caplog.at_level("WARNING"):
        found = find_people(photo, FixedDetector([seen]), boxes=np.array([seen.box, empty]))
    assert "100, 0, 120, 30" in caplog.text
    assert found.detections == [seen] and found.empty_boxes == [tuple(empty)]
    with pytest.raises(NobodyFound, match=r"100, 0, 120, 30"):
        find_people(photo, FixedDetector([seen]), boxes=np.array(empty))


def test_boxes_of_a_reduced_photo_are_scaled_to_it(photo, points):
    reduced = dataclasses.replace(photo, original_size=(320, 400), scale=(0.5, 0.5))
    detector = FixedDetector([person(points)])
    inside = person(points).box
    original = (inside + 0.5) * 2 - 0.5
    assert len(find_people(reduced, detector, boxes=original).detections) == 1
    np.testing.assert_allclose(detector.boxes[0], inside, atol=1e-4)


def test_keypoints_of_a_reduced_photo_are_scaled_to_it(photo, points):
    reduced = dataclasses.replace(photo, original_size=(320, 400), scale=(0.5, 0.5))
    large = points.copy()
    large[:, :2] = (large[:, :2] + 0.5) * 2 - 0.5
    found = find_people(reduced, None, keypoints=large).detections[0]
    np.testing.assert_allclose(found.keypoints, points[:, :2], atol=1e-3)


@pytest.mark.parametrize("count", [17, 23, 27])
def test_arrays_of_each_known_length(points, count):
    found = person(points[:count])
    np.testing.assert_array_equal(found.confidence[:count], points[:count, 2].astype(np.float32))
    assert not found.confidence[count:].any() and found.has_keypoints


def test_an_unobserved_keypoint_may_be_anywhere(points):
    points[4] = [1e6, -1e6, 0]
    assert np.abs(person(points).keypoints).max() < 1000 and np.abs(person(points).box).max() < 1000


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 18, 3), "17"), ((27, 2), "shape"), ((0, 27, 3), "shape"), ((27,), "shape"), ((1, 1, 27, 3), "shape")],
)
def test_arrays_of_another_shape(shape, said):
    with pytest.raises(InputError, match=said):
        people_from_array(np.ones(shape))


@pytest.mark.parametrize(("column", "value"), [(0, np.nan), (1, np.inf), (2, 1.5), (2, -0.1), (2, np.nan)])
def test_arrays_with_wrong_numbers_name_the_person(points, column, value):
    wrong = points.copy()
    wrong[3, column] = value
    with pytest.raises(InputError, match="person 1"):
        people_from_array(np.stack([points, wrong]))


def test_too_few_keypoints(points):
    points[2:, 2] = 0
    with pytest.raises(InputError, match="at least 3"):
        person(points)


def test_a_keypoint_file_serves_the_photo_of_its_name(points, tmp_path):
    rgb, _ = example_photo()
    from PIL import Image

    Image.fromarray(rgb).save(tmp_path / "b.png")
    file = write_keypoints(tmp_path / "k.json", {"a.png": [points], "b.png": [points, points]})
    assert len(find_people(load_image(tmp_path / "b.png"), None, keypoints=file).detections) == 2


def test_box_files(photo, points, tmp_path):
    seen = person(points)
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([[float(v) for v in seen.box]]))
    assert find_people(photo, FixedDetector([seen]), boxes=file).detections == [seen]
    with pytest.raises(InputError, match="no keypoints"):
        find_people(photo, None, keypoints=file)


@pytest.mark.parametrize("boxes", [np.zeros((2, 3)), np.zeros((0, 4)), np.zeros(5)])
def test_wrong_boxes(photo, boxes):
    with pytest.raises(InputError, match="boxes have shape"):
        find_people(photo, FixedDetector([]), boxes=boxes)


def test_boxes_and_keypoints_at_once(photo, points):
    with pytest.raises(InputError, match="at most one"):
        find_people(photo, None, boxes=np.zeros((1, 4)), keypoints=points)


def test_the_order_of_array_keypoints_is_that_of_the_skeleton(points):
    found = person(points)
    nose = KEYPOINT_NAMES.index("nose")
    np.testing.assert_allclose(found.keypoints[nose], points[nose, :2], atol=1e-4)
