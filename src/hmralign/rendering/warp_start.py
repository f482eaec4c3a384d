"""Start Warp without its banner and without its complaint on machines that have no GPU."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from hmralign.storage.user_cache import temporary_cache, user_cache, why_unwritable

_launched: set[tuple[str, str]] = set()
"""Modules of kernels and devices on which they were launched."""
_first_launch = threading.Lock()

_HARMLESS = b"Could not find or load the NVIDIA CUDA driver"


def started_warp() -> ModuleType:
    """The `warp` module, initialised; after this it reports warnings and errors only.

    Its compiled kernels are kept in `WARP_CACHE_PATH`, else in the user's cache (`XDG_CACHE_HOME`), else, where neither
    can be written, in a temporary folder.
    """
    import warp as wp

    # Older releases have `quiet` only, newer ones levels only (40 errors, 30 warnings).
    wp.config.quiet = True  # pyright: ignore[reportAttributeAccessIssue]
    wp.config.log_level = 40
    wp.config.kernel_cache_dir = wp.config.kernel_cache_dir or _kernel_cache()
    with _without_driver_complaint():
        wp.init()
    wp.config.log_level = 30
    return wp


def launch(kernel: Any, shape: int | tuple[int, ...], inputs: Sequence[Any], device: Any) -> None:
    """`warp.launch`, also by several threads: the first launch of a module, which compiles it, has Warp to itself."""
    import warp as wp

    key = kernel.module.name, str(device)
    if key in _launched:
        wp.launch(kernel, shape, inputs, device=device)
        return
    with _first_launch:
        wp.launch(kernel, shape, inputs, device=device)
        _launched.add(key)


def _kernel_cache() -> str | None:
    """A temporary folder where Warp's own choice cannot be written; None leaves the choice to Warp."""
    named = os.environ.get("WARP_CACHE_PATH")
    try:
        folder = Path(named) if named else user_cache() / "warp"
        reason, said = why_unwritable(folder), f"of compiled kernels, '{folder}',"
    except RuntimeError as error:
        reason, said = str(error), "of compiled kernels"
    if reason is None:
        return None
    advice = "they are compiled anew in each; WARP_CACHE_PATH or XDG_CACHE_HOME can name another place"
    return str(temporary_cache(said, reason, advice))


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
