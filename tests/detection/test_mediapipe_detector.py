"""With the real networks: our graphs agree with mediapipe's own, and the photos' people are found."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.detection.boxes import box_iou
from hmralign.detection.detection import Detector
from hmralign.detection.environment import detector_environment, environment_python, setup_detector_environment
from hmralign.detection.mediapipe_client import MediapipeClient
from hmralign.detection.mediapipe_detector import MediapipeDetector
from hmralign.detection.mediapipe_landmarks import region_of_points
from support.shared_data import require_shared

pytestmark = [
    pytest.mark.detector,
    pytest.mark.skipif(
        detector_environment() is None, reason="the detector environment is absent (hmralign setup-detector)"
    ),
]

REFERENCE = """
import json, sys, cv2
from mediapipe.python.solutions.pose import Pose
image = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2RGB)
height, width = image.shape[:2]
with Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True) as pose:
    found = pose.process(image)
print(json.dumps({
    "landmarks": [[p.x * width - 0.5, p.y * height - 0.5, p.visibility] for p in found.pose_landmarks.landmark],
    "world": [[p.x, p.y, p.z] for p in found.pose_world_landmarks.landmark],
    "mask": float((found.segmentation_mask > 0.5).mean()),
}))
"""


@pytest.fixture(scope="module")
def detector():
    with MediapipeDetector() as detector:
        yield detector


def photo(name):
    return np.asarray(Image.open(require_shared(f"photos/{name}")).convert("RGB"))


@pytest.mark.parametrize("name", ["skier.jpg", "gym_pair_t040_m01.jpg"])
def test_both_graphs_agree_with_mediapipes_own(name):
    path, python = require_shared(f"photos/{name}"), environment_python(detector_environment())
    done = subprocess.run([str(python), "-c", REFERENCE, str(path)], capture_output=True, text=True, check=True)
    reference = json.loads(done.stdout.strip().splitlines()[-1])
    image = photo(name)
    with MediapipeClient(python) as client:
        found = client.detect(image, [(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))])
        best = int(np.argmax(found.score))
        read = client.landmarks(image, [region_of_points(found.points[best, 0], found.points[best, 1])])
    expected = np.array(reference["landmarks"])
    sure = expected[:, 2] > 0.8
    side = np.ptp(expected[sure, :2], axis=0).max()
    gap = np.linalg.norm(read.landmarks[0, :33, :2] - expected[:, :2], axis=1)[sure] / side
    assert sure.sum() > 15 and np.median(gap) < 0.01 and gap.max() < 0.06
    assert np.abs(read.landmarks[0, :33, 3] - expected[:, 2]).max() < 0.25
    assert np.abs(read.world[0] - np.array(reference["world"])).mean() < 0.02


def test_two_players(detector):
    assert isinstance(detector, Detector)
    image = photo("soccer.jpg")
    people = detector(image)
    assert len(people) == 2
    for person, truth in zip(
        sorted(people, key=lambda p: p.box[0]), ([207, 15, 383, 378], [426, 20, 635, 489]), strict=True
    ):
        assert box_iou(person.box.astype(float), np.array(truth, float)) > 0.85
        assert person.has_keypoints and person.landmarks3d.shape == (33, 4)
        drawn = person.mask.to_image(*image.shape[:2])
        seen = person.keypoints[:17][person.confidence[:17] > 0.9].round().astype(int)
        assert (drawn[seen[:, 1], seen[:, 0]] > 127).mean() > 0.8


def test_mirrored_photo_gives_mirrored_people(detector):
    image = photo("skier.jpg")
    (person,), (mirrored,) = detector(image), detector(np.ascontiguousarray(image[:, ::-1]))
    back = mirrored.keypoints[list(MIRROR_KEYPOINTS)]
    back[:, 0] = image.shape[1] - 1 - back[:, 0]
    sure = (person.confidence > 0.8) & (mirrored.confidence[list(MIRROR_KEYPOINTS)] > 0.8)
    gaps = np.linalg.norm(back - person.keypoints, axis=1)[sure]
    assert sure.sum() > 12 and np.median(gaps) < 0.02 * (person.box[3] - person.box[1])


def test_portrait_is_found_and_nothing_outside_it_believed(detector):
    image = photo("astronaut.jpg")
    (person,) = detector(image)
    assert person.confidence[KEYPOINT_NAMES.index("nose")] > 0.9
    assert person.confidence[KEYPOINT_NAMES.index("left_ankle")] == 0


@pytest.mark.parametrize(
    ("name", "man", "woman"),
    [
        ("gym_pair_t040_m03.jpg", [112, 170, 305, 510], [43, 216, 162, 433]),
        ("gym_pair_t080_m03.jpg", [71, 181, 242, 507], [81, 208, 163, 433]),
    ],
)
def test_overlapping_people_are_told_apart_by_their_boxes(detector, name, man, woman):
    image = photo(name)
    found = [detector.detect_in_box(image, np.array(box, np.float32)) for box in (man, woman)]
    for box, person in zip((man, woman), found, strict=True):
        assert person is not None and box_iou(person.box.astype(float), np.array(box, float)) > 0.7
    knees = [
        person.keypoints[[KEYPOINT_NAMES.index(f"{s}_knee") for s in ("left", "right")]].mean(0) for person in found
    ]
    assert knees[0][0] > knees[1][0] + 20  # he stands to the right of her


def test_nobody_is_invented(detector):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert detector(noise) == []
    assert detector.detect_in_box(noise, np.array([50, 20, 150, 220], np.float32)) is None
    sky_and_sea = np.ascontiguousarray(photo("surf_lesson.jpg")[:120])
    assert detector(sky_and_sea) == []


def test_killed_worker_is_replaced(detector):
    image = photo("park_207.jpg")
    before = detector(image)
    os.kill(detector._client.process_id, signal.SIGKILL)
    detector._last = None
    after = detector(image)
    np.testing.assert_allclose(after[0].keypoints, before[0].keypoints, atol=1e-3)


def test_finished_environment_is_kept():
    folder = detector_environment()
    marker = (folder / "hmralign-detector.json").stat().st_mtime_ns
    assert setup_detector_environment(folder) == folder
    assert (folder / "hmralign-detector.json").stat().st_mtime_ns == marker
