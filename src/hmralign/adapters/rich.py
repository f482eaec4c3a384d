"""RICH as it is published.  Source: Huang et al. 2022.

    {train,val,test}_body/<sequence>/<frame>/<subject>.pkl      SMPL-X in the world of the scan, written by Python 3
    scan_calibration/<scene>/calibration/<camera>.xml           OpenCV: CameraMatrix (3, 4), Intrinsics (3, 3)
    {train,val,test}/<sequence>/cam_<cc>/<frame>_<cc>.jpeg      one picture for each camera
    gender.json                                                 subject -> gender; optional

A body pickle has `transl, global_orient, body_pose, betas`, each with a first axis of 1. The name of a sequence begins
with that of its scene. Every body is seen by every camera of its scene that has a picture of the frame. Distortion is
given by the calibration and ignored here: towards the borders labels are some pixels off.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.folders import need_folder, need_split
from hmralign.adapters.json_records import Row, labels_of_rows
from hmralign.adapters.labels import Labels, gender_code
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.restricted_pickle import read_data_pickle
from hmralign.data.dataset import DatasetSetting
from hmralign.storage.json_file import read_json
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted

CARD = DatasetCard(
    name="rich",
    title="RICH",
    source="Huang et al. 2022, Capturing and Inferring Dense Full-Body Human-Scene Contact",
    licence="non-commercial research, by registration with its authors; not to be passed on",
    frame="world of the scan, metres; world to camera in the calibration; lens distortion ignored",
    joint_set="SMPL-X's 22 of the body",
    family="smplx",
    keypoints="none in the files",
    files={
        "{split}_body/*/*/*.pkl": "bodies",
        "{split}/*/cam_*/*.jpeg": "pictures",
        "scan_calibration/*/calibration/*.xml": "cameras",
        "gender.json": "gender of each subject (optional)",
    },
    splits=("train", "val", "test"),
    where="rich.is.tue.mpg.de (registration)",
)

MAX_BYTES, MAX_OPCODES, MAX_XML = 2**24, 100_000, 2**20


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of train, val or test, as every camera sees them.

    Raises InputError as `adapted`, and for another split.
    """
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of all bodies and cameras, and the folder of images."""
    bodies, images = need_folder(CARD, folder, f"{split}_body"), need_folder(CARD, folder, split)
    genders = _genders(folder)
    rows: list[Row] = []
    for sequence in sorted(p for p in images.iterdir() if p.is_dir()):
        scene = folder / "scan_calibration" / sequence.name.split("_")[0] / "calibration"
        for path in sorted((bodies / sequence.name).glob("*/*.pkl")):
            try:
                rows += _seen_by_all(path, sequence, scene, genders, images)
            except WrongRecordError as error:
                faults.add(path.relative_to(folder).as_posix(), str(error))
    return labels_of_rows(rows), images


def _seen_by_all(path: Path, sequence: Path, scene: Path, genders: dict[str, int], images: Path) -> list[Row]:
    body = Fields(read_data_pickle(path, "a body of RICH", max_bytes=MAX_BYTES, max_opcodes=MAX_OPCODES))
    pose = np.zeros((24, 3))
    pose[0] = body.numbers("global_orient", (1, 3), (3,)).reshape(3)
    pose[1:22] = body.numbers("body_pose", (1, 63), (63,)).reshape(21, 3)
    row = {
        "poses": pose, "betas": body.betas("betas"), "transl": body.numbers("transl", (1, 3), (3,)).reshape(3),
        "gender": genders.get(path.stem, 0),
    }  # fmt: skip
    rows, frame = [], path.parent.name
    for folder in sorted(sequence.glob("cam_*")):
        camera = folder.name.removeprefix("cam_")
        picture = folder / f"{frame}_{camera}.jpeg"
        if not picture.is_file() or not camera.isdigit():
            continue
        R, t, K = _calibration(scene / f"{int(camera):03d}.xml")
        image = picture.relative_to(images).as_posix()
        rows.append({**row, "name": f"{image}#{path.stem}", "image": image, "K": K, "R_cam_file": R, "t_cam_file": t})
    if not rows:
        raise WrongRecordError("has no picture of any camera")
    return rows


@lru_cache(maxsize=256)
def _calibration(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation and translation from world to camera, and intrinsics. Raises InputError where the file is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such calibration; expected that of a camera of RICH")
    content = read_limited(path, MAX_XML)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputError(f"{path}: declares entities, which no calibration does")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: no XML ({error})") from error
    T, K = _matrix(path, root, "CameraMatrix", (3, 4)), _matrix(path, root, "Intrinsics", (3, 3))
    return T[:, :3], T[:, 3], K


def _matrix(path: Path, root: ElementTree.Element, name: str, shape: tuple[int, int]) -> np.ndarray:
    found = root.find(name)
    data = None if found is None else found.find("data")
    text = "" if data is None or data.text is None else data.text
    numbers = re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", text)
    if len(numbers) != shape[0] * shape[1]:
        raise InputError(f"{path}: '{name}' has {counted(len(numbers), 'number')}, expected {shape[0]} x {shape[1]}")
    return np.array([float(n) for n in numbers]).reshape(shape)


def _genders(folder: Path) -> dict[str, int]:
    path = next((p for p in (folder / "gender.json", folder / "resource" / "gender.json") if p.is_file()), None)
    if path is None:
        return {}
    found = read_json(path, "genders of subjects")
    if not isinstance(found, dict):
        raise InputError(f"{path}: not genders of subjects")
    return {str(subject).zfill(3): gender_code(str(gender)) for subject, gender in found.items()}
