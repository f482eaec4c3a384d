"""Where the detector looks and whom it believes: each setting at work, on drawn people and without the networks."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hmralign.detection.boxes import box_iou
from hmralign.detection.catalogue import DetectorSetting
from hmralign.detection.mediapipe_client import PersonCandidates, RegionLandmarks
from hmralign.detection.mediapipe_detector import (
    MediapipeDetector,
    MediapipeDetectorConfig,
    make_mediapipe,
    make_tiles,
)
from hmralign.detection.person_candidates import Finding, own_landmarks
from support.detection_support import stick_person
from support.fake_detector_environment import make_fake_environment

SIDE = 400
PHOTO = np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3), np.uint8)
PLAIN = MediapipeDetectorConfig(network="full")


@dataclass
class DrawnPeople:
    """Answers as both networks would of a photo of these people; it stands for the detector process.

    `shift` is how many pixels the first of two passes is off. `behind` are seen only once something is painted out.
    """

    people: list[Finding]
    behind: list[Finding] = field(default_factory=list)
    shift: float = 0.0
    tiles: list = field(default_factory=list)
    read: list = field(default_factory=list)
    """Tiles that were looked at and regions that were read, call by call."""

    def _seen(self, image) -> list[Finding]:
        return self.people + ([] if np.array_equal(image, PHOTO) else self.behind)

    def detect(self, image, tiles, *, min_score=0.4):
        self.tiles.append(list(tiles))
        found = [p for p in self._seen(image) if p.detection >= min_score]
        points = [p.landmarks[[33, 34, 11, 34], :2] for p in found]
        boxes = [np.concatenate([p.points.min(0), p.points.max(0)]) for p in found]
        return PersonCandidates(
            np.zeros(len(found), np.float32), np.array([p.detection for p in found], np.float32),
            np.array(boxes, np.float32).reshape(-1, 4), np.array(points, np.float32).reshape(-1, 4, 2),
        )  # fmt: skip

    def landmarks(self, image, regions, *, mask_size=64, network="full"):
        self.read.append(list(regions))
        nearest = [
            min(self._seen(image), key=lambda p: np.hypot(p.region[0] - r[0], p.region[1] - r[1])) for r in regions
        ]
        landmarks = np.stack([p.landmarks for p in nearest])
        if mask_size == 0:  # the first pass
            landmarks[:, :33, 0] += self.shift
        return RegionLandmarks(
            np.array([p.presence for p in nearest], np.float32), landmarks, np.stack([p.world for p in nearest]),
            np.stack([p.alpha for p in nearest]),
        )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return make_fake_environment(tmp_path_factory.mktemp("detector") / "env")


@pytest.fixture
def detector(environment):
    """A detector that looks at drawn people."""

    def make(client: DrawnPeople, **settings) -> MediapipeDetector:
        made = MediapipeDetector(environment, replace(PLAIN, **settings))
        made._client = client
        return made

    return make


def trust(detector, client) -> float:
    """Trust in the last one found with no bar to it."""
    return detector(client, min_quality=0.0, min_quality_behind=0.0)(PHOTO)[-1].score


def grown(box: np.ndarray, share: float) -> np.ndarray:
    """A box that is wider and longer by a share, to the right and downwards."""
    return np.concatenate([box[:2], box[2:] + share * (box[2:] - box[:2])])


def test_tiles_are_those_of_the_scales(detector):
    for scales in ((), (0.6,), (0.6, 0.4)):
        client = DrawnPeople([])
        assert detector(client, tile_scales=scales)(PHOTO) == []
        assert client.tiles == [make_tiles(SIDE, SIDE, scales)]
    assert len(client.tiles[0]) > len(make_tiles(SIDE, SIDE, (0.6,))) > 1


def test_proposals_below_min_detection_are_ignored(detector):
    people = [stick_person(100, 200, 180, detection=0.9), stick_person(300, 200, 180, detection=0.5)]
    assert len(detector(DrawnPeople(people), min_detection=0.4)(PHOTO)) == 2
    (left,) = detector(DrawnPeople(people), min_detection=0.6)(PHOTO)
    assert left.box[2] < 200


def test_readings_whose_passes_disagree_by_more_than_max_disagreement_are_nobody(detector):
    """The region's side is 1.25 times the height, so the passes disagree by 10 of 250 pixels."""
    people = [stick_person(200, 200, 200)]
    assert len(detector(DrawnPeople(people, shift=10.0), max_disagreement=0.045)(PHOTO)) == 1
    assert detector(DrawnPeople(people, shift=10.0), max_disagreement=0.035)(PHOTO) == []


def test_bodies_that_the_segmentation_covers_by_less_than_min_coverage_are_nobody(detector):
    """A segmentation of the upper half covers nose, arms and hips, but no knee and no ankle: 9 of 13 landmarks."""
    person = stick_person(200, 200, 200)
    alpha = person.alpha.copy()
    alpha[36:] = 0
    client = DrawnPeople([replace(person, alpha=alpha)])
    assert len(detector(client, min_coverage=0.65, min_quality=0.0)(PHOTO)) == 1
    assert detector(client, min_coverage=0.75, min_quality=0.0)(PHOTO) == []


def test_people_trusted_less_than_min_quality_are_dropped(detector):
    client = DrawnPeople([stick_person(200, 200, 200, visibility=0.6)])
    found = trust(detector, client)
    assert 0.1 < found < 0.9
    assert len(detector(client, min_quality=found - 0.01)(PHOTO)) == 1
    assert detector(client, min_quality=found + 0.01)(PHOTO) == []


def test_people_behind_others_have_a_bar_of_their_own(detector):
    """The right one shows only once the left one is painted out; `min_quality` is not asked about them."""
    client = DrawnPeople([stick_person(110, 200, 200)], behind=[stick_person(300, 200, 200, visibility=0.6)])
    found = trust(detector, client)
    bars = {"min_quality": found + 0.05}
    assert len(detector(client, **bars, min_quality_behind=found - 0.01)(PHOTO)) == 2
    (left,) = detector(client, **bars, min_quality_behind=found + 0.01)(PHOTO)
    assert left.box[2] < 220


def test_min_own_landmarks_tells_people_from_pieces_of_those_before(detector):
    """The two stand side by side, and some landmarks of the second lie on the first."""
    front, other = stick_person(170, 200, 200), stick_person(230, 200, 200)
    own = own_landmarks(other, [front], (SIDE, SIDE))
    assert 3 < own < 13
    client = DrawnPeople([front], behind=[other])
    assert len(detector(client, min_own_landmarks=own)(PHOTO)) == 2
    assert len(detector(client, min_own_landmarks=own + 1)(PHOTO)) == 1


def test_no_more_than_max_regions_are_read_the_best_first(detector):
    people = [stick_person(50 + 100 * i, 200, 90, detection=0.5 + 0.1 * i) for i in range(4)]
    for most in (4, 2):
        client = DrawnPeople(people)
        found = detector(client, max_regions=most)(PHOTO)
        assert max(len(regions) for regions in client.read[:2]) == most == len(found)
    assert min(person.box[0] for person in found) > 200, "the most certain ones stand on the right"


def test_a_box_is_of_nobody_whose_own_overlaps_it_by_less_than_min_box_overlap(detector):
    client = DrawnPeople([stick_person(200, 200, 200)])
    (person,) = detector(client)(PHOTO)
    box = person.box.astype(np.float64)
    asked = grown(box, 0.25)
    overlap = box_iou(box, asked)
    assert 0.5 < overlap < 0.75
    found = detector(client, min_box_overlap=overlap - 0.02).detect_in_box(PHOTO, asked)
    assert found is not None and np.allclose(found.keypoints, person.keypoints)
    assert detector(client, min_box_overlap=overlap + 0.02).detect_in_box(PHOTO, asked) is None


def test_a_box_that_fits_somebody_by_good_box_overlap_is_not_looked_at_again(detector):
    client = DrawnPeople([stick_person(200, 200, 200)])
    (person,) = detector(client)(PHOTO)
    box = person.box.astype(np.float64)
    asked = grown(box, 0.1)
    overlap, calls = box_iou(box, asked), []
    for good in (overlap - 0.02, overlap + 0.02):
        client.read.clear()
        assert detector(client, good_box_overlap=good).detect_in_box(PHOTO, asked) is not None
        calls.append(len(client.read))
    assert calls[1] > calls[0]


def test_pictures_of_one_person_are_looked_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(make_fake_environment(tmp_path / "env")))
    one, any_photo = (make_mediapipe(DetectorSetting(one_person=alone)) for alone in (True, False))
    assert isinstance(one, MediapipeDetector) and isinstance(any_photo, MediapipeDetector)
    with one, any_photo:
        assert one.config.tile_scales == () and one.config.min_quality < any_photo.config.min_quality
        assert any_photo.config == MediapipeDetectorConfig()
