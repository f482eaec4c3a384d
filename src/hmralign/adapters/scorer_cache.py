"""The cache that HMR-Scorer and SMPLer-X write of a data set.  Source: Shen et al. 2025 (ADHMR); Cai et al. 2023.

    {split}*.npz        one object for each person under "0", "1", ...; `data_len`, `data_strategy`
    images/<img_path>   or <img_path> beside the file

A person has `img_path`, `img_shape` (height, width), `bbox` (x, y, width, height), `joint_img` (points, 3) in the order
of OSX and SMPLer-X, and `smplx_param` (or `smplx`) with `root_pose` (3), `body_pose` (63), `shape` (10) in `cam`. There
is no camera: it is guessed from the size of the image, and the body is placed on its points.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.folders import need_one
from hmralign.adapters.json_records import Row, labels_of_rows
from hmralign.adapters.labels import Labels, box_of_xywh
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.npz_file import object_entries, read_npz
from hmralign.body.restricted_pickle import read_plain_object
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.data.dataset import DatasetSetting
from hmralign.structures import InputError
from hmralign.structures.counted import counted

CARD = DatasetCard(
    name="scorer-cache",
    title="Cache of HMR-Scorer or SMPLer-X",
    source="the data set that it was made of; the format is SMPLer-X's (Cai et al. 2023)",
    licence="that of the data set that it was made of",
    frame="cam, metres; no camera",
    joint_set="137 joints of OSX and SMPLer-X, of which the body's are read",
    family="smplx",
    keypoints="none in the files (joint_img are the true joints)",
    files={"{split}*.npz": "the cache", "images/**": "pictures, as img_path says"},
    splits=("any beginning of the caches' names",),
    where="written by the training code of HMR-Scorer and SMPLer-X (use_cache)",
)

MAX_OBJECT_BYTES, MAX_DIRECTORY, MAX_OPCODES = 2**22, 2**26, 100_000
_POINTS = (
    "pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "neck", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The first points of `joint_img`."""


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of the cache whose name begins with the split. Raises InputError as `adapted`."""
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the cache, and the folder of images. Raises InputError where it has fewer persons than it says."""
    path = index_path(folder, split)
    rows: list[Row] = []
    for name, content in object_entries(path, str.isdigit, max_bytes=MAX_OBJECT_BYTES, max_directory=MAX_DIRECTORY):
        try:
            rows.append({"name": f"{path.name}:{name}", **_row(_person(path, name, content))})
        except WrongRecordError as error:
            faults.add(f"{path.name}:{name}", str(error))
    _require_all(path, len(rows) + faults.total)
    return labels_of_rows(rows), folder / "images" if (folder / "images").is_dir() else folder


def index_path(folder: Path, split: str) -> Path:
    """The cache whose name begins with the split. Raises InputError as `need_one`."""
    return need_one(CARD, folder, f"{split}.npz", f"{split}*.npz")


def _person(path: Path, name: str, content: bytes) -> Fields:
    try:
        return Fields(read_plain_object(f"{path}: '{name}'", content, max_opcodes=MAX_OPCODES))
    except (InputError, WrongRecordError):
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise WrongRecordError("is a damaged pickle") from error


def _require_all(path: Path, found: int) -> None:
    try:
        said = int(read_npz(path, ["data_len"])["data_len"])
    except InputError:
        return  # more persons than a plain reader opens, or a cache that does not say
    if said != found:
        raise InputError(f"{path}: holds {found} persons, 'data_len' says {said}: it is not whole")


def _row(person: Fields) -> Row:
    smplx = person.inside("smplx_param" if "smplx_param" in person else "smplx")
    pose = np.zeros((24, 3))
    pose[0] = smplx.numbers("root_pose", (3,), (1, 3)).reshape(3)
    pose[1:22] = smplx.numbers("body_pose", (63,), (21, 3), (1, 63)).reshape(21, 3)
    height, width = person.numbers("img_shape", (2,), (3,))[:2]
    row: Row = {
        "image": person.text("img_path"), "size": np.array([width, height]), "poses": pose,
        "betas": smplx.betas("shape"),
    }  # fmt: skip
    if "bbox" in person:
        row["box"] = box_of_xywh(person.numbers("bbox", (4,)))
    found, points = person.numbers("joint_img", (None, 3), (None, 2)), np.full((29, 2), np.nan)
    if len(found) < len(_POINTS):
        raise WrongRecordError(f"'joint_img' has {counted(len(found), 'point')}, expected {len(_POINTS)} or more")
    for place, name in enumerate(_POINTS):
        points[JOINT_NAMES.index(name)] = found[place, :2]
    return {**row, "points": points}
