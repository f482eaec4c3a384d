"""Where caches of the user lie, and what to do where nothing can be written there.

A home may be read-only, missing or full, as in containers and on clusters: a cache is then kept in a temporary folder,
and a warning says so. Nothing but speed is lost.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

logger = logging.getLogger("hmralign.storage")


def user_cache() -> Path:
    """The folder of the user's caches: `XDG_CACHE_HOME`, or what the system has for them.

    Raises RuntimeError where there is no home.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local")))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def why_unwritable(folder: Path) -> str | None:
    """Why nothing can be written into a folder, which is made where it is not there; None where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def temporary_cache(instead_of: str, reason: str, advice: str) -> Path:
    """A folder that lasts as long as the process, with a warning that says `instead_of` which cache, and why."""
    folder = Path(tempfile.mkdtemp(prefix="hmralign-cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    logger.warning(
        "the cache %s cannot be written (%s): '%s' is used for this run; %s", instead_of, reason, folder, advice
    )
    return folder
