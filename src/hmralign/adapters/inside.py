"""Paths that a data file gives: followed below the folder of the data set, and never out of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hmralign.adapters.faults import WrongRecordError
from hmralign.structures.errors import shown


def path_below(root: Path, relative: str) -> Path:
    """The file of that name below a folder. Raises WrongRecordError for a path that leads out of it.

    The folder itself may be a link, as large data sets often are; what lies in it may not lead elsewhere.
    """
    pure = PurePosixPath(relative.replace("\\", "/"))
    if not relative or "\0" in relative or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
        raise WrongRecordError(f"has the path '{shown(relative)}', which leads out of the data set's folder")
    path = root / pure
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise WrongRecordError(f"has the path '{shown(relative)}', which is a link out of the data set's folder")
    except (OSError, RuntimeError, ValueError) as error:
        raise WrongRecordError(f"has the path '{shown(relative)}', which cannot be followed") from error
    return path
