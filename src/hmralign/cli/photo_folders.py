"""Where each photo's results go."""

from __future__ import annotations

import glob
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hmralign.cli.usage import UsageError


def names_several(inputs: Sequence[str]) -> bool:
    """Whether a folder, a pattern or more than one file was named: then one bad photo does not stop the others."""
    return len(inputs) != 1 or os.path.isdir(inputs[0]) or (glob.has_magic(inputs[0]) and not os.path.exists(inputs[0]))


def folder_names(photos: Sequence[Path]) -> list[str]:
    """A folder name for each photo: its stem; with suffix, its folder's name and a number where names are equal.

    >>> folder_names([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/2.png"), Path("b/2.jpg")])
    ['a_1_jpg', 'b_1_jpg', '2_png', '2_jpg']
    """
    names: dict[int, str] = {}
    for way in (_stem, _stem_and_suffix, _with_parent):
        tried = {i: way(photo) for i, photo in enumerate(photos) if i not in names}
        taken = Counter(_folded(name) for name in (*tried.values(), *names.values()))
        names.update({i: name for i, name in tried.items() if taken[_folded(name)] == 1})
    for i, photo in enumerate(photos):
        if i not in names:
            names[i] = _numbered(_with_parent(photo), {_folded(name) for name in names.values()})
    return [names[i] for i in range(len(photos))]


def _folded(name: str) -> str:
    """Names that differ only in case are one folder on some systems."""
    return name.casefold()


def _stem(photo: Path) -> str:
    return photo.stem.strip(". ") or "photo"  # "...jpg" must not lead to the parent folder


def _stem_and_suffix(photo: Path) -> str:
    return f"{_stem(photo)}_{photo.suffix.lstrip('.').lower()}"


def _with_parent(photo: Path) -> str:
    return f"{photo.resolve().parent.name}_{_stem_and_suffix(photo)}"


def _numbered(name: str, taken: set[str]) -> str:
    return next(f"{name}_{n}" for n in count(1) if _folded(f"{name}_{n}") not in taken)


def require_writable(folder: Path) -> None:
    """Make the folder and try to write into it, before any work is done. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"'{folder}' cannot be written ({reason}); expected a writable folder for the results"
        ) from error
