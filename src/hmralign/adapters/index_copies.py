"""Some records of an annotation index, written in the form that it had: what trainers read goes on being read.

    human-data                       archive (OSX, SMPLer-X, MMHuman3D)        rows of every array and dictionary
    hybrik-json, 3dpw-json, h36m     JSON (HybrIK, ScoreHypo, Hand4Whole, OSX) annotations, and the images they name
    scorer-cache                     cache of HMR-Scorer and SMPLer-X          persons, counted anew

Copies are made record by record or some rows at a time, so an index of millions needs no more memory than one of
thousands. Dictionaries of an archive are pickles, because those who read it ask for that; nothing else here is.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Callable, Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hmralign.adapters.npz_columns import MAX_OBJECT_BYTES, MAX_OPCODES, read_dictionary
from hmralign.body.npz_file import npz_object_axes, npz_rows, npz_shapes, opened_archive, read_object_bytes
from hmralign.body.restricted_pickle import is_pickled_array, read_object_array
from hmralign.data.names import DATASETS
from hmralign.storage.json_stream import json_items
from hmralign.storage.whole_file import whole_file
from hmralign.structures import InputError
from hmralign.structures.errors import shown

_ROWS_AT_ONCE = 4096

FORMS: Mapping[str, str] = {
    "human-data": "archive", "hybrik-json": "json", "3dpw-json": "json", "h36m": "json", "scorer-cache": "cache",
}  # fmt: skip
"""Data sets whose split is one index -> how it is copied."""


def write_kept(dataset: str, folder: Path, split: str, kept: Collection[str], out: Path) -> Path:
    """The records of these names, as `Labels.name` has them, beside `out` with the suffix of the index.

    Returns the file. Raises InputError for a data set that is no single index, and as its reader does.
    """
    if dataset not in FORMS:
        raise InputError(f"'{dataset}' is no index in one file; the copy of kept records is for {', '.join(FORMS)}")
    module: Any = importlib.import_module(DATASETS[dataset].partition(":")[0])
    path: Path = module.index_path(folder, split)
    names = set(kept)
    out = out.with_suffix(path.suffix)

    def is_kept(own: object) -> bool:
        return f"{path.name}:{own}" in names

    if FORMS[dataset] == "json":
        by_item = dataset == "h36m" or (dataset == "hybrik-json" and not module.names_images(path, "annotations"))
        return copy_json(path, is_kept, out, by_item=by_item)
    return copy_archive(path, is_kept, out) if FORMS[dataset] == "archive" else copy_cache(path, is_kept, out)


# -- JSON --------------------------------------------------------------------------------------------------------------


def copy_json(path: Path, is_kept: Callable[[object], bool], out: Path, *, by_item: bool) -> Path:
    """Kept annotations with their images; all other lists as they are.

    With `by_item` annotations and images belong together by their places, else by `image_id`.
    """
    what, flags, images = "annotations", [], set()
    for item in json_items(path, what, ("annotations",)):
        annotation = item.value if isinstance(item.value, dict) else {}
        own = item.number if by_item else annotation.get("id", item.number)
        flags.append(is_kept(own))
        if flags[-1]:
            images.add(item.number if by_item else annotation.get("image_id"))
    with whole_file(out) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        key, first = None, True
        file.write("{")
        for item in json_items(path, what):
            if item.key != key:
                file.write(("" if key is None else "],") + f"{json.dumps(item.key)}: [")
                key, first = item.key, True
            if item.key == "annotations" and not flags[item.number]:
                continue
            if item.key == "images" and (item.number if by_item else _id(item.value)) not in images:
                continue
            file.write(("" if first else ",\n") + json.dumps(item.value))
            first = False
        file.write("]}\n" if key is not None else "}\n")
    return out


def _id(value: object) -> object:
    return value.get("id") if isinstance(value, dict) else None


# -- archives ----------------------------------------------------------------------------------------------------------


def copy_archive(path: Path, is_kept: Callable[[object], bool], out: Path) -> Path:
    """Rows of an archive whose arrays and dictionaries have one for each record."""
    shapes, objects = npz_shapes(path), npz_object_axes(path)
    if "image_path" not in shapes:
        raise InputError(f"{path}: lacks 'image_path', so it is no archive with a row for each record")
    rows = shapes["image_path"][0]
    keep = np.fromiter((is_kept(row) for row in range(rows)), bool, rows)
    with whole_file(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                if name in objects:
                    _write_object(path, name, objects[name], rows, keep, file)
                elif shape[:1] == (rows,) and not name.startswith("__") and not name.endswith("_mask"):
                    _write_rows(path, name, shape, keep, file)
                else:
                    _copy_member(path, f"{name}.npy", file)
    return out


def _write_rows(path: Path, name: str, shape: tuple[int, ...], keep: np.ndarray, file: Any) -> None:
    first, has_header = 0, False
    for block in npz_rows(path, [name], _ROWS_AT_ONCE):
        values = block[name]
        if not has_header:
            head = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False,
                    "shape": (int(keep.sum()), *shape[1:])}  # fmt: skip
            np.lib.format.write_array_header_2_0(file, head)
            has_header = True
        file.write(np.ascontiguousarray(values[keep[first : first + len(values)]]).tobytes())
        first += len(values)


def _write_object(path: Path, name: str, axes: int, rows: int, keep: np.ndarray, file: Any) -> None:
    if axes:
        content = read_object_bytes(path, name, MAX_OBJECT_BYTES, axes)
        items = read_object_array(f"{path}: '{shown(name)}'", content, max_opcodes=MAX_OPCODES)
        if not all(isinstance(item, str) for item in items):
            raise InputError(f"{path}: '{shown(name)}' holds objects that are no texts, which are not written again")
        value: Any = np.array(items)[keep] if len(items) == rows else np.array(items)
    else:
        value = np.empty((), object)
        value[()] = {
            key: _some(path, f"{name}.{key}", item, rows, keep) for key, item in read_dictionary(path, name).items()
        }
    np.lib.format.write_array(file, value, allow_pickle=True, pickle_kwargs={"fix_imports": False})


def _some(path: Path, name: str, value: Any, rows: int, keep: np.ndarray) -> Any:
    """The kept rows of a value that has one for each record; anything else as it is."""
    if is_pickled_array(value):
        shape, _, _, items = value.state
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items) or shape != (len(items),):
            raise InputError(f"{path}: '{shown(name)}' holds objects that are no texts, which are not written again")
        value = items
    if isinstance(value, np.ndarray) and value.shape[:1] == (rows,):
        return np.ascontiguousarray(value[keep])
    if isinstance(value, list | tuple) and len(value) == rows:
        return [item for item, kept in zip(value, keep, strict=True) if kept]
    return value


def _copy_member(path: Path, member: str, file: Any) -> None:
    with opened_archive(path) as archive, archive.open(member) as source:
        while part := source.read(2**20):
            file.write(part)


# -- caches ------------------------------------------------------------------------------------------------------------


def copy_cache(path: Path, is_kept: Callable[[object], bool], out: Path) -> Path:
    """Persons of a cache, whose pickles are copied unread; they are numbered anew and counted."""
    with (
        opened_archive(path, max_directory=2**26) as source,
        whole_file(out) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        number = 0
        for info in source.infolist():
            name = info.filename.removesuffix(".npy")
            if name == "data_len" or (name.isdigit() and not is_kept(name)):
                continue
            new = str(number) if name.isdigit() else name
            number += name.isdigit()
            with source.open(info) as content, archive.open(f"{new}.npy", "w", force_zip64=True) as file:
                while some := content.read(2**20):
                    file.write(some)
        count = BytesIO()
        np.lib.format.write_array(count, np.array(number), allow_pickle=False)
        archive.writestr("data_len.npy", count.getvalue())
    return out
