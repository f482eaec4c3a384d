"""Persons that a system predicted, one row each, as the structure that everything here works with.

A row has some of the following, in the frame `cam` (x right, y down, z forward), metres, radians, pixels of the photo;
all rows of a file have the same ones, but for camera, size and box, which may be missing of single persons.

    name, image   texts            poses (24, 3)     rotation vectors, root first
    size          (2,) of photo    betas (10,), transl (3,)
    K             (3, 3)           joints (24, 3)    SMPL's joints
    box           (4,) corners     surface (27, 3)   keypoints on the body's surface
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.labels import LARGEST_BETA
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.prediction_file import MAX_PERSONS, PredictionFile
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import MASK_SIZE, InputError, Observation
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

Row = dict[str, Any]

_MAY_LACK: dict[str, tuple[int, ...]] = {"size": (2,), "K": (3, 3), "box": (4,)}
_BOX_MARGIN = 1.1
"""Around joints in the image, which lie inside of the body."""


def checked_row(row: Row) -> Row:
    """The row. Raises WrongRecordError for a body that is nowhere, behind the camera, or of an impossible shape."""
    places = [key for key in ("transl", "joints", "surface") if key in row]
    if not places:
        raise WrongRecordError("has no place: neither a translation nor joints")
    for key in ("poses", "betas", *places):
        if key in row and not np.isfinite(row[key]).all():
            raise WrongRecordError(f"has '{key}' that are not finite")
    if "betas" in row and np.abs(row["betas"]).max() > LARGEST_BETA:
        raise WrongRecordError(f"has a beta beyond {LARGEST_BETA:g}")
    if "poses" in row and np.linalg.norm(row["poses"], axis=-1).max() > 4 * math.pi:
        raise WrongRecordError("has a rotation of more than two turns: are these degrees?")
    if any(np.atleast_2d(row[key])[..., 2].mean() <= 0 for key in places):
        raise WrongRecordError("stands behind the camera, expected z > 0")
    if "box" in row and not (row["box"][2:] > row["box"][:2]).all():
        raise WrongRecordError("has a box that is empty")
    return row


def predictions_of(
    paths: Sequence[Path], sha256: str, card: PredictionCard, rows: Sequence[Row], faults: Faults
) -> PredictionFile:
    """The rows as one structure. Raises InputError where there are none, too many, or two of one name."""
    path = paths[0]
    if not rows:
        raise InputError(f"{path}: no person of it can be used: {'; '.join(faults.sentences()) or 'it has none'}")
    if len(rows) > MAX_PERSONS:
        raise InputError(f"{path}: has {counted(len(rows), 'person')}, expected at most {MAX_PERSONS} at once")
    names = [str(row["name"]) for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{path}: names the person '{shown(twice)}' twice; expected each one once")
    columns = _columns(path, rows)
    faults.warn(str(path))
    notes = (*card.assumed, *(f"{path.name}: {line}" for line in faults.sentences()))
    rotmats = rotvec_to_rotmat(columns["poses"])[:, None] if "poses" in columns else None
    joints = columns.get("joints")
    return PredictionFile(
        path, sha256, tuple(names), card.skeleton, _observed(columns), rotmats, _bodies(columns, "betas"),
        _bodies(columns, "transl"), None if joints is None else joints[:, None], None,
        surface=_bodies(columns, "surface"), images=tuple(str(row.get("image", "")) for row in rows),
        format=card.name, assumed=notes,
    )  # fmt: skip


def _bodies(columns: dict[str, Tensor], name: str) -> Tensor | None:
    return columns[name][:, None] if name in columns else None  # (P, H = 1, ...)


def _columns(path: Path, rows: Sequence[Row]) -> dict[str, Tensor]:
    texts = ("name", "image")
    names = {key for row in rows for key in row if key not in texts}
    for key in names - set(_MAY_LACK):
        if lacking := next((row for row in rows if key not in row), None):
            raise InputError(
                f"{path}: '{shown(lacking['name'])}' has no '{key}', which others have; expected it of all"
            )
    filled = {}
    for key in (*sorted(names), *(set(_MAY_LACK) - names)):
        blank = np.full(_MAY_LACK.get(key, ()), np.nan)
        filled[key] = torch.from_numpy(np.stack([row.get(key, blank) for row in rows]).astype(np.float32))
    return filled


def _observed(columns: dict[str, Tensor]) -> Observation:
    """Nothing was observed of these persons: no keypoint; a box, which may be that of the predicted joints."""
    n, K, box = len(columns["K"]), columns["K"], columns["box"]
    points = columns.get("surface", columns.get("joints"))
    if points is not None:
        pixels = project(points, K)
        low, high = pixels.amin(1), pixels.amax(1)
        half = (high - low) / 2 * _BOX_MARGIN
        box = torch.where(torch.isfinite(box), box, torch.cat([(low + high) / 2 - half, (low + high) / 2 + half], 1))
    nobody = torch.zeros(1, MASK_SIZE, MASK_SIZE).expand(n, MASK_SIZE, MASK_SIZE)
    none = torch.zeros(n, dtype=torch.bool)
    return Observation(
        torch.zeros(n, NUM_KEYPOINTS, 2), torch.zeros(n, NUM_KEYPOINTS), box, K, none, nobody, none.clone()
    )


def has_keypoints(predictions: PredictionFile) -> bool:
    """Whether every person was observed, which groups and critics need."""
    return bool((predictions.observation.confidence > 0).any(1).all())


def knows_cameras(predictions: PredictionFile) -> bool:
    """Whether the camera of every person is given, or follows from what is given."""
    return bool(torch.isfinite(predictions.observation.K).all())
