"""HybrIK-style pseudo-labels of COCO, MPII and UP-3D: JSON of SMPL fits.  Source: Li et al. 2021.

    annotations/{split}*.json
    images/<file_name>

Two lists `images`, `annotations`, either joined by `image_id` or item by item. An annotation has the camera `f`, `c` of
its fit, `smpl_param{shape, pose}` with the root in `cam`, `joint_cam_29` (metres or millimetres, about the root or in
`cam`), `joint_img_29`, `bbox`, and `joint_2d` (29 joints marked in the image). `joint_cam_valid` at zero marks records
without a fit, which are left out. A body whose joints are about the root is placed on its points in the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.folders import need_one
from hmralign.adapters.joint_columns import at_root, in_metres, joint_numbers, joints_29
from hmralign.adapters.json_records import Columns, joined_records, kept_labels, labels_of_records
from hmralign.adapters.labels import Labels, box_of_xywh, intrinsics
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.adapters.record_block import Block
from hmralign.data.dataset import DatasetSetting
from hmralign.storage.json_stream import json_items

CARD = DatasetCard(
    name="hybrik-json",
    title="HybrIK-style pseudo-labels (COCO, MPII, UP-3D)",
    source="the photos' own authors; SMPL fits as HybrIK (Li et al. 2021) and ScoreHypo distribute them",
    licence="that of the photos; the fits' own terms",
    frame="cam, metres or millimetres",
    joint_set="HybrIK's 29",
    family="smpl",
    keypoints="none in the files",
    files={"annotations/{split}*.json": "annotations", "images/**": "photos"},
    splits=("any beginning of the files' names",),
    where="the photos' own pages; annotations: the repositories of HybrIK and ScoreHypo",
)


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of the file whose name begins with the split. Raises InputError as `adapted`."""
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the split's file, and the folder of images."""
    path = index_path(folder, split)
    what = "HybrIK-style annotations"
    zipped = not names_images(path, what)
    return kept_labels(
        CARD, path, lambda own: labels_of_records(joined_records(path, what, zipped=zipped), _columns, own), faults
    ), folder / "images"


def index_path(folder: Path, split: str) -> Path:
    """The file whose name begins with the split. Raises InputError as `need_one`."""
    return need_one(CARD, folder, f"annotations/{split}.json", f"annotations/{split}*.json", f"{split}*.json")


def names_images(path: Path, what: str) -> bool:
    """Whether the first annotation says which image it belongs to."""
    first = next(json_items(path, what, ("annotations",)), None)
    return first is not None and isinstance(first.value, dict) and "image_id" in first.value


def _columns(image: Block, annotation: Block) -> Columns:
    if "joint_cam_valid" in annotation:
        valid = annotation.numbers("joint_cam_valid").reshape(len(annotation), -1)
        if not valid.any(1).all():
            raise WrongRecordError("has no fit (joint_cam_valid is zero)")
    smpl = annotation.inside("smpl_param")
    found: Columns = {
        "image": image.texts("file_name"),
        "size": np.stack([image.number("width"), image.number("height")], axis=1),
        "K": intrinsics(annotation.numbers("f", (2,)), annotation.numbers("c", (2,))),
        "poses": smpl.pose("pose"),
        "betas": smpl.betas("shape"),
    }
    if "bbox" in annotation:
        found["box"] = box_of_xywh(annotation.numbers("bbox", (4,)))
    if "joint_img_29" in annotation:
        found["points"] = joints_29(joint_numbers(annotation, "joint_img_29", 3, 2)[..., :2])
    if "joint_cam_29" in annotation:
        joints, factor = in_metres(joint_numbers(annotation, "joint_cam_29", 3), "joint_cam_29")
        root = annotation.numbers("root_coord", (3,)) * factor if "root_coord" in annotation else None
        placed = at_root(joints, root, "joint_cam_29")
        found["joints"] = joints_29(joints if placed is None else placed)
        if placed is not None:
            found["pelvis"] = placed[:, 0]
    if "pelvis" not in found and "trans" in smpl:
        found["transl"] = smpl.numbers("trans", (3,))
    return found
