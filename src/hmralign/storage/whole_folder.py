"""Folders that are there whole or not at all, and what killed processes left of them.

A folder is written under another name beside its place, and renamed when complete. A process that is killed meanwhile
leaves that draft. Its name says who wrote it, so that the next run can tell a leftover from another process's work:

    .hmralign-part-<machine>-<process>-<random>     a draft
    .hmralign-old-<machine>-<process>-<random>      an earlier result that steps aside while a draft takes its place
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hmralign.storage.whole_file import naming_file
from hmralign.structures import InputError

logger = logging.getLogger("hmralign.recover")

LEFTOVER_SECONDS = 86_400.0
"""Nothing is drafted for a day; older leftovers are removed whoever they belong to."""

_NAME = re.compile(r"\.hmralign-(?P<kind>part|old)-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-[a-z0-9_]{8}")


@contextmanager
def finished_folder(folder: Path) -> Iterator[Path]:
    """A draft folder that takes the place of `folder` when the block ends well, and vanishes when it does not.

    Raises InputError where the parent folder cannot be written.
    """
    with _draft(folder) as draft:
        yield draft
        _replace_folder(draft, folder)


@contextmanager
def first_folder(folder: Path) -> Iterator[Path]:
    """A draft folder that becomes `folder` when the block ends well, unless another process's did before: that stays.

    Raises InputError where the parent folder cannot be written.
    """
    with _draft(folder) as draft:
        yield draft
        try:
            os.rename(draft, folder)  # fails where a folder with something in it has that name
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A new folder beside the place, removed where the block fails."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix("part")))
    except OSError as error:
        raise InputError(
            f"'{folder.parent}' cannot be written ({error.strerror}); expected a writable folder"
        ) from error
    try:
        with naming_file(folder):
            os.chmod(draft, 0o755)
            yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _replace_folder(draft: Path, folder: Path) -> None:
    """Rename the draft; an earlier result steps aside first, so that at no time a mixture stands there."""
    if not folder.exists():
        os.rename(draft, folder)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix("old")))
    os.rename(folder, aside / folder.name)
    os.rename(draft, folder)
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove what killed processes left in a folder of results.

    Drafts are removed. An earlier result that had stepped aside is put back where nothing took its place.
    """
    for folder in [entry for entry in parent.glob(".hmralign-*") if _is_leftover(entry)]:
        logger.info("%s: left by a run that was killed; removed", folder)
        with suppress(FileNotFoundError):  # another process was quicker
            for earlier in list(folder.iterdir()) if "-old-" in folder.name else []:
                if not os.path.lexists(parent / earlier.name):
                    os.rename(earlier, parent / earlier.name)
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(kind: str) -> str:
    return f".hmralign-{kind}-{_machine()}-{os.getpid()}-"


def _machine() -> str:
    """A process number means nothing on another computer that shares the folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_leftover(folder: Path) -> bool:
    """Whether a folder is one of ours, and whoever wrote it has ended or wrote it more than a day ago."""
    name = _NAME.fullmatch(folder.name)
    if name is None or folder.is_symlink() or not folder.is_dir():
        return False
    try:
        old = time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS
    except OSError:  # another process was quicker
        return False
    return old or (name["machine"] == _machine() and not _runs(int(name["process"])))


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True  # there, asking with signal 0 would end the process
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
