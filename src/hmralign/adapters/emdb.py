"""EMDB as it is published: one pickle per sequence.  Source: Kaufmann et al. 2023.

    P0 ... P9/<sequence>/<sequence>_data.pkl
    P0 ... P9/<sequence>/images/00000.jpg

Per sequence: `name, gender, emdb1, emdb2`, `good_frames_mask` (T), `camera{intrinsics (3, 3), extrinsics (T, 4, 4)`
world to camera, `width, height}`, `smpl{poses_root (T, 3), poses_body (T, 69), trans (T, 3), betas (10)}` in the
world's axes, `kp2d` (T, 24, 2), `bboxes{bboxes (T, 4)` corners, `invalid_idxs}`. Split `test` is EMDB 1, whose good
frames everybody evaluates on; `emdb2` the longer sequences.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.folders import need_files, need_split
from hmralign.adapters.labels import Labels, gender_code
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.restricted_pickle import read_data_pickle
from hmralign.data.dataset import DatasetSetting

CARD = DatasetCard(
    name="emdb",
    title="EMDB",
    source="Kaufmann et al. 2023, EMDB: The Electromagnetic Database of Global 3D Human Pose and Shape in the Wild",
    licence="research only, by registration with its authors; not to be passed on",
    frame="world axes of each sequence, metres; world to camera in camera.extrinsics",
    joint_set="SMPL's 24, of the body of each person's gender",
    family="smpl",
    keypoints="none in the files (kp2d are the true joints)",
    files={"P*/*/*_data.pkl": "a pickle for each sequence", "P*/*/images/*.jpg": "its frames"},
    splits=("test", "emdb2"),
    where="eth-ait.github.io/emdb (registration)",
)

MAX_BYTES = 2**30
MAX_OPCODES = 1_000_000


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of EMDB 1 (`test`) or 2 (`emdb2`). Raises InputError as `adapted`, and for another split."""
    need_split(CARD, split)
    return adapted(CARD, read, folder, split, setting)


def read(folder: Path, split: str, faults: Faults) -> tuple[Labels, Path]:
    """Labels of all sequences of a split, and the folder of images."""
    parts = []
    for path in need_files(CARD, folder, "P*/*/*_data.pkl"):
        try:
            labels = _of_sequence(path, path.parent.relative_to(folder), "emdb1" if split == "test" else "emdb2")
            parts += [] if labels is None else [labels]
        except WrongRecordError as error:
            faults.add(path.name, f"(a whole sequence) {error}")
    return Labels.cat(parts) if parts else Labels.of([]), folder


def _of_sequence(path: Path, below: Path, part: str) -> Labels | None:
    content = Fields(read_data_pickle(path, "a sequence of EMDB", max_bytes=MAX_BYTES, max_opcodes=MAX_OPCODES))
    if not content.flag(part):
        return None
    camera, smpl = content.inside("camera"), content.inside("smpl")
    T = camera.numbers("extrinsics", (None, 4, 4))
    frames = len(T)
    good = content.numbers_or_flags("good_frames_mask", frames)
    columns = {}
    if "kp2d" in content:
        points = np.full((frames, 29, 2), np.nan)
        points[:, :24] = content.numbers("kp2d", (frames, 24, 2))
        columns["points"] = points
    if "bboxes" in content:
        boxes = content.inside("bboxes").numbers("bboxes", (frames, 4))
        boxes[(boxes[:, 2:] <= boxes[:, :2]).any(1)] = np.nan  # frames without a detection
        columns["box"] = boxes
    root, body = smpl.numbers("poses_root", (frames, 3)), smpl.numbers("poses_body", (frames, 69))
    labels = Labels.of(
        [f"{below}/{frame:05d}" for frame in range(frames)],
        image=[f"{below.as_posix()}/images/{frame:05d}.jpg" for frame in range(frames)],
        gender=np.full(frames, gender_code(content.text("gender"))),
        size=np.array([camera.number("width"), camera.number("height")]),
        K=camera.numbers("intrinsics", (3, 3)),
        poses=np.concatenate([root, body], axis=1).reshape(frames, 24, 3), betas=smpl.betas("betas"),
        transl=smpl.numbers("trans", (frames, 3)), R_cam_file=T[:, :3, :3], t_cam_file=T[:, :3, 3], **columns,
    )  # fmt: skip
    return labels[good]
