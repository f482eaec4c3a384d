"""Files that are there whole or not at all: the way in which everything that is a file of its own is written.

A file is written beside its place under a name that ends in `.part`, and renamed when it is complete. A process that is
killed meanwhile leaves that part, which nobody takes for the file.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes | str, *, sync: bool = False) -> Path:
    """Write a file, making its folder where it is not there; returns `path`. Errors and `sync` as `whole_file`."""
    with whole_file(path, sync=sync) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def write_json(path: Path, value: Any, *, indent: int | None = 2, sync: bool = False) -> Path:
    """Write a value as JSON, which knows no NaN: ValueError for one. Errors and `sync` as `whole_file`."""
    return write_whole(path, json.dumps(value, indent=indent, allow_nan=False) + "\n", sync=sync)


def write_json_lines(path: Path, values: Iterable[Any], *, sync: bool = False) -> Path:
    """Write a line for each value, one after the other: millions of them need no memory. Errors as `write_json`."""
    with whole_file(path, sync=sync) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for value in values:
            file.write(f"{json.dumps(value, allow_nan=False)}\n")
    return path


@contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """The name under which to write a file that is to be at `path` when the block ends well; it vanishes otherwise.

    Two processes may write the same file: one of them is last. With `sync` the content is on disk before the file has
    its name. Raises OSError that names `path`, as where the disk is full.
    """
    part = path.with_name(f"{_start_of_parts(path)}{secrets.token_hex(4)}.part")
    with naming_file(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            if sync:
                _sync(part)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def take_over_file(source: Path, path: Path) -> None:
    """Let a whole file that is on disk have another name too, in the same file system if it can have two, else a copy.

    For files that are replaced and never changed. Raises OSError as `whole_file`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:  # a file system without second names, or another one
        write_whole(path, source.read_bytes(), sync=True)


@contextmanager
def naming_file(path: Path, instead_of: Path | None = None) -> Iterator[None]:
    """Let an OSError without a file's name, as that of a full disk, name `path`; also one that names `instead_of`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_parts(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left in a folder, or of one file of it; only where nobody else is writing there."""
    # SQLite keeps files beside its own, whose names are longer.
    pattern = "*.part" if name is None else f"{escape(_start_of_parts(folder / name))}*.part*"
    for part in folder.glob(pattern):
        part.unlink(missing_ok=True)


def _start_of_parts(path: Path) -> str:
    return f".{path.name[:50]}."  # the whole of a long name would be too long with an addition


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
