"""A folder, or a thing in it, that one process alone is at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hmralign.structures.errors import InputError


class HeldElsewhereError(InputError):
    """Another holder is at it, in this process or another."""


@contextmanager
def held_folder(folder: Path, doing: str, *, lock: str = ".lock") -> Iterator[None]:
    """Hold the folder's lock, making the folder where it is not there; the lock is free again when its holder ends.

    `doing` is what another holder does there, for the sentence, such as "writing to this store"; `lock` is the file's
    name, another one for each thing that can be held alone. Raises HeldElsewhereError where another one holds it, and
    InputError where the folder cannot be made or written to.
    """
    held = FileLock(folder / lock, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout as error:
        raise HeldElsewhereError(f"{folder}: another process is {doing}; wait for it or stop it") from error
    except OSError as error:
        raise InputError(f"{folder}: is no folder that can be written to ({error})") from error
    try:
        yield
    finally:
        held.release()
