"""Tracks of 4D-Humans, and of what shares its tracker.  Source: Goel et al. 2023; PHALP (Rajasegaran et al. 2022).

`track.py` of 4D-Humans and of TokenHMR writes `results/demo_<video>.pkl` by joblib: the path of each frame -> lists
with an entry for each track: `smpl` {`global_orient` (1, 3, 3), `body_pose` (23, 3, 3), `betas` (10)}, `camera` (3),
`bbox` (x, y, width, height), `size` (height, width), `tid`, `tracked_time`. ScoreHMR starts from the same files.

`camera` is a translation in the camera of a square image of 256 pixels (`render.res`) around the frame, of focal length
5000: in pixels of the frame `f = 5000 max(height, width) / 256`, with the principal point in the middle. A track whose
`tracked_time` is not 0 was not seen in the frame but guessed; it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields, plain_array
from hmralign.adapters.labels import box_of_xywh
from hmralign.adapters.predictions.body_values import camera_of, image_name, split_pose
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content
from hmralign.adapters.predictions.rows import Row, checked_row

FOCAL, SQUARE = 5000.0, 256.0

CARD = PredictionCard(
    name="4d-humans",
    systems="4D-Humans (HMR2), TokenHMR: `track.py`",
    source="Goel et al. 2023; keys as public copies of PHALP write them",
    files="tracks of PHALP (.pkl): frames with 'smpl', 'camera', 'tid', 'bbox', 'size'",
    skeleton="smpl",
    assumed=(
        "camera of focal length 5000 in a square image of 256 pixels around the frame (EXTRA.FOCAL_LENGTH, render.res)",
        "betas are of the neutral SMPL body",
        "tracks that were guessed for a frame and not seen in it (tracked_time) are left out",
    ),
)

_LISTS = ("tid", "smpl", "camera", "bbox", "size")


def fits(content: Content) -> bool:
    """Whether a file holds frames of tracks."""
    first = content.first
    return bool(content.mapping) and {"smpl", "camera", "tid"} <= set(first)


def rows(content: Content, faults: Faults) -> list[Row]:
    """The persons of all frames, named `<frame>#<track>`."""
    found = []
    for frame, record in content.mapping.items():
        name = image_name(str(frame))
        try:
            found += _of_frame(name, record, faults)
        except WrongRecordError as error:
            faults.add(name, f"(a whole frame) {error}")
    return found


def _of_frame(name: str, record: Any, faults: Faults) -> list[Row]:
    frame = Fields(record)
    lists = {key: frame.items(key) for key in _LISTS}
    guessed = frame.items("tracked_time") if "tracked_time" in frame else [0] * len(lists["tid"])
    lengths = {key: len(values) for key, values in {**lists, "tracked_time": guessed}.items()}
    if len(set(lengths.values())) > 1:
        raise WrongRecordError(f"has lists of unequal lengths: {lengths}")
    found = []
    for place in range(len(guessed)):
        if _number(guessed[place]) != 0:
            continue
        one = {key: values[place] for key, values in lists.items()}
        track = f"{name}#{int(_number(one['tid']))}"
        try:
            found.append({"name": track, "image": name, **_row(one)})
        except WrongRecordError as error:
            faults.add(track, str(error))
    return found


def _number(value: object) -> float:
    array = plain_array(value)
    if array is None or array.size != 1:
        raise WrongRecordError("has a track without a number")
    return float(array.reshape(()))


def _row(one: Mapping[str, Any]) -> Row:
    fields = Fields(one)
    body = fields.inside("smpl")
    height, width = fields.numbers("size", (2,), (1, 2)).reshape(2)
    size = np.array([width, height])
    return checked_row({
        "size": size, "K": camera_of(FOCAL * max(width, height) / SQUARE, size), "poses": split_pose(body),
        "betas": body.betas("betas"), "transl": fields.numbers("camera", (3,), (1, 3)).reshape(3),
        "box": box_of_xywh(fields.numbers("bbox", (4,), (1, 4)).reshape(4)),
    })  # fmt: skip
