"""The detector environment: where it lies, when it counts as finished, and what is never deleted."""

import json
import os
import subprocess
import sys

import pytest

from hmralign.detection import environment
from hmralign.detection.environment import (
    MARKER,
    PARTIAL_MARKER,
    detector_environment,
    environment_python,
    require_detector_environment,
    setup_detector_environment,
)
from hmralign.structures import HmralignError, InputError


def make_finished(folder):
    python = environment_python(folder)
    python.parent.mkdir(parents=True)
    python.touch()
    (folder / MARKER).write_text("{}")


def test_variable_overrides_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv(environment.ENVIRONMENT_VARIABLE, str(tmp_path / "env"))
    assert detector_environment() is None
    make_finished(tmp_path / "env")
    assert detector_environment() == tmp_path / "env"


def test_half_made_is_absent(tmp_path):
    make_finished(tmp_path)
    (tmp_path / MARKER).unlink()
    assert detector_environment(tmp_path) is None
    with pytest.raises(InputError, match="hmralign setup-detector"):
        require_detector_environment(tmp_path)


def test_foreign_folder_is_never_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        setup_detector_environment(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(InputError, match="is a file"):
        setup_detector_environment(tmp_path / "thesis.tex")


def test_unsupported_python_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "SUPPORTED_PYTHON", ((3, 1), (3, 2)))
    with pytest.raises(InputError, match=r"Python 3\.1 to 3\.2"):
        setup_detector_environment(tmp_path / "env")


def test_failed_installation_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.venv, "EnvBuilder", lambda **_: type("B", (), {"create": lambda s, f: None})())

    def failing(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "searching\nERROR: no wheel for this platform\n")

    monkeypatch.setattr(environment.subprocess, "run", failing)
    folder = tmp_path / "env"
    with pytest.raises(HmralignError, match="no wheel for this platform"):
        setup_detector_environment(folder)
    assert detector_environment(folder) is None and (folder / PARTIAL_MARKER).exists()
    # The leftover is ours, so the next attempt removes it and comes as far again.
    (folder / "leftover").touch()
    with pytest.raises(HmralignError, match="no wheel"):
        setup_detector_environment(folder)
    assert not (folder / "leftover").exists()


def test_marker_holds_versions_and_ends_the_partial_state(tmp_path):
    (tmp_path / PARTIAL_MARKER).touch()
    environment._write_marker(tmp_path, {"mediapipe": "0.10.21"})
    assert json.loads((tmp_path / MARKER).read_text())["versions"] == {"mediapipe": "0.10.21"}
    assert sorted(os.listdir(tmp_path)) == [MARKER]


def test_worker_script_needs_nothing_of_this_package():
    from hmralign.detection.mediapipe_client import WORKER

    text = WORKER.read_text(encoding="utf-8")
    assert "import hmralign" not in text and "from hmralign" not in text
    compile(text, str(WORKER), "exec")
    assert sys.version_info >= (3, 10)
