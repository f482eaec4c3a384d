"""EHF as its authors release it: meshes of SMPL-X aligned to scans, seen by one camera.  Source: Pavlakos et al. 2019.

    <frame>_align.ply      truth: a mesh with SMPL-X's 10,475 vertices, metres, in the world of the scan
    <frame>_img.png        the picture, or <frame>_img.jpg
    <frame>_2Djnt.json     what OpenPose found in it
    EHF_camera.txt         focal length, principal point, rotation (Rodrigues) and translation from world to camera

Figures are measured on the meshes as they are, hands and face included. Poses, which training and other bodies need,
are those of the label body that comes nearest to each mesh (`body.mesh_fit`), so its file has to be there. Archives of
HumanData made of EHF are read by `human_data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.adapters.bodies import LabelBodies
from hmralign.adapters.card import DatasetCard
from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.folders import need_files, need_one, need_split
from hmralign.adapters.json_records import Row, labels_of_rows
from hmralign.adapters.keypoint_columns import in_our_columns
from hmralign.adapters.labels import Labels, intrinsics
from hmralign.adapters.persons import AdaptedPersons, adapted
from hmralign.body.mesh_fit import fit_meshes
from hmralign.body.model import BodyModel
from hmralign.data.dataset import DatasetSetting
from hmralign.data.mesh_file import read_mesh
from hmralign.geometry.rotations import rotmat_to_rotvec, rotvec_to_rotmat
from hmralign.storage.json_file import HEADER, read_json
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.structures.counted import counted

CARD = DatasetCard(
    name="ehf",
    title="EHF, meshes as released",
    source="Pavlakos et al. 2019, Expressive Body Capture (SMPL-X)",
    licence="non-commercial research, by registration with its authors; not to be passed on",
    frame="world of the scan, metres; world to camera in EHF_camera.txt",
    joint_set="none: meshes of SMPL-X with 10,475 vertices",
    family="smplx",
    keypoints="OpenPose's, of the files *_2Djnt.json",
    files={
        "*_align.ply": "truth, a mesh for each frame",
        "*_img.*": "pictures",
        "*_2Djnt.json": "OpenPose's keypoints",
        "EHF_camera.txt": "the one camera",
    },
    splits=("test",),
    where="smpl-x.is.tue.mpg.de (registration)",
)

WORST_FIT = 0.03
"""Metres, in the mean over the body's skin: a mesh that is further from every pose is in another unit or order."""

_AT_ONCE = 25
_MAX_TEXT = 2**16
_NUMBER = re.compile(r"(?<![A-Za-z_\d.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_OPENPOSE = {25: "openpose_body25", 18: "openpose_coco18"}


def open_split(folder: Path, split: str, setting: DatasetSetting) -> AdaptedPersons:
    """The persons of the one split, `test`.

    Raises InputError as `adapted`, for another split, without a label body, and for a camera that cannot be read.
    """
    need_split(CARD, split)
    need_files(CARD, folder, "*_align.ply")
    if setting.label_body is None:
        raise InputError(
            "ehf/test: its truth is meshes, and poses are found by a body with the same vertices; expected the file of "
            "SMPL-X, neutral, as the label body"
        )
    bodies = LabelBodies.open(setting.label_body)
    bodies.require(CARD.family, f"{CARD.name}/{split}")
    camera = _Camera.read(need_one(CARD, folder, "EHF_camera.txt"))
    return adapted(
        CARD, lambda place, part, faults: _labels(place, part, faults, bodies.of("neutral"), camera), folder, split,
        setting, lambda some: _meshes(folder, some, camera),
    )  # fmt: skip


@dataclass(frozen=True)
class _Camera:
    """The one camera of all frames."""

    K: np.ndarray
    R: np.ndarray
    t: np.ndarray

    @staticmethod
    def read(path: Path) -> _Camera:
        """Headings with numbers behind or below them. Raises InputError where one is missing or has other numbers."""
        lines = read_limited(path, _MAX_TEXT).decode("utf-8", "replace").splitlines()
        focal, centre = _below(path, lines, "focal", 2, 1), _below(path, lines, "principal", 2)
        turn, place = _below(path, lines, "rotation", 3, 9), _below(path, lines, "translation", 3)
        R = rotvec_to_rotmat(torch.from_numpy(turn)).numpy() if len(turn) == 3 else turn.reshape(3, 3)
        if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
            raise InputError(f"{path}: its rotation is none")
        return _Camera(intrinsics(np.broadcast_to(focal, 2), centre), R, place)


def _below(path: Path, lines: list[str], heading: str, *counts: int) -> np.ndarray:
    """Numbers behind a heading's colon or equals sign, else on the lines below it up to the next heading."""
    start = next((i for i, line in enumerate(lines) if heading in line.lower()), None)
    if start is None:
        raise InputError(f"{path}: says no {heading}; expected EHF's camera")
    found = _NUMBER.findall(re.split(r"[:=]", lines[start], maxsplit=1)[-1]) if re.search("[:=]", lines[start]) else []
    for line in lines[start + 1 :] if not found else []:
        if re.search(r"[A-DF-Za-df-z]", line):
            break
        found += _NUMBER.findall(line)
    if len(found) not in counts:
        raise InputError(f"{path}: '{lines[start].strip()[:40]}' has {counted(len(found), 'number')}, expected "
                         f"{' or '.join(map(str, counts))}")  # fmt: skip
    return np.array([float(number) for number in found])


def _labels(folder: Path, split: str, faults: Faults, body: BodyModel, camera: _Camera) -> tuple[Labels, Path]:
    rows: list[Row] = []
    paths = need_files(CARD, folder, "*_align.ply")
    for first in range(0, len(paths), _AT_ONCE):
        there = list(_readable(paths[first : first + _AT_ONCE], body, faults))
        if there:
            rows += _fitted(there, body, faults)
    shared = {"K": camera.K, "R_cam_file": camera.R, "t_cam_file": camera.t}
    return labels_of_rows([{**row, **shared} for row in rows]), folder


def _readable(paths: list[Path], body: BodyModel, faults: Faults) -> Iterator[tuple[Path, Tensor, Row]]:
    """Meshes of the body's own vertices, with what lies beside them; the others are named."""
    for path in paths:
        try:
            yield path, _vertices(path, body.num_vertices), _beside(path)
        except (InputError, WrongRecordError) as error:
            faults.add(path.name, str(error).removeprefix(f"{path}: "))


def _vertices(path: Path, expected: int) -> Float[Tensor, "vert 3"]:
    found = read_mesh(path)[0]
    if len(found) != expected:
        raise WrongRecordError(
            f"has a mesh of {counted(len(found), 'vertex', 'vertices')}, the label body has {expected}"
        )
    return found


def _beside(path: Path) -> Row:
    """Picture and keypoints of a frame, as far as they are there."""
    frame = path.name.removesuffix("_align.ply")
    pictures = [p for p in (path.with_name(f"{frame}_img.{kind}") for kind in ("png", "jpg")) if p.is_file()]
    row: Row = {"image": pictures[0].name if pictures else f"{frame}_img.png"}
    points = path.with_name(f"{frame}_2Djnt.json")
    return row | _openpose(points) if points.is_file() else row


def _openpose(path: Path) -> Row:
    """The most confident person of OpenPose's file. Raises WrongRecordError for points of another layout."""
    people = Fields(read_json(path, "keypoints of OpenPose", HEADER)).items("people")
    found = [Fields(person, "people").numbers("pose_keypoints_2d") for person in people]
    if not found:
        return {}
    points = max(found, key=lambda numbers: float(numbers[2::3].sum()))
    if points.size % 3 or (convention := _OPENPOSE.get(points.size // 3)) is None:
        raise WrongRecordError(
            f"has {counted(points.size, 'number')} in 'pose_keypoints_2d', expected 75 or 54 (BODY_25, COCO)"
        )
    keypoints, confidence = in_our_columns(points.reshape(1, -1, 3), convention)
    return {"keypoints": keypoints[0], "confidence": confidence[0]}


def _fitted(there: list[tuple[Path, Tensor, Row]], body: BodyModel, faults: Faults) -> list[Row]:
    fit = fit_meshes(body, torch.stack([mesh for _, mesh, _ in there]))
    poses, rows = rotmat_to_rotvec(fit.body.rotmats).numpy(), []
    for number, (path, _, beside) in enumerate(there):
        off = float(fit.residual[number])
        if not off <= WORST_FIT:
            faults.add(path.name, "has a mesh that is near no pose of the label body (another unit, order or body)")
            continue
        rows.append({**beside, "name": path.name, "poses": poses[number], "betas": fit.body.betas[number].numpy(),
                     "transl": fit.body.transl[number].numpy()})  # fmt: skip
    return rows


def _meshes(folder: Path, some: Labels, camera: _Camera) -> Float[Tensor, "n vert 3"]:
    """The annotated meshes of some persons in `cam`."""
    R, t = torch.from_numpy(camera.R), torch.from_numpy(camera.t)
    return torch.stack([(read_mesh(folder / str(name))[0] @ R.mT + t).float() for name in some.name])
