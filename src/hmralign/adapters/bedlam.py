"""BEDLAM's own training labels: an npz for each scene.  Source: Black et al. 2023.

    labels/<scene>.npz
    images/<scene>/png/<imgname>

Per person: `imgname`, `center` (2), `scale` (side of the square box in units of 200 pixels), `pose_cam` (165) of SMPL-X
with its root in the camera's axes, `shape` (10 or 11), `trans_cam` (3), `cam_int` (3, 3), `cam_ext` (4, 4), `gtkps`
(points, 3) of SMPL-X joints in the image, `gender`. The body stands at `trans_cam` + the last column of `cam_ext`; the
rotation of `cam_ext` is in `pose_cam` already. Closeup scenes were taken with a turned camera: their pictures have to
be turned by a quarter clockwise before the labels fit, which nothing here does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults
from hmralign.adapters.folders import need_files, need_folder
from hmralign.adapters.labels import Labels, gender_code
from hmralign.adapters.npz_columns import Columns
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.data.dataset import DatasetSetting

CARD = DatasetCard(
    name="bedlam",
    title="BEDLAM, training labels",
    source="Black et al. 2023, BEDLAM: A Synthetic Dataset of Bodies Exhibiting Detailed Lifelike Animated Motion",
    licence="non-commercial research, by registration with its authors; not to be passed on",
    frame="cam, metres; place = trans_cam + last column of cam_ext",
    joint_set="SMPL-X's 22 of the body",
    family="smplx",
    keypoints="none in the files (gtkps are the true joints)",
    files={"labels/{split}*.npz": "labels of each scene", "images/*/png/**/*.png": "pictures"},
    splits=("train", "val", "any beginning of the names of scenes"),
    where="bedlam.is.tue.mpg.de (registration)",
)

_BOX_UNIT = 200.0


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """Persons of the scenes whose names begin with the split; of all for `train`. Raises InputError as `adapted`."""
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of the scenes, and the folder of images."""
    place = need_folder(CARD, folder, "labels")
    paths = need_files(CARD, place, "*.npz" if split == "train" else f"{split}*.npz")
    return Labels.cat([_of_scene(path) for path in paths]), folder / "images"


def _of_scene(path: Path) -> Labels:
    columns = Columns(path, ("imgname", "pose_cam", "shape", "trans_cam", "cam_int", "cam_ext"),
                      ("center", "scale", "gtkps", "gender"))  # fmt: skip
    n = len(columns)
    poses = np.zeros((n, 24, 3))
    poses[:, :22] = columns.numbers("pose_cam", (165,))[:, :66].reshape(n, 22, 3)
    betas = columns.numbers("shape", (10,), (11,))[:, :10]
    extra = {}
    if "center" in columns and "scale" in columns:
        half = columns.numbers("scale", ())[:, None] * _BOX_UNIT / 2
        center = columns.numbers("center", (2,))
        extra["box"] = np.concatenate([center - half, center + half], axis=1)
    if "gtkps" in columns:
        points = np.full((n, 29, 2), np.nan)
        points[:, :22] = columns.numbers("gtkps", (None, 3), (None, 2))[:, :22, :2]
        extra["points"] = points
    scene = path.stem
    return Labels.of(
        [f"{path.name}:{row}" for row in range(n)],
        image=[f"{scene}/png/{name}" for name in columns.texts("imgname")],
        gender=np.array([gender_code(g) for g in columns.texts("gender")]) if "gender" in columns else None,
        K=columns.numbers("cam_int", (3, 3)), poses=poses, betas=betas,
        transl=columns.numbers("trans_cam", (3,)) + columns.numbers("cam_ext", (4, 4))[:, :3, 3], **extra,
    )  # fmt: skip
