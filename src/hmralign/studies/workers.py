"""Several processes on one list of jobs: whoever gets a job's lock does it, the others go on to the next.

A job that is done never starts again, one that was cut off does; nobody waits for a lock while there is other work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from hmralign.storage.folder_lock import HeldElsewhereError, held_folder

logger = logging.getLogger("hmralign.alignment_study")

PAUSE = 5.0
"""Seconds between looks at jobs that others are at."""


class BusyError(Exception):
    """Another process is at something that a job needs; it is tried again later."""


@runtime_checkable
class Job(Protocol):
    """A piece of work whose result lies in files."""

    @property
    def name(self) -> str:
        """Name of its lock: the same in every process."""
        ...

    def is_done(self) -> bool:
        """Whether its files are there."""
        ...

    def do(self) -> None:
        """Do it. Raises BusyError where something that it needs is being made."""
        ...


@contextmanager
def held(locks: Path, name: str) -> Iterator[None]:
    """Hold the lock of a name. Raises BusyError where another process holds it."""
    with ExitStack() as while_held:
        try:
            while_held.enter_context(held_folder(locks, f"at {name}", lock=f"{name}.lock"))
        except HeldElsewhereError as error:
            raise BusyError(name) from error
        yield


def work_off(jobs: Sequence[Job], locks: Path, *, until: float | None = None, pause: float = PAUSE) -> list[str]:
    """Do all jobs, together with whoever else is at them; returns the names of those that are not done.

    No job starts after `until` (of `time.monotonic`).
    """
    left = list(jobs)
    while left := [job for job in left if not job.is_done()]:
        progress = False
        for job in left:
            if until is not None and time.monotonic() > until:
                return [j.name for j in left if not j.is_done()]
            progress |= _try(job, locks)
        if not progress:
            time.sleep(pause)
    return []


def _try(job: Job, locks: Path) -> bool:
    """Whether this process did the job."""
    try:
        with held(locks, job.name):
            if job.is_done():  # by another process, since it was looked at
                return False
            started, cpu = time.monotonic(), time.process_time()
            job.do()
            if not job.is_done():
                raise RuntimeError(f"{job.name} was done and left no result")
            spent = time.process_time() - cpu
            logger.info("%s: %.1f CPU s, %.1f s", job.name, spent, time.monotonic() - started)
            return True
    except BusyError:
        return False
