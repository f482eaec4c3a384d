"""Logs that grow by a line at a time: curves of a training, photos that failed."""

from __future__ import annotations

from pathlib import Path

from hmralign.storage.whole_file import naming_file


def append_line(path: Path, line: str) -> None:
    """Write a line at the end of a file, which is made where it is not there. Raises OSError that names the file."""
    with naming_file(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
