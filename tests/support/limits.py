"""A bound on memory around code that must not read everything it is given."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def most_memory(more: int) -> Iterator[None]:
    """At most `more` bytes of address space beyond what the process has; beyond that Python raises MemoryError.

    Other systems than Linux do not say how much a process has, and get no bound.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
