"""3DPW as it is published: one pickle per sequence.  Source: von Marcard et al. 2018.

    sequenceFiles/{train,validation,test}/<sequence>.pkl     written by Python 2
    imageFiles/<sequence>/image_00000.jpg                    one for each frame

Per sequence: `sequence`, `cam_poses` (T, 4, 4) world to camera, `cam_intrinsics` (3, 3), and lists with an entry for
each person: `poses` (T, 72) and `trans` (T, 3) in the world's axes, `betas` (10), `genders`, `campose_valid` (T),
`poses2d` (T, 3, 18) of OpenPose, `jointPositions` (T, 72) of the gendered SMPL body in the world. Frames whose camera
is not valid for a person are left out, as in every published evaluation; they are no faults.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.folders import need_files, need_folder, need_split
from hmralign.adapters.keypoint_columns import in_our_columns
from hmralign.adapters.labels import Labels, gender_code
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.restricted_pickle import read_data_pickle
from hmralign.data.dataset import DatasetSetting

CARD = DatasetCard(
    name="3dpw",
    title="3DPW, sequence files",
    source="von Marcard et al. 2018, Recovering Accurate 3D Human Pose in the Wild",
    licence="research only, by registration with its authors; not to be passed on",
    frame="world axes of each sequence, metres; world to camera in cam_poses",
    joint_set="SMPL's 24, of the body of each person's gender",
    family="smpl",
    keypoints="OpenPose (poses2d of the files, 18 points)",
    files={"sequenceFiles/{split}/*.pkl": "a pickle for each sequence", "imageFiles/*/*.jpg": "its frames"},
    splits=("train", "val", "test"),
    where="virtualhumans.mpi-inf.mpg.de/3DPW (registration)",
)

MAX_BYTES = 2**30
MAX_OPCODES = 1_000_000


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of a split: train, val (also `validation`) or test.

    Raises InputError as `adapted`, and for another split.
    """
    split = {"validation": "val"}.get(split, split)
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of all sequences of a split, and the folder of images. Raises InputError where there are none."""
    place = need_folder(CARD, folder, f"sequenceFiles/{'validation' if split == 'val' else split}")
    parts = []
    for path in need_files(CARD, place, "*.pkl"):
        try:
            parts += _of_sequence(path, faults)
        except WrongRecordError as error:
            faults.add(path.name, f"(a whole sequence) {error}")
    return Labels.cat(parts) if parts else Labels.of([]), folder / "imageFiles"


def _of_sequence(path: Path, faults: Faults) -> list[Labels]:
    content = Fields(read_data_pickle(path, "a sequence of 3DPW", max_bytes=MAX_BYTES, max_opcodes=MAX_OPCODES))
    name, parts = content.text("sequence"), []
    T_cam_world, K = content.numbers("cam_poses", (None, 4, 4)), content.numbers("cam_intrinsics", (3, 3))
    frames = len(T_cam_world)
    per_person = ("poses", "trans", "betas", "genders", "campose_valid")
    lists = {key: content.items(key) for key in (*per_person, "poses2d", "jointPositions") if key in content}
    if missing := [key for key in per_person if key not in lists]:
        raise WrongRecordError(f"has no '{missing[0]}'")
    if len({len(values) for values in lists.values()}) > 1:
        raise WrongRecordError(f"has lists of unequal lengths: { {key: len(v) for key, v in lists.items()} }")
    for person in range(len(lists["poses"])):
        one = Fields({key: values[person] for key, values in lists.items()})
        try:
            parts.append(_of_person(one, f"{name}#{person}", name, T_cam_world, K))
        except WrongRecordError as error:
            faults.add(f"{name}#{person}", f"(a whole person) {error}", frames)
    return parts


def _of_person(one: Fields, name: str, sequence: str, T_cam_world: np.ndarray, K: np.ndarray) -> Labels:
    frames = len(T_cam_world)
    R, t = T_cam_world[:, :3, :3], T_cam_world[:, :3, 3]
    valid = one.numbers("campose_valid", (frames,)) > 0
    columns = {}
    if "poses2d" in one:
        points = np.swapaxes(one.numbers("poses2d", (frames, 3, 18)), 1, 2)
        columns["keypoints"], columns["confidence"] = in_our_columns(points, "openpose_coco18")
    if "jointPositions" in one:
        world = one.numbers("jointPositions", (frames, 72)).reshape(frames, 24, 3)
        joints = np.full((frames, 29, 3), np.nan)
        joints[:, :24] = np.einsum("fab,fjb->fja", R, world) + t[:, None]
        columns |= {"joints": joints, "pelvis": joints[:, 0]}
    code = gender_code(one.text("genders"))
    labels = Labels.of(
        [f"{name}/{frame:05d}" for frame in range(frames)],
        image=[f"{sequence}/image_{frame:05d}.jpg" for frame in range(frames)],
        gender=np.full(frames, code),
        K=K, poses=one.numbers("poses", (frames, 72)).reshape(frames, 24, 3), betas=one.betas("betas"),
        transl=one.numbers("trans", (frames, 3)), R_cam_file=R, t_cam_file=t, **columns,
    )  # fmt: skip
    return labels[valid]
