"""A lock for objects that threads share and that forked or spawned processes may inherit."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ProcessLock:
    """A re-entrant lock of one process.

    A forked process inherits an ordinary lock as it was, and waits forever if another thread held it: that thread does
    not exist there. Here every process has a lock of its own. A copy, as by pickling, is a free lock.
    """

    def __init__(self) -> None:
        self._by_process: dict[int, threading.RLock] = {}

    def __reduce__(self) -> tuple[type[ProcessLock], tuple[()]]:
        return ProcessLock, ()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of this process; a thread may hold it several times."""
        with self._by_process.setdefault(os.getpid(), threading.RLock()):  # `setdefault` gives all threads the same
            yield
