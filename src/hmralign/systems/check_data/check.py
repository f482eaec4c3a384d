"""`hmralign data check`: what is there of a data set, what can be read of it, and whether its frames are right.

    files that the card expects -> records that can be used -> labels held against what the files say otherwise
                                                            -> 12 records drawn with their labels projected

Two measurements tell a wrong frame: how far the labelled joints fall from the points that the files mark in the image,
and how far they are from the joints that the files keep in 3D. Numbers do not see everything; the picture is for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.adapters.cards import card_of, found_files
from hmralign.adapters.faults import WrongRecordError
from hmralign.adapters.inside import path_below
from hmralign.adapters.persons import AdaptedPersons, cameras
from hmralign.body.lbs import vertices
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.dataset import DatasetSetting, open_dataset
from hmralign.data.images import load_image
from hmralign.geometry.cameras import project
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.joints import draw_joints
from hmralign.overlays.overlay import PAPER, cut_photo, draw_overlays, person_window
from hmralign.storage.whole_file import whole_file, write_json
from hmralign.structures import Camera, InputError

DRAWN = 12
_TILE_SIDE = 300
_ROWS_AT_ONCE = 1024
_BLANK_SIDE = 4096
_CONFIDENT = 0.5
_AT_ORIGIN = 0.01
"""Metres."""


@dataclass(frozen=True)
class Checked:
    """Labels of a split held against what its files say otherwise; None where they say nothing."""

    persons: int
    left_out: dict[str, Any]
    photos_missing: int
    off_points_px: dict[str, float] | None
    """Median and 95th percentile of the distance between labelled joints and the points of the file, pixels."""
    off_keypoints_px: dict[str, float] | None
    """The same of the labelled body's surface keypoints and those that were detected or marked: some pixels where all
    is right."""
    off_joints_mm: dict[str, float] | None
    """The same of the joints that the file keeps in 3D, about the pelvis, millimetres."""
    off_places_mm: dict[str, float] | None
    """The same of the pelvis, in the camera's frame."""


def check_dataset(dataset: str, folder: Path, split: str, setting: DatasetSetting, out: Path) -> dict[str, Any]:
    """Check a split and write `data_check.json` and `data_check.png` into a folder; returns the document.

    Raises InputError as `open_dataset`, and for a data set that is none of the published ones.
    """
    persons = open_dataset(dataset, folder, split, setting)
    if not isinstance(persons, AdaptedPersons):
        raise InputError(f"'{dataset}' is no published data set; expected one of those that `hmralign data list` names")
    card = card_of(dataset)
    document = {
        "format_version": 1,
        "dataset": dataset,
        "split": split,
        "folder": str(folder),
        "facts": asdict(persons.facts),
        "sha256": persons.sha256,
        "files": [asdict(f) for f in found_files(card, folder, split)],
        **asdict(checked(persons)),
    }
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / "data_check.png") as part:
        drawn_sheet(persons).save(part, "PNG")
    write_json(out / "data_check.json", document)
    return document


def checked(persons: AdaptedPersons) -> Checked:
    """Measure all persons, some at a time."""
    points, keypoints, joints, places, missing = [], [], [], [], 0
    for first in range(0, len(persons), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        some = persons.labels[rows]
        placed, K = persons.placed(some, persons.transl[rows]), cameras(some)[0]
        posed, marked = placed.joints, torch.from_numpy(some.points)
        off = (project(posed, K) - marked).norm(dim=-1)
        points.append(off[torch.isfinite(off)])
        off = (project(placed.surface, K) - torch.from_numpy(some.keypoints)).norm(dim=-1)
        keypoints.append(off[torch.from_numpy(some.confidence) > _CONFIDENT])
        own = torch.from_numpy(some.joints)[:, :NUM_JOINTS]
        whole = torch.isfinite(own).flatten(1).all(1)
        gap = (posed[:, :NUM_JOINTS] - posed[:, :1]) - (own - own[:, :1])
        joints.append(1000 * gap[whole].norm(dim=-1).flatten())
        in_cam = whole & (own[:, 0].norm(dim=-1) > _AT_ORIGIN)  # some files have joints about the root alone
        places.append(1000 * (posed[:, 0] - own[:, 0])[in_cam].norm(dim=-1))
        missing += sum(not _has_photo(persons, str(name)) for name in some.image)
    return Checked(
        len(persons), persons.faults.record(), missing, _spread(points), _spread(keypoints),
        _spread(joints), _spread(places),
    )  # fmt: skip


def _spread(parts: list[Tensor]) -> dict[str, float] | None:
    found = torch.cat(parts).double().numpy()
    if len(found) == 0:
        return None
    return {"median": round(float(np.median(found)), 3), "p95": round(float(np.percentile(found, 95)), 3)}


def _has_photo(persons: AdaptedPersons, name: str) -> bool:
    try:
        return bool(name) and path_below(persons.images, name).is_file()
    except WrongRecordError:
        return False


def drawn_sheet(persons: AdaptedPersons, count: int = DRAWN) -> Image.Image:
    """Records spread evenly over the split: the photo with the labelled skeleton, and with the labelled body."""
    rows = np.unique(np.linspace(0, len(persons) - 1, count).round().astype(int))
    tiles = [_tile(persons, int(row)) for row in rows]
    return contact_sheet(
        tiles, columns=3, title=f"{persons.name}: labels projected (left orange, right green; rings: file)"
    )


def _tile(persons: AdaptedPersons, row: int) -> Tile:
    some = persons.labels[row : row + 1]
    placed = persons.placed(some, persons.transl[row : row + 1])
    K, knows = cameras(some)
    pixels = project(placed.joints, K)[0]
    window = person_window(torch.cat([pixels.amin(0) - 1, pixels.amax(0) + 1]))
    photo = _photo(persons, str(some.image[0]), some.size[0])
    skeleton, _ = cut_photo(photo, window, (_TILE_SIDE, _TILE_SIDE))
    marked = torch.from_numpy(np.concatenate([some.points[0], some.keypoints[0]]))
    seen = torch.isfinite(marked).all(-1)
    seen[len(some.points[0]) :] &= torch.from_numpy(some.confidence[0] > _CONFIDENT)
    mesh = _mesh(photo, vertices(persons.target, placed.body), persons, K[0], window, bool(knows[0]))
    note = "" if bool(knows[0]) else "camera guessed"
    return Tile((draw_joints(skeleton, pixels, window, marked.nan_to_num(), seen), mesh), str(some.name[0])[-48:], note)


def _mesh(
    photo: Image.Image,
    body: Float[Tensor, "1 vert 3"],
    persons: AdaptedPersons,
    K: Float[Tensor, "3 3"],
    window: tuple[int, int, int, int],
    knows: bool,
) -> np.ndarray:
    camera = Camera(K, photo.width, photo.height, "given" if knows else "estimated")
    size = (_TILE_SIDE, _TILE_SIDE)
    return draw_overlays(photo, body, persons.target.faces, camera, window=window, size=size, alpha=0.75)[0]


def _photo(persons: AdaptedPersons, name: str, size: np.ndarray) -> Image.Image:
    """The photo; a plain sheet of its size where it is not there."""
    if _has_photo(persons, name):
        return Image.fromarray(load_image(path_below(persons.images, name)).rgb)
    width, height = (int(side) if np.isfinite(side) else 1920 for side in size)
    return Image.new("RGB", (min(width, _BLANK_SIDE), min(height, _BLANK_SIDE)), PAPER)
