"""SAM 3D Body, whose body is MHR.  Source: Yang et al. 2026; names as `process_one_image` returns them.

A list of persons, a dictionary of image -> list, or the arrays of one person: `pred_keypoints_3d` (70, 3) in the
camera's axes about the body, `pred_cam_t` (3), which is added, `focal_length`, `pred_keypoints_2d` (70, 2), `bbox`
(corners), `pred_vertices`. The parameters of MHR itself are not read: its joints and shapes are others than SMPL's.

The principal point is not in the files; it is what takes the 3D keypoints to the 2D ones, which tells a wrong frame.
A body of SMPL's kind is fitted to the keypoints (`fitting.point_fit`): COCO's with feet, and four knuckles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.labels import intrinsics
from hmralign.adapters.predictions.body_values import image_name
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content, is_list
from hmralign.adapters.predictions.mhr70 import COUNT, joints_of, surface_of
from hmralign.adapters.predictions.rows import Row, checked_row
from hmralign.structures.counted import counted

CARD = PredictionCard(
    name="sam-3d-body",
    systems="SAM 3D Body (`process_one_image`)",
    source="SAM 3D Body and MHR (Apache-2.0); keys of its public code",
    files="persons with 'pred_keypoints_3d' (70, 3), 'pred_cam_t', 'focal_length' (.npz of one person, .npz, .pkl or "
    ".pt of a list, or of images with lists)",
    skeleton="mhr",
    assumed=(
        "MHR has other joints and shapes than SMPL: a body is fitted to 27 of its 70 keypoints, and joints that MHR70 "
        "does not name (pelvis, spine, collars, head, feet, hands) are those of the fitted body",
        "a keypoint of MHR70 lies where the keypoint of that name lies on the fitted body",
    ),
)

_OFF_SHARE = 0.02
"""Median distance of the 2D keypoints from the projected 3D ones, in units of the longer side of the box around them,
beyond which the two do not belong together."""


def fits(content: Content) -> bool:
    """Whether a file holds persons with MHR70 keypoints."""
    return any("pred_keypoints_3d" in place and "pred_cam_t" in place for place in (content.mapping, content.first))


def rows(content: Content, faults: Faults) -> list[Row]:
    """The persons, named `<image>#<number>`; the image is the file's name where it does not say."""
    found = []
    for image, number, person in _persons(content):
        name = f"{image}#{number}"
        try:
            found.append({"name": name, "image": image, **_row(person)})
        except WrongRecordError as error:
            faults.add(name, str(error))
    return found


def _persons(content: Content) -> Iterator[tuple[str, int, Any]]:
    value, stem = content.value, content.path.stem
    if isinstance(value, Mapping) and "pred_keypoints_3d" in value:
        yield _image(value, stem), 0, value
    elif isinstance(value, Mapping):
        for image, persons in value.items():
            several = persons if is_list(persons) else [persons]
            yield from ((image_name(str(image)), number, person) for number, person in enumerate(several))
    else:
        for number, person in enumerate(value):
            yield _image(person, stem), number, person


def _image(person: Any, otherwise: str) -> str:
    for key in ("image_path", "img_path", "imgname"):
        text = person.get(key) if isinstance(person, Mapping) else None
        text = str(text) if isinstance(text, str | np.str_) or getattr(text, "dtype", None) is not None else None
        if text:
            return image_name(text)
    return otherwise


def _row(person: Any) -> Row:
    fields = Fields(person)
    about, place = fields.numbers("pred_keypoints_3d", (None, 3)), fields.numbers("pred_cam_t", (3,), (1, 3))
    if len(about) < COUNT:
        raise WrongRecordError(f"'pred_keypoints_3d' has {counted(len(about), 'point')}, expected the {COUNT} of MHR70")
    points = about[:COUNT] + place.reshape(3)
    row: Row = {"joints": joints_of(points), "surface": surface_of(points)}
    if "pred_keypoints_2d" in fields and "focal_length" in fields:
        row["K"] = _camera(points, fields.numbers("pred_keypoints_2d", (None, 2))[:COUNT], fields)
    if "bbox" in fields:
        row["box"] = fields.numbers("bbox", (4,), (1, 4)).reshape(4)
    return checked_row(row)


def _camera(points: np.ndarray, pixels: np.ndarray, fields: Fields) -> np.ndarray:
    if len(pixels) != COUNT or (points[:, 2] <= 0).any():
        raise WrongRecordError("has keypoints behind the camera, or another number of them in the image")
    focal = float(fields.numbers("focal_length").reshape(-1)[0])
    flat = focal * points[:, :2] / points[:, 2:]
    centre = np.median(pixels - flat, axis=0)
    off = float(np.median(np.linalg.norm(flat + centre - pixels, axis=1)))
    if off > _OFF_SHARE * float(np.ptp(pixels, axis=0).max()):
        raise WrongRecordError(f"has 2D keypoints {off:.1f} pixels off its 3D ones: another camera, or other units")
    return intrinsics(np.array([focal, focal]), centre)
