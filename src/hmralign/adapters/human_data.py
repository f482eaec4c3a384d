"""HumanData, the archive of MMHuman3D: one npz with a row for each person.  Source: MMHuman3D contributors 2021.

    <split>*.npz                    also in annotations/
    images/<image_path>             or <image_path> beside the file

`image_path`, `bbox_xywh` (5), `smpl`, `smplx` or `smplh` (dictionaries of `global_orient`, `body_pose`, `betas`,
`transl`), `keypoints2d*` (N, 190, 3) with `*_mask` (190), `meta` and `misc` (gender, size and camera of each image).
With `__keypoints_compressed__` the keypoint arrays hold only the entries whose mask is set. Used for MPI-INF-3DHP,
MPII, COCO, UP-3D, InstaVariety, HI4D, DNA-Rendering, GTA-Human II, SPEC and many more. Bodies are in `cam`, metres; a
body without `transl` is placed on the keypoints. GTA-Human II has one camera for all images, which its files lack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from hmralign.adapters.bodies import LabelBodies
from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults
from hmralign.adapters.folders import need_one
from hmralign.adapters.labels import Labels, box_of_xywh, gender_code, intrinsics
from hmralign.adapters.npz_columns import Columns, read_dictionary, row_numbers, row_texts
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.body_file import BodyFamily
from hmralign.body.npz_file import npz_rows, npz_sizes
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.data.dataset import DatasetSetting
from hmralign.structures import InputError

CARD = DatasetCard(
    name="human-data",
    title="HumanData archive",
    source="the data set that the file is made of; the format is MMHuman3D's (2021)",
    licence="that of the data set that the file is made of",
    frame="cam, metres",
    joint_set="190 keypoints of human_data, of which the body's joints are read",
    family="smpl",
    keypoints="those of the file (keypoints2d_original, keypoints2d_ori or keypoints2d)",
    files={"{split}*.npz": "one archive", "images/**": "pictures, as image_path says"},
    splits=("any beginning of the archives' names",),
    where="the data set's own page; MMHuman3D's converters write the archive",
)

FAMILIES: tuple[BodyFamily, ...] = ("smpl", "smplx", "smplh")
CAMERAS = {"gta_human2": ((1158.0337, 1158.0337), (960.0, 540.0))}
"""Beginning of a file's name -> focal lengths and principal point of all its images, pixels."""

COUNT = 190
_ROWS_AT_ONCE = 1024
_BODY = JOINT_NAMES[:22]  # places 0 to 21, in SMPL's order
_JOINT_PLACES = {**{name: place for place, name in enumerate(_BODY)}, "left_hand": 188, "right_hand": 189}
_OPENPOSE = 153  # places 153 to 177 are OpenPose's 25 points, in its order
_KEYPOINT_PLACES: dict[str, tuple[int, ...]] = {
    "nose": (_OPENPOSE, 55), "right_eye": (_OPENPOSE + 15, 56), "left_eye": (_OPENPOSE + 16, 57),
    "right_ear": (_OPENPOSE + 17, 58), "left_ear": (_OPENPOSE + 18, 59),
    "left_shoulder": (_OPENPOSE + 5, 16), "right_shoulder": (_OPENPOSE + 2, 17),
    "left_elbow": (_OPENPOSE + 6, 18), "right_elbow": (_OPENPOSE + 3, 19),
    "left_wrist": (_OPENPOSE + 7, 20), "right_wrist": (_OPENPOSE + 4, 21),
    "left_hip": (_OPENPOSE + 12, 145), "right_hip": (_OPENPOSE + 9, 144),
    "left_knee": (_OPENPOSE + 13, 4), "right_knee": (_OPENPOSE + 10, 5),
    "left_ankle": (_OPENPOSE + 14, 7), "right_ankle": (_OPENPOSE + 11, 8),
    "left_big_toe": (_OPENPOSE + 19, 60), "left_small_toe": (_OPENPOSE + 20, 61), "left_heel": (_OPENPOSE + 21, 62),
    "right_big_toe": (_OPENPOSE + 22, 63), "right_small_toe": (_OPENPOSE + 23, 64), "right_heel": (_OPENPOSE + 24, 65),
    "left_index_knuckle": (25,), "left_pinky_knuckle": (31,),
    "right_index_knuckle": (40,), "right_pinky_knuckle": (46,),
}  # fmt: skip
"""Our keypoint -> places of human_data's 190 that mark the same point, the best first."""


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of the archive whose name begins with the split. Raises InputError as `adapted`.

    Where an archive has several bodies, the one that the label body is of counts; without one the first of `FAMILIES`.
    """
    path = index_path(folder, split)
    family = _family(path, setting)
    card = replace(CARD, family=family)
    return adapted(card, lambda folder, split, faults: (_labels(path, family, faults), _images(path)), folder, split,
                   setting)  # fmt: skip


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the archive's first body, and the folder of images."""
    path = index_path(folder, split)
    return _labels(path, _family(path, DatasetSetting()), faults), _images(path)


def index_path(folder: Path, split: str) -> Path:
    """The archive whose name begins with the split. Raises InputError as `need_one`."""
    return need_one(
        CARD, folder, f"{split}.npz", f"annotations/{split}.npz", f"{split}*.npz", f"annotations/{split}*.npz"
    )


def _images(path: Path) -> Path:
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    return root / "images" if (root / "images").is_dir() else root


def _family(path: Path, setting: DatasetSetting) -> BodyFamily:
    sizes = npz_sizes(path)
    there: list[BodyFamily] = [family for family in FAMILIES if family in sizes]
    if not there:
        raise InputError(f"{path}: has no body: none of the dictionaries {', '.join(FAMILIES)}")
    if setting.label_body is not None and len(there) > 1:
        own: BodyFamily = LabelBodies.open(setting.label_body).family
        return own if own in there else there[0]
    return there[0]


def _labels(path: Path, family: BodyFamily, faults: Faults) -> Labels:
    sizes = npz_sizes(path)
    points2d = next((k for k in (f"keypoints2d_{family}", "keypoints2d_smpl") if k in sizes), None)
    seen2d = next((k for k in ("keypoints2d_original", "keypoints2d_ori", "keypoints2d") if k in sizes), None)
    wanted = [k for k in (points2d, seen2d) if k is not None]
    flags = [k for k in ("bbox_xywh", "__keypoints_compressed__", *(f"{k}_mask" for k in wanted)) if k in sizes]
    columns = Columns(path, ("image_path",), flags)
    n = len(columns)
    extra: dict[str, Any] = _body_columns(path, family, read_dictionary(path, family), n)
    if "bbox_xywh" in columns:
        extra["box"] = box_of_xywh(columns.numbers("bbox_xywh", (5,), (4,)))
    extra |= _keypoint_columns(columns, points2d, seen2d)
    gender, camera = _facts(path, sizes, n)
    images = [name.replace("\\", "/") for name in columns.texts("image_path")]
    return Labels.of([f"{path.name}:{row}" for row in range(n)], image=images, gender=gender, **camera, **extra)


def _keypoint_columns(columns: Columns, points2d: str | None, seen2d: str | None) -> dict[str, np.ndarray]:
    """Joints and keypoints in the image, read some rows at a time: in the file they are several times as large."""
    names = list(dict.fromkeys(k for k in (points2d, seen2d) if k is not None))
    if not names:
        return {}
    n, found = len(columns), {}
    if points2d is not None:
        found["points"] = np.full((n, 29, 2), np.nan, np.float32)
    if seen2d is not None:
        found["keypoints"] = np.zeros((n, 27, 2), np.float32)
        found["confidence"] = np.zeros((n, 27), np.float32)
    first = 0
    for block in npz_rows(columns.path, names, _ROWS_AT_ONCE):
        rows = slice(first, first + len(block[names[0]]))
        if rows.stop > n:
            break
        if points2d is not None:
            marked = _keypoints(columns, points2d, block[points2d])
            for name, place in _JOINT_PLACES.items():
                one = marked.at(place)
                seen = one[:, 2] > 0
                found["points"][rows][seen, JOINT_NAMES.index(name)] = one[seen, :2]
        if seen2d is not None:
            ours = _ours(_keypoints(columns, seen2d, block[seen2d]))
            found["keypoints"][rows], found["confidence"][rows] = ours
        first = rows.stop
    if first != n:
        raise InputError(f"{columns.path}: '{names[0]}' has other rows than 'image_path', {n}: lengths are unequal")
    return found


def _body_columns(path: Path, family: str, body: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Pose, shape and place. Raises InputError where poses of another family, or none, are in the dictionary."""
    if missing := [key for key in ("global_orient", "body_pose", "betas") if key not in body]:
        raise InputError(f"{path}: '{family}' has no {', '.join(missing)}")
    joints = 23 if family == "smpl" else 21
    root = row_numbers(path, f"{family}.global_orient", body["global_orient"], n, [(3,), (1, 3)]).reshape(n, 3)
    shapes = [(joints, 3), (3 * joints,)]
    pose = row_numbers(path, f"{family}.body_pose", body["body_pose"], n, shapes).reshape(n, joints, 3)
    poses = np.zeros((n, 24, 3), np.float32)
    poses[:, 0], poses[:, 1 : 1 + joints] = root, pose
    betas = row_numbers(path, f"{family}.betas", body["betas"], n, [(None,), (1, None)]).reshape(n, -1)[:, :10]
    found = {"poses": poses, "betas": np.pad(betas, ((0, 0), (0, 10 - betas.shape[1])))}
    if body.get("transl") is not None:
        found["transl"] = row_numbers(path, f"{family}.transl", body["transl"], n, [(3,), (1, 3)]).reshape(n, 3)
    return found


@dataclass(frozen=True)
class _Points:
    """Keypoints of a file by their place among the 190; those that it does not keep count as unseen."""

    found: np.ndarray
    """(N, kept, 3)."""
    column: dict[int, int]
    """Place among the 190 -> place in `found`."""

    def at(self, place: int) -> np.ndarray:
        """(N, 3) of one keypoint."""
        if place not in self.column:
            return np.zeros((len(self.found), 3), self.found.dtype)
        return self.found[:, self.column[place]]


def _keypoints(columns: Columns, name: str, found: np.ndarray) -> _Points:
    """Some rows of all 190, or of the entries of the mask where the file keeps only those.

    Raises InputError where they do not fit.
    """
    compressed = bool(columns.arrays.get("__keypoints_compressed__", np.array(False)).any())
    if found.dtype.kind not in "iuf" or found.ndim != 3 or found.shape[2] != 3:
        raise InputError(f"{columns.path}: '{name}' is {found.dtype} of shape {found.shape}, expected numbers (N, 3)")
    mask = columns.arrays.get(f"{name}_mask")
    if mask is None:
        if compressed or found.shape[1] != COUNT:
            raise InputError(
                f"{columns.path}: '{name}' has {found.shape[1]} points and no '{name}_mask'; expected {COUNT}"
            )
        return _Points(found, {place: place for place in range(COUNT)})
    if mask.shape != (COUNT,):
        raise InputError(f"{columns.path}: '{name}_mask' has the shape {mask.shape}, expected ({COUNT},)")
    kept = np.flatnonzero(mask).tolist()
    if found.shape[1] == COUNT and not compressed:
        return _Points(found, {place: place for place in kept})
    if found.shape[1] != len(kept):
        raise InputError(
            f"{columns.path}: '{name}' has {found.shape[1]} points, its mask has {len(kept)} of {COUNT}: "
            "another order of joints, or a file that was cut"
        )
    return _Points(found, {place: column for column, place in enumerate(kept)})


def _ours(points: _Points) -> tuple[np.ndarray, np.ndarray]:
    n = len(points.found)
    keypoints, confidence = np.zeros((n, 27, 2), np.float32), np.zeros((n, 27), np.float32)
    for ours, name in enumerate(KEYPOINT_NAMES):
        for place in _KEYPOINT_PLACES[name]:
            marked = points.at(place)
            take = (confidence[:, ours] == 0) & (marked[:, 2] > 0)
            keypoints[take, ours] = marked[take, :2]
            confidence[take, ours] = np.clip(marked[take, 2], 0, 1)
    return keypoints, confidence


def _facts(path: Path, sizes: Mapping[str, int], n: int) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Gender of each person, size and camera of each image, out of `meta` and `misc`, or the camera of all."""
    meta: dict[str, Any] = {}
    for name in ("misc", "meta"):
        if name in sizes:
            meta |= {key: value for key, value in read_dictionary(path, name).items() if value is not None}
    gender = None
    if "gender" in meta:
        gender = np.array([gender_code(text) for text in row_texts(path, "meta.gender", meta["gender"], n)])
    found = {}
    if "height" in meta and "width" in meta:
        sides = [row_numbers(path, f"meta.{key}", meta[key], n, [()]) for key in ("width", "height")]
        found["size"] = np.stack(sides, axis=1)
    if "focal_length" in meta and "principal_point" in meta:
        focal = row_numbers(path, "meta.focal_length", meta["focal_length"], n, [(), (1,), (2,)]).reshape(n, -1)
        centre = row_numbers(path, "meta.principal_point", meta["principal_point"], n, [(2,)])
        found["K"] = intrinsics(np.broadcast_to(focal, (n, 2)), centre)
    else:
        for beginning, (focal, centre) in CAMERAS.items():
            if path.name.startswith(beginning):
                found["K"] = intrinsics(np.array(focal), np.array(centre))
    return gender, cast("dict[str, np.ndarray]", found)
