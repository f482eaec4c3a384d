"""Neural Localizer Fields.  Source: Sarandi and Pons-Moll 2024; names as the released model returns them.

A dictionary with `pose` (72), `betas`, `trans` (metres), `joints3d` (24, 3; millimetres), each an array with a row for
each person, or a list with such an array for each image; optional `boxes` (x, y, width, height, score) alike, and
`image_path` for each image. Everything is in the camera's axes.

The camera is what the model was given: `intrinsic_matrix` in the file, or a field of view of 55 degrees over the longer
side of the image where `image_size` (width, height) is there; else it is not known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields, plain_array
from hmralign.adapters.labels import box_of_xywh
from hmralign.adapters.predictions.body_values import camera_of, image_name
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content, is_list
from hmralign.adapters.predictions.rows import Row, checked_row
from hmralign.structures import InputError

DEFAULT_FIELD_OF_VIEW = 55.0

CARD = PredictionCard(
    name="nlf",
    systems="NLF (`detect_smpl_batched`)",
    source="Sarandi and Pons-Moll 2024",
    files="'pose', 'betas', 'trans' and mostly 'joints3d' (.npz, .pkl, .pt)",
    skeleton="smpl",
    assumed=(
        "joints3d are millimetres, trans metres, both in the camera's axes",
        "without intrinsic_matrix: a field of view of 55 degrees over the longer side of the image",
    ),
)

_COLUMNS = ("pose", "betas", "trans", "joints3d", "boxes")
_MILLIMETRES = 20.0
"""A pelvis farther than this from the camera is in millimetres: nobody is so far away, or nearer than 2 cm."""


def fits(content: Content) -> bool:
    """Whether a file holds pose, betas and trans, as NLF names them."""
    return {"pose", "betas", "trans"} <= set(content.mapping)


def rows(content: Content, faults: Faults) -> list[Row]:
    """The persons of all images, named `<image>#<number>`. Raises InputError for lists that do not belong together."""
    mapping = content.mapping
    columns = {key: _by_image(content, key) for key in _COLUMNS if mapping.get(key) is not None}
    counts = {key: len(parts) for key, parts in columns.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"{content.path}: has values of unequal numbers of images: {counts}")
    images, found = _names(content, counts["pose"]), []
    for number, image in enumerate(images):
        parts = {key: by_image[number] for key, by_image in columns.items()}
        persons = {key: len(part) for key, part in parts.items()}
        if len(set(persons.values())) > 1:
            faults.add(image, f"(a whole image) has values of unequal numbers of persons: {persons}")
            continue
        camera = _camera(mapping, number)
        for row in range(persons["pose"]):
            name = f"{image}#{row}"
            try:
                found.append({"name": name, "image": image, **_row({k: p[row] for k, p in parts.items()}, camera)})
            except WrongRecordError as error:
                faults.add(name, str(error))
    return found


def _by_image(content: Content, key: str) -> list[np.ndarray]:
    """Rows of persons for each image; an array of all persons is that of one image."""
    value = content.mapping[key]
    arrays = [plain_array(part) for part in value] if is_list(value) else [plain_array(value)]
    if not all(array is not None and array.ndim for array in arrays):
        raise InputError(f"{content.path}: '{key}' is neither an array with a row for each person nor a list of such")
    return [array for array in arrays if array is not None]


def _names(content: Content, images: int) -> list[str]:
    value = content.mapping.get("image_path")
    value = value.tolist() if isinstance(value, np.ndarray) else value
    value = [value] if isinstance(value, str) else value
    if value is None:
        return [f"{content.path.stem}:{number}" for number in range(images)]
    if not isinstance(value, list) or len(value) != images or not all(isinstance(text, str) for text in value):
        raise InputError(f"{content.path}: 'image_path' is no list with a name for each of {images} images")
    return [image_name(text) for text in value]


def _camera(mapping: Mapping[str, Any], number: int) -> Row:
    row: Row = {}
    size = plain_array(mapping.get("image_size"))
    if size is not None and size.shape[-1:] == (2,):
        row["size"] = size.reshape(-1, 2)[min(number, size.size // 2 - 1)].astype(float)
        half = math.radians(DEFAULT_FIELD_OF_VIEW) / 2
        row["K"] = camera_of(float(row["size"].max()) / 2 / math.tan(half), row["size"])
    K = plain_array(mapping.get("intrinsic_matrix"))
    if K is not None and K.shape[-2:] == (3, 3):
        row["K"] = K.reshape(-1, 3, 3)[min(number, K.size // 9 - 1)].astype(float)
    return row


def _row(one: Mapping[str, Any], camera: Row) -> Row:
    fields = Fields(one)
    row: Row = {
        "poses": fields.pose("pose"), "betas": fields.betas("betas"), "transl": fields.numbers("trans", (3,)), **camera,
    }  # fmt: skip
    if np.abs(row["transl"]).max() > _MILLIMETRES:
        raise WrongRecordError("has a 'trans' of more than 20, expected metres")
    if "joints3d" in fields:
        joints = fields.numbers("joints3d", (24, 3))
        row["joints"] = joints / 1000 if np.abs(joints[0]).max() > _MILLIMETRES else joints
    if "boxes" in fields:
        row["box"] = box_of_xywh(fields.numbers("boxes", (5,), (4,)))
    return checked_row(row)
