"""MPI-INF-3DHP as HybrIK reads it: joints in 3D, no body.  Source: Mehta et al. 2017; Li et al. 2021.

    annotations/*mpi_inf_3dhp_{train,test}*.json
    images/<file_name>, or mpi_inf_3dhp_{train,test}_set/<file_name>

Two lists of equal length belong together item by item. Images have `file_name, width, height`, annotations `bbox`,
`keypoints_cam` (28 joints, or 17 in test files; millimetres, `cam`) and `cam_param{intrinsic_param}` (3, 3), beside the
image or the annotation. There is no pose: bones point along the joints, how limbs turn about themselves is not known
and set to zero, and limbs are as long as the joints say. So labels belong to no body, and no body file is taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.folders import need_one, need_split
from hmralign.adapters.joint_columns import in_metres, joints_29
from hmralign.adapters.json_records import Columns, joined_records, kept_labels, labels_of_records
from hmralign.adapters.labels import Labels, box_of_xywh
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.adapters.record_block import Block
from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import joints_twists_to_pose
from hmralign.body.lbs import rest_joints
from hmralign.body.retarget import BONE_SPANS, fit_betas, span_lengths
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, NUM_TWISTS, PARENTS
from hmralign.data.dataset import DatasetSetting
from hmralign.geometry.rotations import rotmat_to_rotvec

CARD = DatasetCard(
    name="mpi-inf-3dhp",
    title="MPI-INF-3DHP, HybrIK-style annotations",
    source="Mehta et al. 2017; annotations as HybrIK (Li et al. 2021) distributes them",
    licence="research only, by agreement with its authors; not to be passed on",
    frame="cam, millimetres",
    joint_set="28 of its own (17 in test files), of which 24 are taken for SMPL's",
    family="free",
    keypoints="none in the files",
    files={"annotations/*mpi_inf_3dhp_{split}*.json": "annotations", "images/**": "frames"},
    splits=("train", "test"),
    where="vcai.mpi-inf.mpg.de/3dhp-dataset; annotations: the repository of HybrIK",
)

_OF_28 = {
    "pelvis": 4, "left_hip": 18, "right_hip": 23, "spine1": 3, "left_knee": 19, "right_knee": 24, "spine2": 2,
    "left_ankle": 20, "right_ankle": 25, "spine3": 0, "left_foot": 22, "right_foot": 27, "neck": 5, "left_collar": 8,
    "right_collar": 13, "head": 6, "left_shoulder": 9, "right_shoulder": 14, "left_elbow": 10, "right_elbow": 15,
    "left_wrist": 11, "right_wrist": 16, "left_hand": 12, "right_hand": 17,
}  # fmt: skip
_OF_17 = {
    "pelvis": 0, "right_hip": 1, "right_knee": 2, "right_ankle": 3, "left_hip": 4, "left_knee": 5, "left_ankle": 6,
    "spine2": 7, "neck": 8, "head": 9, "left_shoulder": 11, "left_elbow": 12, "left_wrist": 13, "right_shoulder": 14,
    "right_elbow": 15, "right_wrist": 16,
}  # fmt: skip
"""SMPL's joint -> place among theirs. SMPL's foot joint is the base of the toes."""


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of train or test. Raises InputError as `adapted`, and for another split."""
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the split's file, and the folder of images."""
    path, what = index_path(folder, split), "annotations of MPI-INF-3DHP"
    labels = kept_labels(
        CARD, path, lambda own: labels_of_records(joined_records(path, what, zipped=True), _columns, own), faults
    )
    own = folder / f"mpi_inf_3dhp_{split}_set"
    return labels, own if own.is_dir() else folder / "images"


def index_path(folder: Path, split: str) -> Path:
    """The split's file. Raises InputError as `need_one`."""
    return need_one(CARD, folder, f"annotations/*mpi_inf_3dhp_{split}*.json", f"*mpi_inf_3dhp_{split}*.json")


def _columns(image: Block, annotation: Block) -> Columns:
    camera = image if "cam_param" in image else annotation
    found = annotation.numbers("keypoints_cam", (28, 3), (17, 3))
    joints, factor = in_metres(_as_smpl(found), "keypoints_cam")
    if factor == 1.0:
        raise WrongRecordError("'keypoints_cam' are in metres, expected millimetres")
    return {
        "image": image.texts("file_name"), "size": np.stack([image.number("width"), image.number("height")], axis=1),
        "K": camera.inside("cam_param").numbers("intrinsic_param", (3, 3), (3, 4), (4, 4))[:, :3, :3],
        "box": box_of_xywh(annotation.numbers("bbox", (4,))), "poses": _along(joints),
        "betas": np.zeros((len(image), 10)), "joints": joints_29(joints), "pelvis": joints[:, 0],
    }  # fmt: skip


def _as_smpl(found: np.ndarray) -> np.ndarray:
    """(N, 24, 3); what test files lack lies on the way between what they have."""
    places = _OF_28 if found.shape[1] == len(_OF_28) + 4 else _OF_17
    at = {name: found[:, place] for name, place in places.items()}
    at.setdefault("spine1", (at["pelvis"] + at["spine2"]) / 2)
    at.setdefault("spine3", (at["spine2"] + at["neck"]) / 2)
    for side in ("left", "right"):
        at.setdefault(f"{side}_collar", at["neck"] + 0.4 * (at[f"{side}_shoulder"] - at["neck"]))
        at.setdefault(f"{side}_foot", at[f"{side}_ankle"])
        at.setdefault(f"{side}_hand", at[f"{side}_wrist"])
    return np.stack([at[name] for name in JOINT_NAMES[:NUM_JOINTS]], axis=1)


def _along(joints: np.ndarray) -> np.ndarray:
    """(N, 24, 3) rotation vectors whose bones point along the joints, without twist."""
    body, given = load_free_body("3k5"), torch.from_numpy(joints).float()
    ends = given[:, list(PARENTS[NUM_JOINTS:])]  # bones of no length keep their rest direction
    twists = torch.tensor([1.0, 0.0]).expand(len(joints), NUM_TWISTS, 2)
    rest = rest_joints(body, fit_betas(body, span_lengths(given, BONE_SPANS), BONE_SPANS))
    return rotmat_to_rotvec(joints_twists_to_pose(torch.cat([given, ends], 1), twists, rest)).numpy()
