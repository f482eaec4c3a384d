"""The detector process may die, hang or talk nonsense; the caller gets an answer or one clear error."""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from hmralign.detection.mediapipe_client import DetectorError, MediapipeClient

FAKE = Path(__file__).parents[1] / "support" / "fake_detector_worker.py"
TILE = [(0.0, 0.0, 4.0, 4.0)]


@pytest.fixture
def client(tmp_path):
    worker = shutil.copy(FAKE, tmp_path / "worker.py")
    with MediapipeClient(Path(sys.executable), worker=worker, timeout=20.0) as client:
        yield client


def image(mode):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0, 0] = mode
    return pixels


def test_arrays_arrive_in_order(client):
    found = client.detect(image(0), TILE)
    assert found.tile.tolist() == [0.0] and found.score.tolist() == [1.0]
    assert found.box.tolist() == [[2.0, 3.0, 4.0, 5.0]]
    assert found.points.shape == (1, 4, 2) and found.points[0, 3, 1] == 13.0
    assert client.versions == {"mediapipe": "fake"}


def test_starts_only_when_needed_and_ends_on_close(client):
    assert client.process_id is None
    client.detect(image(0), TILE)
    pid = client.process_id
    client.close()
    assert client.process_id is None
    with pytest.raises(OSError):
        os.kill(pid, 0)
    assert client.detect(image(0), TILE).score.tolist() == [1.0]  # a closed client starts again, image included


def test_killed_process_is_replaced_and_gets_the_image_again(client):
    client.detect(image(0), TILE)
    first = client.process_id
    os.kill(first, signal.SIGKILL)
    assert client.detect(image(0), TILE).score.tolist() == [1.0]
    assert client.process_id not in (None, first)


def test_death_during_a_request_is_survived_once(client):
    assert client.detect(image(1), TILE).score.tolist() == [1.0]


def test_second_death_raises_and_the_next_image_works(client):
    with pytest.raises(DetectorError, match="ended twice during 'detect'"):
        client.detect(image(2), TILE)
    assert client.detect(image(0), TILE).score.tolist() == [1.0]


@pytest.mark.parametrize(
    ("mode", "message"), [(4, "ended twice"), (5, "refused 'detect': ValueError: no"), (6, "ended twice")]
)
def test_nonsense_and_refusals_are_errors(client, mode, message):
    with pytest.raises(DetectorError, match=message):
        client.detect(image(mode), TILE)


def test_hanging_process_is_ended(tmp_path):
    worker = shutil.copy(FAKE, tmp_path / "worker.py")
    with MediapipeClient(Path(sys.executable), worker=worker, timeout=0.7) as client:
        with pytest.raises(DetectorError, match="did not answer 'detect'"):
            client.detect(image(3), TILE)
        assert client.process_id is None


def test_missing_python_is_named(tmp_path):
    with MediapipeClient(tmp_path / "python") as client, pytest.raises(DetectorError, match="cannot be started"):
        client.detect(image(0), TILE)
