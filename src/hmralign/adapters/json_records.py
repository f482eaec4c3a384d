"""Annotation files of JSON: images and annotations joined, record by record, and columns kept for the next time.

Two layouts are in use: COCO's, where an annotation names its image by `image_id`, and HybrIK's, where the two lists
have equal lengths and belong together item by item. What is made of a file is kept in the user's cache, since reading
some hundred megabytes of numbers takes longer than everything else; a file that has changed is read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.labels import Labels, is_same, same_for_all
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

_AT_ONCE = 2000

Row = dict[str, Any]
"""Columns of `Labels` for one person; `name`, `image` and `gender` among them."""


def joined_records(path: Path, what: str, *, zipped: bool) -> Iterator[tuple[str, Any, Any]]:
    """Name, image and annotation of every record; an annotation whose image is not there is joined with None.

    Raises InputError where the file is no such JSON, and where the lists of a `zipped` file have unequal lengths.
    """
    images = {} if not zipped else []
    for item in json_items(path, what, ("images",), to_the_end=False):
        if isinstance(images, list):
            images.append(item.value)
        elif isinstance(item.value, dict) and isinstance(item.value.get("id"), str | int):
            images[item.value["id"]] = item.value
    count = 0
    for item in json_items(path, what, ("annotations",)):
        annotation, count = item.value, count + 1
        own = annotation.get("id", item.number) if isinstance(annotation, dict) else item.number
        if isinstance(images, list):
            yield f"{path.name}:{item.number}", images[item.number] if item.number < len(images) else None, annotation
        else:
            key = annotation.get("image_id") if isinstance(annotation, dict) else None
            yield f"{path.name}:{own}", images.get(key) if isinstance(key, str | int) else None, annotation
    if count == 0:
        raise InputError(f"{path}: not {what}: it has no list 'annotations' with anything in it")
    if zipped and count != len(images):
        raise InputError(
            f"{path}: has {counted(len(images), 'image')} and {counted(count, 'annotation')}, which belong together "
            "item by item; expected as many of each"
        )


def labels_of_records(
    records: Iterator[tuple[str, Any, Any]], row_of: Callable[[Fields, Fields], Row], faults: Faults
) -> Labels:
    """Columns of all records that fit; `row_of` is given image and annotation. The others are counted."""
    parts, rows = [], []
    for name, image, annotation in records:
        try:
            if image is None:
                raise WrongRecordError("belongs to an image that is not in the file")
            rows.append({"name": name, **row_of(Fields(image, "image"), Fields(annotation))})
        except WrongRecordError as error:
            faults.add(name, str(error))
        if len(rows) == _AT_ONCE:
            parts.append(labels_of_rows(rows))
            rows = []
    if rows or not parts:
        parts.append(labels_of_rows(rows))
    return Labels.cat(parts)


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
