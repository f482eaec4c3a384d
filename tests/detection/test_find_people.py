"""Who is in the photo: detector, boxes, keypoints; pixels of a reduced photo; wrong input by name."""

import dataclasses
import json

import numpy as np
import pytest

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.images import load_image
from hmralign.detection.detection import Detection, OtherReading
from hmralign.detection.find_people import (
    NobodyFound,
    find_people,
    people_from_array,
    tell_whose_sides_are_doubtful,
)
from hmralign.structures import InputError
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
    assert find_people(photo, FixedDetector(people)) == people
    with pytest.raises(NobodyFound, match="nobody"):
        find_people(photo, FixedDetector([]))
    with pytest.raises(InputError, match="detector"):
        find_people(photo, None)


def test_boxes_pick_people_and_of_whom_nobody_is_read_the_box_is_known(photo, points, caplog):
    seen = person(points)
    unread, other = [100.0, 0.0, 120.0, 30.0], [5.0, 6.0, 50.0, 70.0]
    with caplog.at_level("WARNING"):
        found = find_people(photo, FixedDetector([seen]), boxes=np.array([unread, seen.box, other]))
    assert found[1] is seen and [p.has_keypoints for p in found] == [False, True, False]
    assert found[0].box.tolist() == unread and found[2].box.tolist() == other
    (said,) = [record.message for record in caplog.records]
    assert "known only by a box (nobody was read in it)" in said and said.endswith("guess from its shape: person 0, 2")


def test_a_reading_of_two_keypoints_is_none(photo, points):
    barely = dataclasses.replace(person(points), confidence=np.eye(27, dtype=np.float32)[:2].sum(0))
    (found,) = find_people(photo, FixedDetector([barely]), boxes=barely.box)
    assert not found.has_keypoints and found.box.tolist() == barely.box.tolist()


def test_a_detector_that_gives_only_boxes_is_believed(photo, points, caplog):
    people = [person(points), Detection.of_box(np.array([5.0, 6, 50, 70]))]
    with caplog.at_level("WARNING"):
        assert find_people(photo, FixedDetector(people)) == people
    assert "known only by a box" in caplog.text and "person 1" in caplog.text


def test_boxes_need_no_detector_but_one_warning_names_it(photo, caplog):
    boxes = np.array([[100.0, 0, 120, 30], [-20.5, 90, 30, 260]])
    with caplog.at_level("WARNING"):
        found = find_people(photo, None, boxes=boxes)
    np.testing.assert_array_equal([p.box for p in found], boxes)
    (said,) = [record.message for record in caplog.records]
    assert "no detector" in said and "guess" in said


def test_boxes_of_a_reduced_photo_are_scaled_to_it(photo, points):
    reduced = dataclasses.replace(photo, original_size=(320, 400), scale=(0.5, 0.5))
    detector = FixedDetector([person(points)])
    inside = person(points).box
    original = (inside + 0.5) * 2 - 0.5
    assert len(find_people(reduced, detector, boxes=original)) == 1
    np.testing.assert_allclose(detector.boxes[0], inside, atol=1e-4)
    np.testing.assert_allclose(find_people(reduced, None, boxes=original)[0].box, inside, atol=1e-4)


def test_keypoints_of_a_reduced_photo_are_scaled_to_it(photo, points):
    reduced = dataclasses.replace(photo, original_size=(320, 400), scale=(0.5, 0.5))
    large = points.copy()
    large[:, :2] = (large[:, :2] + 0.5) * 2 - 0.5
    found = find_people(reduced, None, keypoints=large)[0]
    np.testing.assert_allclose(found.keypoints, points[:, :2], atol=1e-3)


@pytest.mark.parametrize("count", [17, 23, 27])
def test_arrays_of_each_known_length(points, count):
    found = person(points[:count])
    np.testing.assert_array_equal(found.confidence[:count], points[:count, 2].astype(np.float32))
    assert not found.confidence[count:].any() and found.has_keypoints


def test_an_unobserved_keypoint_may_be_anywhere(points):
    points[4], points[5] = [1e6, -1e6, 0], [np.nan, np.inf, 0]
    assert np.abs(person(points).keypoints).max() < 1000 and np.abs(person(points).box).max() < 1000


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 18, 3), "17"), ((27, 2), "shape"), ((0, 27, 3), "shape"), ((27,), "shape"), ((1, 1, 27, 3), "shape")],
)
def test_arrays_of_another_shape(shape, said):
    with pytest.raises(InputError, match=said):
        people_from_array(np.ones(shape))


@pytest.mark.parametrize(("column", "value"), [(0, np.nan), (1, np.inf), (2, 2.0), (2, -0.1), (2, np.nan)])
def test_arrays_with_wrong_numbers_name_the_person(points, column, value):
    wrong = points.copy()
    wrong[3, column] = value
    with pytest.raises(InputError, match="person 1"):
        people_from_array(np.stack([points, wrong]))


def test_scores_of_an_array_a_little_above_1_count_as_1(points):
    high = points.copy()
    high[3, 2] = 1.31
    np.testing.assert_array_equal(person(high).confidence, person(points).confidence)


def test_people_of_a_file_without_enough_keypoints_are_left_out_by_name(points, tmp_path, caplog):
    none, two = points.copy(), points.copy()
    none[:, 2] = 0
    two[2:, 2] = 0
    people = [{"image_id": "array", "keypoints": p[:17].ravel().tolist(), "bbox": [9, 9, 70, 90], "score": 0.9}
              for p in (none, points, two)]  # fmt: skip
    (tmp_path / "k.json").write_text(json.dumps(people))
    photo = load_image(example_photo()[0])
    with caplog.at_level("WARNING"):
        (found,) = find_people(photo, None, keypoints=tmp_path / "k.json")
    np.testing.assert_allclose(found.keypoints[:17], points[:17, :2], atol=1e-4)
    (said,) = [record.message for record in caplog.records]
    assert "person 0 has no keypoints; person 2 has 2 keypoints" in said
    (tmp_path / "k.json").write_text(json.dumps(people[2:]))
    with pytest.raises(InputError, match="person 0 has 2 keypoints in 'array'"):
        find_people(photo, None, keypoints=tmp_path / "k.json")


def test_annotations_whose_box_shows_nobody_are_left_out_by_name(photo, tmp_path, caplog):
    boxes = [[10, 10, 50, 110], [20, 20, 4, 70], [20, 20, 0, 0]]
    content = {
        "images": [{"id": 1, "file_name": "array"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    with caplog.at_level("WARNING"):
        (found,) = find_people(photo, None, boxes=tmp_path / "c.json")
    assert found.box.tolist() == [9.5, 9.5, 59.5, 119.5]
    assert "box 1 of 'array'" in caplog.text and "person 2: has neither keypoints nor a box" in caplog.text


def test_too_few_keypoints(points):
    points[2:, 2] = 0
    with pytest.raises(InputError, match="at least 3"):
        person(points)


def test_a_keypoint_file_serves_the_photo_of_its_name(points, tmp_path):
    rgb, _ = example_photo()
    from PIL import Image

    Image.fromarray(rgb).save(tmp_path / "b.png")
    file = write_keypoints(tmp_path / "k.json", {"a.png": [points], "b.png": [points, points]})
    assert len(find_people(load_image(tmp_path / "b.png"), None, keypoints=file)) == 2


def test_box_files(photo, points, tmp_path):
    seen = person(points)
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([[float(v) for v in seen.box]]))
    assert find_people(photo, FixedDetector([seen]), boxes=file) == [seen]
    with pytest.raises(InputError, match="no keypoints"):
        find_people(photo, None, keypoints=file)


@pytest.mark.parametrize("boxes", [np.zeros((2, 3)), np.zeros((0, 4)), np.zeros(5)])
def test_wrong_boxes(photo, boxes):
    with pytest.raises(InputError, match="boxes have shape"):
        find_people(photo, FixedDetector([]), boxes=boxes)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([20, 20, 20, 90], "empty or too small"),
        ([90, 20, 20, 90], "empty or too small"),
        ([20, 20, 27, 90], "empty or too small"),
        ([20, np.nan, 60, 90], "not finite"),
        ([20, 20, np.inf, 90], "not finite"),
        ([161, 20, 200, 90], "shows less than 8 pixels of the photo of 160 x 200"),
        ([20, -50, 60, 7], "shows less than 8"),
        ([-81, 20, 60, 90], "more than half"),
        ([20, 20, 60, 301], "more than half"),
    ],
)
def test_a_box_that_shows_nobody_is_named(photo, points, box, said):
    for detector in (None, FixedDetector([person(points)])):
        with pytest.raises(InputError, match=rf"box 1 of .*{said}"):
            find_people(photo, detector, boxes=np.array([[10.0, 10, 60, 120], box]))


def test_boxes_of_a_file_are_checked_alike(photo, tmp_path):
    file = tmp_path / "boxes.json"
    file.write_text("[[10, 10, 60, 120], [20, 20, 24, 90]]")
    with pytest.raises(InputError, match=r"box 1 of .* too small"):
        find_people(photo, None, boxes=file)


def test_boxes_and_keypoints_at_once(photo, points):
    with pytest.raises(InputError, match="at most one"):
        find_people(photo, None, boxes=np.zeros((1, 4)), keypoints=points)


def test_the_order_of_array_keypoints_is_that_of_the_skeleton(points):
    found = person(points)
    nose = KEYPOINT_NAMES.index("nose")
    np.testing.assert_allclose(found.keypoints[nose], points[nose, :2], atol=1e-4)


def test_one_warning_names_whose_sides_are_doubtful(photo, points, caplog):
    sure = person(points)
    other = OtherReading(sure.keypoints, sure.confidence, None, "another", ("legs", "arms"))
    doubtful = dataclasses.replace(sure, alternative=other)
    with caplog.at_level("WARNING"):
        assert find_people(photo, FixedDetector([sure, doubtful])) == [sure, doubtful]
        assert not caplog.records  # whoever shows both readings says more of them
        tell_whose_sides_are_doubtful(photo, [sure, doubtful])
    (said,) = [record.message for record in caplog.records]
    assert "left and right" in said and said.endswith("person 1 (legs and arms)")
