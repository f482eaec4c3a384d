"""Ways in which an npz archive goes bad that its directory does not show."""

import zipfile
from pathlib import Path

import numpy as np


def with_broken_stream(path: Path, name: str) -> Path:
    """The archive, compressed, with the packed bytes of one array overwritten: zlib refuses them."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez_compressed(path, **arrays)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"{name}.npy").header_offset
    lengths = content[start + 26 : start + 28], content[start + 28 : start + 30]  # of the name and of the extra field
    start += 30 + sum(int.from_bytes(length, "little") for length in lengths)
    content[start : start + 16] = b"\xff" * 16  # a block of the type that does not exist
    path.write_bytes(content)
    return path
