"""A folder that one process alone writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hmralign.structures import InputError


@contextmanager
def held_folder(folder: Path, doing: str) -> Iterator[None]:
    """Hold the folder's `.lock`, making the folder where it is not there.

    `doing` is what another holder does there, for the sentence, such as "writing to this store". Raises InputError
    where another one holds the lock, in this process or another, and where the folder cannot be made or written to.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another process is {doing}; wait for it or stop it") from error
    except OSError as error:
        raise InputError(f"{folder}: is no folder that can be written to ({error})") from error
    try:
        yield
    finally:
        lock.release()
