"""Annotation files of JSON: images and annotations joined, record by record, and columns kept for the next time.

Two layouts are in use: COCO's, where an annotation names its image by `image_id`, and HybrIK's, where the two lists
have equal lengths and belong together item by item. What is made of a file is kept in the user's cache, since reading
some hundred megabytes of numbers takes longer than everything else; a file that has changed is read again.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.labels import LabelColumns, Labels, is_same, same_for_all
from hmralign.adapters.record_block import Block
from hmralign.body.npz_file import read_npz, write_npz
from hmralign.storage.json_file import parse_json
from hmralign.storage.json_stream import json_items
from hmralign.storage.user_cache import user_cache
from hmralign.structures import InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.data")

CACHE_VERSION = 2
"""Raised whenever what is made of a record changes."""
CACHED_FROM_BYTES = 8 * 2**20
"""Smaller files are read anew each time."""

_AT_ONCE = 512

Row = dict[str, Any]
"""Columns of `Labels` for one person; `name`, `image` and `gender` among them."""

Columns = dict[str, Any]
"""Columns of `Labels` for some persons, but for their names; `image` and `gender` among them."""


def joined_records(path: Path, what: str, *, zipped: bool) -> Iterator[tuple[str, Any, Any]]:
    """Name, image and annotation of every record; an annotation whose image is not there is joined with None.

    Raises InputError where the file is no such JSON, and where the lists of a `zipped` file have unequal lengths.
    """
    records = (_zipped if zipped else _by_image_id)(path, what)
    if (first := next(records, None)) is None:
        raise InputError(f"{path}: not {what}: it has no list 'annotations' with anything in it")
    yield first
    yield from records


def _zipped(path: Path, what: str) -> Iterator[tuple[str, Any, Any]]:
    """Both lists are read side by side, so that neither of them is held."""
    images = json_items(path, what, ("images",), to_the_end=False)
    count = without = 0
    for item in json_items(path, what, ("annotations",)):
        image, count = next(images, None), count + 1
        without += image is None
        yield f"{path.name}:{item.number}", None if image is None else image.value, item.value
    beside = count - without + sum(1 for _ in images)
    if count and count != beside:
        raise InputError(
            f"{path}: has {counted(beside, 'image')} and {counted(count, 'annotation')}, which belong together item by "
            "item; expected as many of each"
        )


def _by_image_id(path: Path, what: str) -> Iterator[tuple[str, Any, Any]]:
    """Images are held as text, which takes a tenth of what objects do."""
    images = {}
    for item in json_items(path, what, ("images",), to_the_end=False):
        if isinstance(item.value, dict) and isinstance(item.value.get("id"), str | int):
            images[item.value["id"]] = to_json(item.value)
    for item in json_items(path, what, ("annotations",)):
        annotation = item.value if isinstance(item.value, dict) else {}
        own, key = annotation.get("id", item.number), annotation.get("image_id")
        image = images.get(key) if isinstance(key, str | int) else None
        yield f"{path.name}:{own}", None if image is None else from_json(image), item.value


def labels_of_records(
    records: Iterator[tuple[str, Any, Any]], columns_of: Callable[[Block, Block], Columns], faults: Faults
) -> Labels:
    """Columns of all records that fit; `columns_of` is given images and annotations. The others are counted."""
    gathered = LabelColumns()
    with _without_collector():
        while some := list(islice(records, _AT_ONCE)):
            for names, columns in _columns_of_some(some, columns_of, faults):
                gathered.add(Labels.of(names, **columns))
    return gathered.labels()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Without the collector of cycles, which goes through every list of numbers that is held, and finds none: values of
    JSON have no cycles. It takes more than half of the time of reading them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _columns_of_some(
    some: list[tuple[str, Any, Any]], columns_of: Callable[[Block, Block], Columns], faults: Faults
) -> Iterator[tuple[list[str], Columns]]:
    """Columns of records that are alike, in order: of all, or of halves where they do not fit together."""
    names, images, annotations = (list(part) for part in zip(*some, strict=True))
    try:
        if None in images:
            raise WrongRecordError("belongs to an image that is not in the file")
        yield names, columns_of(Block(images, "image"), Block(annotations))
    except WrongRecordError as error:
        if len(some) == 1:
            faults.add(names[0], str(error))
            return
        half = len(some) // 2
        yield from _columns_of_some(some[:half], columns_of, faults)
        yield from _columns_of_some(some[half:], columns_of, faults)


def labels_of_rows(rows: list[Row]) -> Labels:
    """Columns of some persons; what a row lacks is NaN."""
    if not rows:
        return Labels.of([])
    names = dict.fromkeys(key for row in rows for key in row)
    blank = {key: np.full(np.shape(next(row[key] for row in rows if key in row)), np.nan) for key in names
             if key not in ("name", "image", "gender")}  # fmt: skip
    columns = {key: np.stack([row.get(key, blank[key]) for row in rows]) for key in blank}
    if "confidence" in columns:
        columns["confidence"] = np.nan_to_num(columns["confidence"])
    return Labels.of(
        [row["name"] for row in rows], image=[row.get("image", "") for row in rows],
        gender=np.array([row.get("gender", 0) for row in rows]), **columns,
    )  # fmt: skip


def kept_labels(card: DatasetCard, path: Path, read: Callable[[Faults], Labels], faults: Faults) -> Labels:
    """What `read` makes of a file, out of the user's cache where the same file was read before."""
    if path.stat().st_size < CACHED_FROM_BYTES:
        return read(faults)
    kept = _cache_file(card, path)
    if kept is not None and kept.is_file() and (found := _read_kept(kept, faults)) is not None:
        return found
    logger.info("%s: reading it for the first time, which takes a while", path)
    own = Faults()
    labels = read(own)
    for why, names in own.names.items():
        faults.names.setdefault(why, []).extend(names)
        faults.counts[why] = faults.counts.get(why, 0) + own.counts[why]
    if kept is not None:
        _write_kept(kept, labels, own)
    return labels


def _cache_file(card: DatasetCard, path: Path) -> Path | None:
    """Named after everything that what is kept depends on; None where there is no home."""
    state = path.stat()
    key = f"{CACHE_VERSION} {card.name} {path.resolve()} {state.st_size} {state.st_mtime_ns}"
    try:
        folder = user_cache() / "hmralign" / "labels"
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):
        return None
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def _read_kept(kept: Path, faults: Faults) -> Labels | None:
    try:
        arrays = read_npz(kept)
        said = parse_json(str(arrays.pop("faults")))
        rows = len(arrays["name"])
        labels = Labels(**{f.name: _kept_column(arrays[f.name], rows) for f in fields(Labels)})
    except (InputError, KeyError, ValueError):
        return None  # damaged, or of another version: read again and replaced
    for why, entry in said.items():
        faults.names.setdefault(why, []).extend(entry["first"])
        faults.counts[why] = faults.counts.get(why, 0) + entry["count"]
    return labels


def _kept_column(column: np.ndarray, rows: int) -> np.ndarray:
    """A column of so many rows; one that is the same for all is kept as a single row."""
    return same_for_all(column[0], rows) if len(column) == 1 != rows and column.ndim > 1 else column


def _write_kept(kept: Path, labels: Labels, faults: Faults) -> None:
    columns = {f.name: getattr(labels, f.name) for f in fields(Labels)}
    arrays = {name: column[:1] if is_same(column) else column for name, column in columns.items()}
    try:
        write_npz(kept, {**arrays, "faults": np.array(json.dumps(faults.record()))}, compressed=False)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the file is read anew next time", kept, error.strerror or error)
