"""The detector with heavy weights and without, on a process that answers as told."""

import hashlib
import logging

import numpy as np
import pytest

from hmralign.detection import heavy_network
from hmralign.detection.mediapipe_detector import MediapipeDetector, MediapipeDetectorConfig
from hmralign.detection.person_candidates import exchange_sides
from support.detection_support import stick_person
from support.fake_detector_environment import add_fake_heavy, make_fake_environment, photo_of_person

PERSON = stick_person(70.0, 200.0, 200.0)
"""Whom the full weights read in the fake environment."""
WEIGHTS = b"heavy weights"


@pytest.fixture(autouse=True)
def fake_weights(monkeypatch):
    monkeypatch.setattr(heavy_network, "HEAVY_SHA256", hashlib.sha256(WEIGHTS).hexdigest())


def read(environment, **config):
    with MediapipeDetector(environment, MediapipeDetectorConfig(**config)) as detector:
        (person,) = detector(photo_of_person(20))
        return person, detector.name, detector.versions["pose_landmark_heavy_sha256"]


def test_heavy_reading_is_followed_and_the_other_kept_where_sides_disagree(tmp_path):
    environment = make_fake_environment(tmp_path / "env")
    full, name, version = read(environment)
    assert (name, full.detector, version) == ("mediapipe", "mediapipe-0.10.21", "absent: full is used")
    add_fake_heavy(environment, exchange_sides(PERSON), WEIGHTS)
    heavy, name, version = read(environment)
    assert (name, heavy.detector) == ("mediapipe_heavy", "mediapipe_heavy-0.10.21")
    assert version == hashlib.sha256(WEIGHTS).hexdigest()
    assert heavy.sides_disagree and heavy.alternative is not None and heavy.alternative.exchanged == ("body",)
    assert not np.allclose(heavy.keypoints, full.keypoints)
    np.testing.assert_array_equal(heavy.alternative.keypoints, full.keypoints)
    np.testing.assert_array_equal(heavy.alternative.landmarks3d, full.landmarks3d)
    assert heavy.alternative.detector == full.detector and heavy.score == full.score
    asked, name, version = read(environment, network="full")
    assert (name, version) == ("mediapipe", "not asked for") and asked.alternative is None
    np.testing.assert_array_equal(asked.keypoints, full.keypoints)


def test_a_box_is_read_again_too(tmp_path):
    environment = make_fake_environment(tmp_path / "env")
    add_fake_heavy(environment, exchange_sides(PERSON), WEIGHTS)
    image = photo_of_person(20)
    with MediapipeDetector(environment) as detector:
        (person,) = detector(image)
        found = detector.detect_in_box(image, person.box)
    assert found is not None and found.detector == person.detector and found.sides_disagree
    np.testing.assert_array_equal(found.keypoints, person.keypoints)


def test_agreeing_readings_have_no_alternative(tmp_path):
    environment = make_fake_environment(tmp_path / "env")
    add_fake_heavy(environment, PERSON, WEIGHTS)
    person, name, _ = read(environment)
    assert name == "mediapipe_heavy" and person.alternative is None and not person.sides_disagree


def test_somebody_else_is_not_followed(tmp_path):
    environment = make_fake_environment(tmp_path / "env")
    add_fake_heavy(environment, stick_person(250.0, 200.0, 200.0), WEIGHTS)
    person, _, _ = read(environment)
    assert person.detector == "mediapipe-0.10.21" and person.alternative is None


@pytest.mark.parametrize(("content", "message"), [(None, "is not installed"), (b"other", "is not the expected file")])
def test_one_warning_says_what_is_missing(tmp_path, caplog, content, message):
    environment = make_fake_environment(tmp_path / "env")
    if content is not None:
        add_fake_heavy(environment, PERSON, content)
    with caplog.at_level(logging.WARNING, "hmralign.detection"):
        person, name, _ = read(environment)
    assert name == "mediapipe" and person.detector == "mediapipe-0.10.21"
    (warning,) = caplog.records
    assert message in warning.getMessage() and "setup-detector" in warning.getMessage()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "hmralign.detection"):
        read(environment, network="full")
    assert not caplog.records, "nothing is missing for what was not asked for"
