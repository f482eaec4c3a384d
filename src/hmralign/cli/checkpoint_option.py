"""Weights that are not there are refused before torch is loaded, as a mistyped name is the commonest mistake."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from hmralign.cli.usage import UsageError
from hmralign.models.shipped import SHIPPED, no_such_checkpoint


def require_checkpoint(name: str) -> None:
    """Raise UsageError for what is neither shipped, nor a file, nor code of the user's (`structures.extensions`).

    What a file holds is looked at when it is opened.
    """
    if name in SHIPPED or os.path.exists(name) or ":" in name:
        return
    if name not in {point.name for point in entry_points(group="hmralign.policies")}:
        raise UsageError(no_such_checkpoint(name))
