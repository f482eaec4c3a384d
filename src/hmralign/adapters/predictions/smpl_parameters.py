"""SMPL parameters of many persons in one dictionary, as people save what a regressor gives them.

    pred_smpl_params{global_orient, body_pose, betas}, or these three at the top
    pred_cam_t_full | camera_translation | transl       (N, 3), in the camera of the full image, or instead
    pred_cam, box_center, box_size, img_size            of the crop, with focal_length or scaled_focal_length
    img_path | image_path | imgname | image, boxes      names and corners; optional

These are the names of 4D-Humans' and TokenHMR's demos, of ScoreHMR (`pred_smpl_params`, `camera_translation`) and
CameraHMR. `pred_cam_t` alone is refused: it stands in the camera of the crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields, plain_array
from hmralign.adapters.predictions.body_values import camera_of, image_name, split_pose
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content
from hmralign.adapters.predictions.rows import Row, checked_row
from hmralign.geometry.crop_camera import crop_translation
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

FOCAL, CROP = 5000.0, 256.0

CARD = PredictionCard(
    name="smpl-parameters",
    systems="outputs of 4D-Humans (HMR2), TokenHMR, ScoreHMR, CameraHMR that were saved as one dictionary",
    source="Goel et al. 2023; Dwivedi et al. 2024; Stathopoulos et al. 2024; Patel and Black 2025; their demos",
    files="'global_orient', 'body_pose', 'betas' (at the top or in 'pred_smpl_params') with 'pred_cam_t_full', "
    "'camera_translation', 'transl', or 'pred_cam' and its box (.npz, .pkl, .pt)",
    skeleton="smpl",
    assumed=(
        "betas are of the neutral SMPL body",
        "where no focal length is given: 5000 / 256 times the longer side of the image, as 4D-Humans has it",
    ),
)

_PLACES = ("pred_cam_t_full", "camera_translation", "transl")
_IMAGES = ("img_path", "image_path", "imgname", "image", "img_name")
_FOCALS = ("focal_length", "scaled_focal_length")
_BODY = ("global_orient", "body_pose", "betas")
_COLUMNS = (*_PLACES, "pred_cam", "box_center", "box_size", "img_size", "boxes")


def fits(content: Content) -> bool:
    """Whether a file holds the three parameters of SMPL."""
    return all(key in _body(content.mapping) for key in _BODY[:2])


def _body(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    inside = mapping.get("pred_smpl_params", mapping)
    return inside if isinstance(inside, Mapping) else {}


def rows(content: Content, faults: Faults) -> list[Row]:
    """A row for each entry; persons without a name are `<file>:<number>`. Raises InputError for unequal lengths."""
    mapping, path = content.mapping, content.path
    columns = {key: _array(content, key, _body(mapping).get(key)) for key in _BODY}
    columns |= {key: _array(content, key, mapping[key]) for key in _COLUMNS if key in mapping}
    n = len(columns["global_orient"])
    for key, values in columns.items():
        if len(values) != n:
            raise InputError(f"{path}: '{key}' has {counted(len(values), 'row')}, expected {n}: lengths are unequal")
    place = next((key for key in (*_PLACES, "pred_cam") if key in columns), None)
    if place is None:
        told = "; 'pred_cam_t' stands in the camera of the crop" if "pred_cam_t" in mapping else ""
        raise InputError(f"{path}: has no {', '.join(_PLACES)} or 'pred_cam'{told}; expected one of them")
    focal = _focal(content, n)
    images = _images(content, n)
    found = []
    for row in range(n):
        name = f"{path.name}:{row}"
        try:
            one = Fields({key: values[row] for key, values in columns.items()})
            found.append({"name": name, "image": images[row], **_row(one, place, focal[row])})
        except WrongRecordError as error:
            faults.add(name, str(error))
    return found


def _array(content: Content, key: str, value: object) -> np.ndarray:
    array = plain_array(value)
    if array is None or array.ndim == 0:
        raise InputError(f"{content.path}: '{key}' is no array with a row for each person")
    return array


def _focal(content: Content, n: int) -> np.ndarray:
    """(n,), NaN where nothing is said."""
    for key in _FOCALS:
        if key in content.mapping:
            array = plain_array(content.mapping[key])
            if array is not None and array.size in (1, n, 2 * n):
                return np.broadcast_to(array.reshape(-1, 1 if array.size < 2 * n or n == 1 else 2)[:, 0], (n,))
            raise InputError(f"{content.path}: '{key}' is neither one number nor one for each person")
    return np.full(n, np.nan)


def _images(content: Content, n: int) -> list[str]:
    for key in _IMAGES:
        if key in content.mapping:
            value = content.mapping[key]
            value = value.tolist() if isinstance(value, np.ndarray) else value
            value = [value] * n if isinstance(value, str) else value
            if not isinstance(value, list) or len(value) != n or not all(isinstance(text, str) for text in value):
                raise InputError(f"{content.path}: '{key}' is {shown(value)}, expected a name for each person")
            return [image_name(text) for text in value]
    return [""] * n


def _row(one: Fields, place: str, focal: float) -> Row:
    row: Row = {"poses": split_pose(one), "betas": one.betas("betas") if "betas" in one else np.zeros(10)}
    if "boxes" in one:
        row["box"] = one.numbers("boxes", (4,))
    elif "box_center" in one and "box_size" in one:
        half, center = one.number("box_size") / 2, one.numbers("box_center", (2,))
        row["box"] = np.concatenate([center - half, center + half])
    if "img_size" in one:
        row["size"] = one.numbers("img_size", (2,))
        focal = focal if np.isfinite(focal) else FOCAL / CROP * float(row["size"].max())
        row["K"] = camera_of(focal, row["size"])
    if place != "pred_cam":
        row["transl"] = one.numbers(place, (3,))
        return checked_row(row)
    if "K" not in row:
        raise WrongRecordError("has 'pred_cam' and no 'img_size', expected width and height")
    if one.numbers("pred_cam", (3,))[0] <= 0:
        raise WrongRecordError("has a 'pred_cam' whose scale is not positive")
    camera, center = (torch.from_numpy(one.numbers(key)) for key in ("pred_cam", "box_center"))
    side, f = torch.tensor(one.number("box_size")), torch.tensor(float(row["K"][0, 0]))
    row["transl"] = crop_translation(
        camera, center, side.double(), f.double(), torch.from_numpy(row["size"] / 2)
    ).numpy()
    return checked_row(row)
