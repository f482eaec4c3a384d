"""The file from which an unfinished training is continued: tensors and plain values, written whole, no code in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from hmralign.storage.whole_file import remove_parts, write_whole
from hmralign.structures import InputError

STATE_FORMAT = 2
"""Number in every state; it changes when what a state holds changes, or what is drawn from a seed: else the rest of a
run would be drawn otherwise than its beginning."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state whole: a kill leaves the earlier file or the new one. One process alone writes to its folder."""
    remove_parts(path.parent, path.name)
    content = BytesIO()  # to a file that cannot be written, torch gives an error of its own that says nothing of it
    torch.save({"format": STATE_FORMAT, **state}, content)
    write_whole(path, content.getvalue())


def read_state(path: Path, names: Collection[str]) -> dict[str, Any]:
    """Read what `save_state` wrote, which must have those names, on the CPU.

    Raises InputError naming a file that is missing, damaged, of another format, or a pickle that holds code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such training state")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has another class of error for every way in which a file is damaged
        raise InputError(
            f"{path}: not a whole training state ({type(error).__name__}); remove it to start over"
        ) from error
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise InputError(
            f"{path}: not a whole training state of format {STATE_FORMAT}; finish the run with the version that began "
            "it, or remove the file to start over"
        )
    if missing := [name for name in names if name not in state]:
        raise InputError(f"{path}: not a whole training state (it has no '{missing[0]}'); remove it to start over")
    return state
