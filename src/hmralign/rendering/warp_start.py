"""Start Warp without its banner and without its complaint on machines that have no GPU."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_HARMLESS = b"Could not find or load the NVIDIA CUDA driver"


def started_warp() -> ModuleType:
    """The `warp` module, initialised; after this it reports warnings and errors only."""
    import warp as wp

    # Older releases have `quiet` only, newer ones levels only (40 errors, 30 warnings).
    wp.config.quiet = True  # pyright: ignore[reportAttributeAccessIssue]
    wp.config.log_level = 40
    with _without_driver_complaint():
        wp.init()
    wp.config.log_level = 30
    return wp


@contextmanager
def _without_driver_complaint() -> Iterator[None]:
    """Hold back what native code writes to stderr, then pass on all of it but the line about a missing driver."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().splitlines(keepends=True):
                if _HARMLESS not in line:
                    os.write(2, line)
