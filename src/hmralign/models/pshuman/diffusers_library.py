"""The package `diffusers`, asked for where one of its networks is built: nothing else here needs it."""

from __future__ import annotations

import os
from typing import Any

from hmralign.structures import InputError

OLDEST = (0, 36)
"""The oldest version that this was tested with."""


def require_diffusers() -> Any:
    """The library. Raises InputError that says how to install it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing of it is to look for anything outside
    try:
        import diffusers
    except ImportError as error:
        raise InputError(
            "this model needs the package diffusers (0.36 or newer): run `pip install 'hmralign[diffusers]'`"
        ) from error
    if tuple(int(v) for v in diffusers.__version__.split(".")[:2]) < OLDEST:
        raise InputError(f"diffusers is {diffusers.__version__}; expected 0.36 or newer")
    return diffusers
