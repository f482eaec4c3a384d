"""3DPW in COCO's layout, as HybrIK and ScoreHypo read it.  Source: von Marcard et al. 2018; Li et al. 2021.

    annotations/3DPW_{train,validation,test,oc}*.json
    imageFiles/<sequence>/<file_name>

Images have `id, file_name, sequence, width, height, cam_param{focal, princpt}`, annotations `image_id, bbox`,
`smpl_param{shape, pose, trans}` in the frame `cam`, `smpl_joint_cam` (24 or 29 joints; metres in test files,
millimetres in train files), `smpl_joint_img`. Persons are placed where their joints are; `trans` is used where a record
has no joints. The files do not tell the gender, so labels pose the neutral body.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults
from hmralign.adapters.folders import need_one, need_split
from hmralign.adapters.joint_columns import in_metres, joint_numbers, joints_29
from hmralign.adapters.json_records import Columns, joined_records, kept_labels, labels_of_records
from hmralign.adapters.labels import Labels, box_of_xywh, gender_code, intrinsics
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.adapters.record_block import Block
from hmralign.data.dataset import DatasetSetting

CARD = DatasetCard(
    name="3dpw-json",
    title="3DPW, COCO-style annotations",
    source="von Marcard et al. 2018; annotations as HybrIK (Li et al. 2021) distributes them",
    licence="research only, by registration with the authors of 3DPW; not to be passed on",
    frame="cam; joints in metres (test) or millimetres (train)",
    joint_set="SMPL's 24 or HybrIK's 29",
    family="smpl",
    keypoints="none in the files",
    files={"annotations/3DPW_{split}*.json": "annotations", "imageFiles/*/*.jpg": "frames"},
    splits=("train", "val", "test", "oc"),
    where="images: virtualhumans.mpi-inf.mpg.de/3DPW; annotations: the repositories of HybrIK and ScoreHypo",
)


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of train, val (also `validation`), test or oc.

    Raises InputError as `adapted`, and for another split.
    """
    split = {"validation": "val"}.get(split, split)
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the split's file, and the folder of images."""
    path = index_path(folder, split)
    what = "annotations of 3DPW"
    return kept_labels(
        CARD, path, lambda own: labels_of_records(joined_records(path, what, zipped=False), _columns, own), faults
    ), folder / "imageFiles"


def index_path(folder: Path, split: str) -> Path:
    """The split's file. Raises InputError as `need_one`."""
    word = "validation" if split in ("val", "validation") else split
    return need_one(
        CARD, folder, f"annotations/3DPW_{word}.json", f"annotations/3DPW_{word}*.json", f"3DPW_{word}*.json"
    )


def _columns(image: Block, annotation: Block) -> Columns:
    camera, smpl = image.inside("cam_param"), annotation.inside("smpl_param")
    sequences, file_names = image.texts("sequence"), image.texts("file_name")
    found: Columns = {
        "image": [f"{sequence}/{name}" for sequence, name in zip(sequences, file_names, strict=True)],
        "size": np.stack([image.number("width"), image.number("height")], axis=1),
        "K": intrinsics(camera.numbers("focal", (2,)), camera.numbers("princpt", (2,))),
        "poses": smpl.pose("pose"),
        "betas": smpl.betas("shape"),
        "box": box_of_xywh(annotation.numbers("bbox", (4,))),
    }
    if "gender" in smpl:
        found["gender"] = np.array([gender_code(text) for text in smpl.texts("gender")])
    if "smpl_joint_cam" in annotation:
        joints, _ = in_metres(joint_numbers(annotation, "smpl_joint_cam", 3), "smpl_joint_cam")
        found |= {"joints": joints_29(joints), "pelvis": joints[:, 0]}
    else:
        found["transl"] = smpl.numbers("trans", (3,))
    if "smpl_joint_img" in annotation:
        found["points"] = joints_29(joint_numbers(annotation, "smpl_joint_img", 3, 2)[..., :2])
    return found
