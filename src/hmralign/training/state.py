"""The file with which an unfinished training is continued."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from hmralign.storage.whole_file import remove_parts, write_whole


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole: a kill leaves the earlier file or the new one. One process alone writes to its folder."""
    remove_parts(path.parent, path.name)
    content = BytesIO()  # to a file that cannot be written, torch gives an error of its own that says nothing of it
    torch.save(state, content)
    write_whole(path, content.getvalue())
