"""Human3.6M as HybrIK and ScoreHypo read it, protocol 2.  Source: Ionescu et al. 2014; Li et al. 2021.

    annotations/Sample_20_test_Human36M_smpl_protocol_2.json
    annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json
    images/<file_name>

Two lists of equal length belong together item by item. Images have `file_name, width, height, cam_param{f, c}`,
annotations `bbox`, `thetas` (72) and `betas` of SMPL in `cam`, `smpl_joints` (24 or 29) and `root_coord` in
millimetres. Joints stand in the file either about the root or in `cam`; which of the two is seen from where they begin.
Of the test file the three sequences of subject 9 whose truth is known to be shifted are left out, as everywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.folders import need_one, need_split
from hmralign.adapters.joint_columns import at_root, in_metres, joint_numbers, joints_29
from hmralign.adapters.json_records import Columns, joined_records, kept_labels, labels_of_records
from hmralign.adapters.labels import Labels, box_of_xywh, intrinsics
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.adapters.record_block import Block
from hmralign.data.dataset import DatasetSetting

CARD = DatasetCard(
    name="h36m",
    title="Human3.6M, protocol 2, HybrIK-style annotations",
    source="Ionescu et al. 2014; SMPL annotations as HybrIK (Li et al. 2021) distributes them",
    licence="research only, by registration with its authors; SMPL fits were withdrawn by theirs",
    frame="cam, millimetres",
    joint_set="SMPL's 24 or HybrIK's 29",
    family="smpl",
    keypoints="none in the files",
    files={"annotations/*_{split}_Human36M_smpl*protocol_2.json": "annotations", "images/**/*.jpg": "frames"},
    splits=("train", "test"),
    where="vision.imar.ro/human3.6m (registration); annotations: the repositories of HybrIK and ScoreHypo",
)

SHIFTED = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
"""Sequences of the test set whose truth is not where the person is."""


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of train or test. Raises InputError as `adapted`, and for another split."""
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the split's file, and the folder of images."""
    path = index_path(folder, split)
    what = "annotations of Human3.6M"
    return kept_labels(
        CARD, path, lambda own: labels_of_records(joined_records(path, what, zipped=True), _columns, own), faults
    ), folder / "images"


def index_path(folder: Path, split: str) -> Path:
    """The split's file. Raises InputError as `need_one`."""
    return need_one(CARD, folder, f"annotations/*_{split}_Human36M_smpl*protocol_2.json",
                    f"*_{split}_Human36M_smpl*protocol_2.json")  # fmt: skip


def _columns(image: Block, annotation: Block) -> Columns:
    file_names, camera = image.texts("file_name"), image.inside("cam_param")
    if any(sequence in name for name in file_names for sequence in SHIFTED):
        raise WrongRecordError("is of a sequence whose truth is known to be shifted")
    if "image_id" in annotation and "id" in image and annotation.values("image_id") != image.values("id"):
        raise WrongRecordError("stands beside an image that its image_id does not name")
    root = annotation.numbers("root_coord", (3,)) / 1000
    joints, factor = in_metres(joint_numbers(annotation, "smpl_joints", 3), "smpl_joints")
    if factor == 1.0:
        raise WrongRecordError("'smpl_joints' are in metres, expected millimetres")
    placed = at_root(joints, root, "smpl_joints")
    assert placed is not None
    return {
        "image": file_names,
        "size": np.stack([image.number("width"), image.number("height")], axis=1),
        "K": intrinsics(camera.numbers("f", (2,)), camera.numbers("c", (2,))),
        "poses": annotation.pose("thetas"),
        "betas": annotation.betas("betas"),
        "box": box_of_xywh(annotation.numbers("bbox", (4,))),
        "joints": joints_29(placed),
        "pelvis": placed[:, 0],
    }
