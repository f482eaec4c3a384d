"""Arrays of an `.npz` archive that anybody may have made: never unpickled, never unpacked beyond a limit.

Bodies, poses, noise and priors come in such archives. Whatever is wrong with one ends in one sentence that names it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from hmralign.structures import InputError

MAX_UNPACKED_BYTES = 2_000_000_000
"""Unpacked size of the arrays that are read from one archive; the largest released body has 250 MB of them, ten hours
of poses at 30 per second have 310 MB."""


def npz_sizes(path: Path) -> dict[str, int]:
    """Unpacked bytes of each array by name, as the archive states them. Raises InputError where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
    except Exception as error:  # see `read_npz`
        raise InputError(f"{path}: not an npz archive ({_sentence(error)})") from error


def read_npz(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The named arrays; the others are not touched.

    Raises InputError, naming the file, where it is missing or damaged, lacks an array, holds pickles in place of
    numbers or unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    sizes = npz_sizes(path)
    if missing := [name for name in names if name not in sizes]:
        raise InputError(f"{path}: lacks the arrays {missing}")
    unpacked = sum(sizes[name] for name in names)
    if unpacked > MAX_UNPACKED_BYTES:
        raise InputError(f"{path}: unpacks to {unpacked} bytes, expected at most {MAX_UNPACKED_BYTES}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # zipfile, zlib, lzma and numpy have a class each for every way of being damaged
        raise InputError(f"{path}: damaged npz archive ({_sentence(error)})") from error


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
