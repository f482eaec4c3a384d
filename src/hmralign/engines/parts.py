"""Parts: a folder for each finished unit, there whole or not at all, whoever made it and however often.

    OUT/parts/
      manifest.json                 what the units are (`engines.manifest`)
      0000/0000017/                 unit 17, of the 1000 of its group; its content is that of its work
      0000/.hmralign-part-...       a draft: what a worker has in hand; a dead worker's is removed by the next one

A draft is on disk before it gets its name, and it gets it by one rename that fails where the name is taken. So two
workers that make the same unit leave one of two equal folders, and a worker that is killed leaves nothing that counts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmralign.storage.whole_folder import first_folder, remove_leftovers

logger = logging.getLogger("hmralign.engines")

FOLDER = "parts"
"""Beside what the parts are collected into."""

_IN_A_GROUP = 1000
"""File systems do not like a folder with a million others."""


def parts_folder(out: Path) -> Path:
    """Where the parts of a result are."""
    return out / FOLDER


def part_folder(parts: Path, number: int) -> Path:
    """Folder of one unit."""
    return parts / f"{number // _IN_A_GROUP:04d}" / f"{number:07d}"


def is_made(parts: Path, number: int) -> bool:
    """Whether a unit is there, whole."""
    return part_folder(parts, number).is_dir()


def missing_parts(parts: Path, units: int) -> list[int]:
    """Numbers of the units that are not there."""
    return [number for number in range(units) if not is_made(parts, number)]


@contextmanager
def making(parts: Path, number: int) -> Iterator[Path]:
    """A draft that becomes the unit when the block ends well; where another worker was first, its folder stays.

    A warning says so where that one holds other bytes: machines of other kinds may round otherwise.
    """
    folder = part_folder(parts, number)
    with first_folder(folder) as draft:
        yield draft
        sync_folder(draft)
        ours = folder_hash(draft)
    if folder.is_dir() and folder_hash(folder) != ours:  # it may have been collected since
        logger.warning("%s: another worker made it first, with other bytes; the first one stays", folder)


def clear_leftovers(parts: Path) -> None:
    """Remove the drafts of workers that are dead."""
    for group in parts.glob("[0-9]*"):
        remove_leftovers(group)


def remove_part(parts: Path, number: int) -> None:
    """Remove a unit that has been collected."""
    shutil.rmtree(part_folder(parts, number), ignore_errors=True)


def remove_parts_folder(parts: Path) -> None:
    """Remove everything: all has been collected."""
    shutil.rmtree(parts, ignore_errors=True)


def folder_hash(folder: Path) -> str:
    """SHA-256 of all files by name and content; locks do not count."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
        digest.update(
            f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode("utf-8", "surrogateescape")
        )
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """See that all files are on disk: a name that outlives a power cut must not stand before half a file."""
    for path in (p for p in folder.rglob("*") if p.is_file()):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
