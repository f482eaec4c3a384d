"""Work in a copy of the test's process, which may be killed at any point, and no interpreter starts.

pid = start(lambda: main(["align", ...]))
os.kill(pid, signal.SIGKILL)
assert end(pid) == -signal.SIGKILL
"""

import faulthandler
import os
import traceback
from collections.abc import Callable

import pytest


def start(work: Callable[[], object]) -> int:
    """The process that does the work; its exit code is what the work gives if that is a number, and 1 if it raises."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that are copies")
    pid = os.fork()
    if pid == 0:
        os._exit(_code_of(work))
    return pid


def end(pid: int) -> int:
    """Wait for a process; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def runs(pid: int) -> bool:
    """Whether a process that was started is still at work; one that has ended stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def run(work: Callable[[], object]) -> int:
    return end(start(work))


def _code_of(work: Callable[[], object]) -> int:
    faulthandler.cancel_dump_traceback_later()
    try:
        given = work()
    except SystemExit as ended:
        given = ended.code
    except BaseException:
        traceback.print_exc()
        return 1
    return given if isinstance(given, int) else 0
