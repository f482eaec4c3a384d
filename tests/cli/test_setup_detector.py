"""`hmralign setup-detector`: it says what is there and what is missing, and fetches nothing where a file is given."""

import hashlib
import json

import pytest

from hmralign.cli.main import main
from hmralign.detection import environment, heavy_network
from hmralign.detection.environment import MARKER
from support.detection_support import stick_person
from support.fake_detector_environment import add_fake_heavy, make_fake_environment

WEIGHTS = b"heavy weights"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A finished environment that works, and the weights that are expected in it."""
    made = make_fake_environment(tmp_path / "env")
    (made / MARKER).write_text(json.dumps({"format": 1, "versions": {"mediapipe": "0.10.21"}}))
    monkeypatch.setenv(environment.ENVIRONMENT_VARIABLE, str(made))
    monkeypatch.setattr(environment, "_self_test", lambda folder: {"mediapipe": "0.10.21"})
    monkeypatch.setattr(heavy_network, "HEAVY_SIZE", len(WEIGHTS))
    monkeypatch.setattr(heavy_network, "HEAVY_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    return made


def test_check_says_what_is_installed_and_changes_nothing(folder, capsys):
    assert main(["setup-detector", "--check"]) == 0
    out, err = capsys.readouterr()
    assert str(folder) in out and "mediapipe 0.10.21" in out and "pose_landmark_heavy.tflite: absent" in out
    assert err.count("warning") == 1 and "is not installed" in err
    add_fake_heavy(folder, stick_person(), WEIGHTS)
    assert main(["setup-detector", "--check"]) == 0
    out, err = capsys.readouterr()
    assert f"ready, SHA-256 {hashlib.sha256(WEIGHTS).hexdigest()}" in out and "warning" not in err
    path = heavy_network.heavy_path(folder)
    assert path is not None
    path.write_bytes(b"changed")
    assert main(["setup-detector", "--check"]) == 0
    out, err = capsys.readouterr()
    assert f"wrong, SHA-256 {hashlib.sha256(b'changed').hexdigest()}" in out and "not the expected file" in err
    assert path.read_bytes() == b"changed"


def test_check_of_nothing_and_with_orders_to_install_is_refused(folder, tmp_path, capsys):
    assert main(["setup-detector", "--check", "--path", str(tmp_path / "none")]) != 0
    assert "not installed" in capsys.readouterr().err
    for order in (["--force"], ["--heavy", "file.tflite"]):
        assert main(["setup-detector", "--check", *order]) == 2
        assert "installs nothing" in capsys.readouterr().err


def test_a_given_file_is_installed_and_a_wrong_one_refused(folder, tmp_path, capsys, monkeypatch):
    def fetched(*_):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(heavy_network, "_fetch", fetched)
    path = add_fake_heavy(folder, stick_person(), WEIGHTS)
    path.unlink()
    given = tmp_path / "mine.tflite"
    given.write_bytes(WEIGHTS[::-1])
    assert main(["setup-detector", "--heavy", str(given)]) != 0
    assert "mine.tflite" in capsys.readouterr().err and not path.exists()
    given.write_bytes(WEIGHTS)
    assert main(["setup-detector", "--heavy", str(given)]) == 0
    assert "with the heavy landmark network" in capsys.readouterr().out and path.read_bytes() == WEIGHTS


def test_without_any_source_the_set_up_ends_well_with_one_warning(folder, capsys, monkeypatch):
    add_fake_heavy(folder, stick_person(), WEIGHTS).unlink()
    monkeypatch.setattr(heavy_network, "_fetch", lambda *_: None)
    assert main(["setup-detector"]) == 0
    out, err = capsys.readouterr()
    assert "with the full landmark network" in out and err.count("warning") == 1
