"""The detector's own virtual environment.

mediapipe 0.10.21 is the last release whose wheel carries its model files, but its metadata pins numpy, protobuf and
jax to versions that clash with ours. It runs without those pins, so it lives in an environment of its own, made once by
`setup_detector_environment`, and is spoken to as a separate process (`mediapipe_client`).
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from hmralign.storage.json_file import read_json
from hmralign.storage.user_cache import user_cache
from hmralign.storage.whole_file import write_json
from hmralign.structures import HmralignError, InputError

logger = logging.getLogger("hmralign.detection")

ENVIRONMENT_VARIABLE = "HMRALIGN_DETECTOR_ENV"
"""Overrides where the environment lies."""

REQUIREMENTS = (
    "mediapipe==0.10.21",
    "absl-py>=2,<3",
    "attrs>=22",
    "flatbuffers>=2",
    "protobuf>=4.25.3,<5",
    "opencv-python-headless>=4.8,<5",
    "numpy>=1.26,<3",
    "matplotlib>=3.7,<4",
)
"""The first is installed without its dependencies; the others are all it really imports."""

SUPPORTED_PYTHON = ((3, 9), (3, 12))
"""Oldest and newest Python for which wheels of the first requirement exist."""

MARKER = "hmralign-detector.json"
PARTIAL_MARKER = "hmralign-detector.partial"


def default_environment_path() -> Path:
    """Where the environment lies unless a caller says otherwise: the variable, else the user's cache folder."""
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(override).expanduser() if override else user_cache() / "hmralign" / "detector-env"


def detector_environment(path: Path | str | None = None) -> Path | None:
    """Folder of a finished environment, or None where it is absent or was left half made."""
    folder = Path(path).expanduser() if path is not None else default_environment_path()
    return folder if (folder / MARKER).is_file() and environment_python(folder).exists() else None


def require_detector_environment(path: Path | str | None = None) -> Path:
    """Like `detector_environment`; raises `InputError` that says how to make it when it is absent."""
    folder = detector_environment(path)
    if folder is None:
        wanted = Path(path) if path is not None else default_environment_path()
        raise InputError(
            f"the person detector is not installed at '{wanted}': run `hmralign setup-detector` once, "
            "or use no detector and give keypoints, or boxes, from a file"
        )
    return folder


def installed_versions(folder: Path) -> dict[str, str]:
    """Versions of the libraries in a finished environment, as its marker has them."""
    content = read_json(folder / MARKER, "marker of a detector environment")
    return dict(content.get("versions", {})) if isinstance(content, dict) else {}


def environment_python(folder: Path) -> Path:
    """The interpreter inside an environment folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def setup_detector_environment(path: Path | str | None = None, *, force: bool = False) -> Path:
    """Make the environment, test it, and mark it finished; returns its folder.

    A finished environment whose self-test passes is kept unless `force`. A half-made one is removed and made again.
    The marker is written last, so nothing half made ever looks finished.

    Raises:
        InputError: the Python is unsupported, or `path` is a folder with foreign content.
        HmralignError: the installation or the self-test failed.
    """
    folder = Path(path).expanduser() if path is not None else default_environment_path()
    if not force and detector_environment(folder) is not None and _still_works(folder):
        logger.info("the detector environment at '%s' is complete", folder)
        return folder
    _check_python()
    _clear(folder)
    logger.info("installing the detector into '%s' (about a minute, 400 MB)", folder)
    _install(folder)
    versions = _self_test(folder)
    _write_marker(folder, versions)
    logger.info("the detector is ready: %s", ", ".join(f"{k} {v}" for k, v in versions.items()))
    return folder


def _check_python() -> None:
    low, high = SUPPORTED_PYTHON
    if not low <= sys.version_info[:2] <= high:
        raise InputError(
            f"the detector needs Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, "
            f"this is {sys.version_info[0]}.{sys.version_info[1]}"
        )


def _clear(folder: Path) -> None:
    """Remove what an earlier set-up left; refuse to touch a folder that we did not make."""
    if folder.is_dir() and any(folder.iterdir()):
        if not any((folder / name).exists() for name in (MARKER, PARTIAL_MARKER)):
            raise InputError(f"'{folder}' is not empty and is no detector environment: give an empty or new folder")
        shutil.rmtree(folder)
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file: give an empty or new folder for the detector environment")


def _install(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PARTIAL_MARKER).touch()
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
    except subprocess.CalledProcessError as error:
        raise HmralignError(
            "this Python cannot make virtual environments with pip (on Debian and Ubuntu install python3-venv)"
        ) from error
    first, *others = REQUIREMENTS
    _pip(folder, "--no-deps", first)
    _pip(folder, *others)


def _pip(folder: Path, *arguments: str) -> None:
    command = [str(environment_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        # pip's last line names what failed; the ones before repeat its search.
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise HmralignError(f"installing {arguments[-1]} for the detector failed: {reason[0]}")


def _still_works(folder: Path) -> bool:
    try:
        _self_test(folder)
    except HmralignError as error:
        logger.warning("the detector environment at '%s' is broken (%s) and is made again", folder, error)
        return False
    return True


def _self_test(folder: Path) -> dict[str, str]:
    """Run both networks once on a generated image; returns the versions in use."""
    import numpy as np

    from hmralign.detection.mediapipe_client import MediapipeClient

    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(128)), axis=-1)
    with MediapipeClient(environment_python(folder)) as client:
        client.detect(image, [(0.0, 0.0, 64.0, 64.0)], min_score=0.5)
        found = client.landmarks(image, [(32.0, 32.0, 64.0, 0.0)])
        if not np.isfinite(found.landmarks).all():
            raise HmralignError("the detector's self-test gave numbers that are not finite")
        return client.versions


def _write_marker(folder: Path, versions: dict[str, str]) -> None:
    content = {"format": 1, "requirements": list(REQUIREMENTS), "versions": versions}
    write_json(folder / MARKER, content)
    (folder / PARTIAL_MARKER).unlink(missing_ok=True)
