"""The camera of a photo, and what the model sees of a person."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.images import load_image
from hmralign.data.keypoint_box import keypoint_box
from hmralign.detection.detection import Detection
from hmralign.detection.find_people import people_from_array
from hmralign.detection.mediapipe_detector import to_detection
from hmralign.detection.observe import camera_of, landmarks_of, observe
from hmralign.detection.person_mask import PersonMask
from hmralign.structures import InputError
from support.detection_support import stick_person
from support.recover_example import HEIGHT, WIDTH, example_photo

K = np.array([[300.0, 0, 70], [0, 310, 90], [0, 0, 1]])


@pytest.fixture(scope="module")
def photo():
    return load_image(example_photo()[0])


def test_a_camera_is_given_read_or_guessed_in_this_order(photo):
    with_exif = dataclasses.replace(photo, exif={"FocalLengthIn35mmFilm": 35.0})
    assert camera_of(photo).source == "estimated" and not camera_of(photo).known
    read = camera_of(with_exif)
    assert read.source == "exif"
    assert float(read.K[0, 0]) == pytest.approx(35 / math.hypot(36, 24) * math.hypot(WIDTH, HEIGHT))
    given = camera_of(with_exif, K)
    assert given.source == "given" and np.allclose(given.K, K)
    focal = camera_of(photo, focal_px=400.0)
    assert focal.K.tolist() == [[400, 0, (WIDTH - 1) / 2], [0, 400, (HEIGHT - 1) / 2], [0, 0, 1]]


def test_given_cameras_speak_of_the_original_photo(photo):
    reduced = dataclasses.replace(photo, original_size=(2 * WIDTH, 2 * HEIGHT), scale=(0.5, 0.5))
    scaled = camera_of(reduced, K).K
    # A point seen at pixel p of the original is seen at (p + 0.5) / 2 - 0.5 of the reduced photo.
    point = np.array([0.2, -0.1, 2.0])
    before, after = (np.asarray(k, np.float64) @ point / point[2] for k in (K, scaled))
    np.testing.assert_allclose(after[:2], (before[:2] + 0.5) / 2 - 0.5, atol=1e-4)
    assert float(camera_of(reduced, focal_px=400.0).K[0, 0]) == pytest.approx(200)


@pytest.mark.parametrize(
    "wrong",
    [np.eye(4), K * np.nan, K * [[-1], [1], [1]], K + np.diag([0, 0, 1]), K.T, np.zeros((3, 3))],
)
def test_wrong_intrinsics(photo, wrong):
    with pytest.raises(InputError, match="K is"):
        camera_of(photo, wrong)


@pytest.mark.parametrize("focal", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_focal_lengths(photo, focal):
    with pytest.raises(InputError, match="focal"):
        camera_of(photo, focal_px=focal)
    with pytest.raises(InputError, match="at most one"):
        camera_of(photo, K, 300.0)


def test_the_box_is_that_of_the_keypoints_whatever_the_detector_says(photo):
    person = people_from_array(example_photo()[1])[0]
    moved = dataclasses.replace(person, box=person.box + 30)
    seen = observe(moved, camera_of(photo))
    assert torch.equal(seen.box, keypoint_box(seen.keypoints, seen.confidence))
    assert seen.batch_shape == () and not bool(seen.has_mask) and not bool(seen.mask.any())
    assert not bool(seen.knows_camera) and bool(observe(moved, camera_of(photo, K)).knows_camera)


def test_the_mask_is_cut_to_the_box(photo):
    person = people_from_array(example_photo()[1])[0]
    everywhere = PersonMask.from_image(np.ones((HEIGHT, WIDTH), bool))
    seen = observe(dataclasses.replace(person, mask=everywhere), camera_of(photo))
    assert bool(seen.has_mask) and float(seen.mask.max()) == pytest.approx(1)
    assert float(seen.mask[24, 24]) == pytest.approx(1)


def test_of_a_box_only_the_box_is_seen(photo):
    box = np.array([-10.0, 20, 60, 150])
    seen = observe(Detection.of_box(box), camera_of(photo))
    assert seen.box.tolist() == box.tolist() and not bool(seen.has_mask)
    assert not bool(seen.confidence.any()) and bool(torch.isfinite(seen.keypoints).all())


def test_nearly_nothing_seen(photo):
    person = people_from_array(example_photo()[1])[0]
    confidence = np.zeros_like(person.confidence)
    confidence[:2] = 1
    with pytest.raises(InputError, match="at least 3"):
        observe(dataclasses.replace(person, confidence=confidence), camera_of(photo))


def a_detection() -> Detection:
    box = np.array([0, 0, 50, 100], np.float32)
    return Detection(np.ones((27, 2), np.float32), np.ones(27, np.float32), box, 0.9, detector="fake")


def test_3d_landmarks_are_carried_over_by_name_and_are_believed_where_the_keypoint_is_seen():
    world = np.zeros((33, 4), np.float32)
    world[:, :3] = np.arange(33 * 3).reshape(33, 3)
    confidence = np.linspace(0.1, 0.9, 27, dtype=np.float32)
    confidence[5] = 0.0
    found = dataclasses.replace(a_detection(), confidence=confidence, landmarks3d=world)
    landmarks = landmarks_of(found)
    at = KEYPOINT_NAMES.index
    assert landmarks.points[at("nose")].tolist() == world[0, :3].tolist()
    assert landmarks.points[at("right_ankle")].tolist() == world[28, :3].tolist()
    assert float(landmarks.confidence[5]) == 0 and float(landmarks.confidence[at("nose")]) == pytest.approx(0.1)
    for name in ("left_small_toe", "right_small_toe"):
        assert float(landmarks.confidence[at(name)]) == 0, "mediapipe has none"


def test_detectors_without_3d_landmarks_give_none():
    assert not landmarks_of(a_detection()).confidence.any()
    assert torch.isfinite(landmarks_of(a_detection()).points).all()


def test_landmarks_of_a_mediapipe_detection_are_in_camera_axes_whatever_the_size_of_the_photo():
    person = stick_person(200, 200, 200)
    small, full = (
        landmarks_of(to_detection(person, 0.9, (scale, scale), (round(400 / scale), round(400 / scale))))
        for scale in (1.0, 0.5)
    )
    assert torch.equal(small.points, full.points) and (small.confidence > 0.5).sum() > 10
    at = KEYPOINT_NAMES.index
    shoulders, hips = (small.points[[at(f"left_{n}"), at(f"right_{n}")]].mean(0) for n in ("shoulder", "hip"))
    assert shoulders[1] < hips[1], "y points down"
