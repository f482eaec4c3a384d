"""AMASS: motions without pictures, seen by a made-up camera.  Source: Mahmood et al. 2019.

    <set>/<subject>/<motion>.npz        `poses` (T, 156) of SMPL-H, `betas` (16), `trans` (T, 3), `gender`,
                                        `mocap_framerate` (or `mocap_frame_rate`); z up, metres

One frame of each second is taken. The camera stands `DISTANCE` in front of the origin of each body, level, and looks
along the world's y: persons are seen from whichever side they happen to show. Nothing of this is a photo: the keypoints
are the true ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults
from hmralign.adapters.folders import need_files
from hmralign.adapters.labels import Labels, gender_code
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.data.dataset import DatasetSetting
from hmralign.geometry.frames import Y_UP_TO_Z_UP
from hmralign.structures import InputError

CARD = DatasetCard(
    name="amass",
    title="AMASS, seen by a made-up camera",
    source="Mahmood et al. 2019, AMASS: Archive of Motion Capture as Surface Shapes",
    licence="non-commercial research, by registration with its authors; not to be passed on",
    frame="world, z up, metres; no camera",
    joint_set="SMPL-H's 22 of the body",
    family="smplh",
    keypoints="none in the files",
    files={"{split}/**/*.npz": "motions of the sets whose folder the split names; all for `all`"},
    splits=("all", "any folder, such as ACCAD"),
    where="amass.is.tue.mpg.de (registration)",
)

DISTANCE, FOCAL, SIDE = 5.0, 1000.0, 640
_STOP = ("shape", "neutral_stagei", "male_stagei", "female_stagei")
"""Files that are no motions."""


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of a set's folder, or of all. Raises InputError as `adapted`, and where pixels are wanted."""
    if setting.crop_side is not None:
        raise InputError("amass has no photos, and the model looks at pixels")
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of one frame a second, and the folder."""
    place = folder if split == "all" else folder / split
    paths = [p for p in need_files(CARD, place, "**/*.npz") if p.stem not in _STOP]
    parts = []
    for path in paths:
        try:
            parts.append(_of_motion(path, path.relative_to(folder).as_posix()))
        except InputError as error:
            faults.add(path.name, f"(a whole motion) {str(error).removeprefix(f'{path}: ')}")
    return Labels.cat(parts) if parts else Labels.of([]), folder


def _of_motion(path: Path, name: str) -> Labels:
    there = npz_sizes(path)
    rate_key = next((key for key in ("mocap_framerate", "mocap_frame_rate") if key in there), None)
    arrays = read_npz(path, ["poses", "betas", "trans", *([rate_key] if rate_key else []),
                             *(["gender"] if "gender" in there else [])])  # fmt: skip
    poses, trans = arrays["poses"], arrays["trans"]
    if poses.ndim != 2 or poses.shape[1] != 156 or trans.shape != (len(poses), 3) or arrays["betas"].ndim != 1:
        raise InputError(
            f"'poses' {poses.shape}, 'trans' {trans.shape}, 'betas' {arrays['betas'].shape} are no motion of SMPL-H"
        )
    rate = float(arrays[rate_key].reshape(-1)[0]) if rate_key else 120.0
    if not 1 <= rate <= 1000:
        raise InputError(f"a frame rate of {rate:g} is none")
    rows = np.arange(0, len(poses), max(1, round(rate)))
    full = np.zeros((len(rows), 24, 3))
    full[:, :22] = poses[rows, :66].reshape(-1, 22, 3)
    R = np.diag([1.0, -1.0, -1.0]) @ np.linalg.inv(np.array(Y_UP_TO_Z_UP))  # z up -> y up -> y down, forward
    t = np.array([0.0, 0.0, DISTANCE]) - trans[rows] @ R.T
    raw = arrays["gender"].reshape(-1)[0] if "gender" in arrays else "neutral"
    word = raw.decode("latin1") if isinstance(raw, bytes) else str(raw)
    return Labels.of(
        [f"{name}:{row}" for row in rows], gender=np.full(len(rows), gender_code(word)),
        size=np.array([SIDE, SIDE]), K=np.array([[FOCAL, 0, (SIDE - 1) / 2], [0, FOCAL, (SIDE - 1) / 2], [0, 0, 1]]),
        poses=full, betas=np.pad(arrays["betas"][:10], (0, max(0, 10 - len(arrays["betas"])))), transl=trans[rows],
        R_cam_file=R, t_cam_file=t,
    )  # fmt: skip
