"""Run something in a process with little memory and time: what an attack on a reader must not get past."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable
from typing import Any


def within_budget(do: Callable[[], Any], *, megabytes: int = 300, seconds: int = 5) -> Any:
    """What `do` gives, or the error it raises, in a fork that may take so much more memory and so much CPU time.

    Fails where the process ends otherwise: killed for its time, or by a crash. MemoryError comes through like others.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _serve(do, writing, megabytes, seconds)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        raise AssertionError(f"the process was ended by {signal.Signals(os.WTERMSIG(status)).name}")
    given, error = pickle.loads(answer)
    if error is not None:
        raise error
    return given


def _serve(do: Callable[[], Any], pipe: int, megabytes: int, seconds: int) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + megabytes * 2**20, before[1]))
        try:
            answer = (do(), None)
        except BaseException as error:
            answer = (None, error)
        resource.setrlimit(resource.RLIMIT_AS, before)
        with os.fdopen(pipe, "wb") as file:
            file.write(_pickled(answer))
    finally:
        os._exit(0)


def _pickled(answer: tuple[Any, BaseException | None]) -> bytes:
    try:
        return pickle.dumps(answer)
    except Exception:
        return pickle.dumps((None, RuntimeError(f"cannot be sent: {answer!r}"[:1000])))


def _address_space() -> int:
    """Bytes that this process has reserved; a fork begins with as many."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
