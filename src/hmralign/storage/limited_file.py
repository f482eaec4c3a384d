"""Bytes of a file that anybody may have made: a regular file, and never more of it than a limit."""

from __future__ import annotations

from pathlib import Path

from hmralign.structures.errors import InputError

_STEP = 2**20


def read_limited(path: Path, max_bytes: int) -> bytes:
    """The content of a file.

    Raises InputError for a file that is larger, and for pipes and devices, which may have no end; OSError where it is
    missing or cannot be read.
    """
    require_regular(path)
    content, step = [], min(path.stat().st_size, max_bytes) + 1  # as much is reserved, and no more is read at once
    with path.open("rb") as file:
        while part := file.read(step):
            content.append(part)
            if sum(map(len, content)) > max_bytes:
                raise InputError(f"{path}: has more than {_size(max_bytes)}")
            step = _STEP  # it has grown, or the file system does not know its size
    return b"".join(content)


def require_regular(path: Path) -> None:
    """Raise InputError for a pipe or a device; a file or a folder is fine, and so is a path with nothing there."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a pipe or a device, expected a file")


def _size(max_bytes: int) -> str:
    return f"{max_bytes / 2**20:g} MB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
