"""SMPLer-X, as its inference script writes one person a file.  Source: Cai et al. 2023.

    OUT/smplx/<frame>_<person>.npz    global_orient, body_pose (21, 3), betas, transl, hands, jaw, expression
    OUT/meta/<frame>_<person>.json    focal, princpt, bbox (x, y, width, height), img_path

Poses are rotation vectors of SMPL-X; hands and faces are not read. Without the file beside it, camera and image are not
known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmralign.adapters.faults import Faults, WrongRecordError
from hmralign.adapters.fields import Fields
from hmralign.adapters.labels import box_of_xywh, intrinsics
from hmralign.adapters.predictions.body_values import image_name, split_pose
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content
from hmralign.adapters.predictions.rows import Row, checked_row
from hmralign.storage.json_file import JsonLimits, read_json

CARD = PredictionCard(
    name="smplerx",
    systems="SMPLer-X (`main/inference.py`)",
    source="Cai et al. 2023; keys as its inference script writes them",
    files="a folder with smplx/*.npz (and meta/*.json beside it), each with 'global_orient', 'body_pose' (21, 3), "
    "'expression', 'transl'",
    skeleton="smplx",
    assumed=(
        "hands, jaw, eyes and expression are left out: the body's 22 joints are read",
        "betas are of the neutral SMPL-X body",
    ),
)

_LIMITS = JsonLimits(max_bytes=2**20, max_values=10_000)


def fits(content: Content) -> bool:
    """Whether a file holds one person of SMPL-X."""
    return {"global_orient", "body_pose", "expression", "transl"} <= set(content.mapping)


def rows(content: Content, faults: Faults) -> list[Row]:
    """The one person, named after the file."""
    name = content.path.stem
    try:
        return [{"name": name, **_row(content)}]
    except WrongRecordError as error:
        faults.add(name, str(error))
        return []


def _row(content: Content) -> Row:
    body = Fields(content.mapping)
    row: Row = {
        "poses": split_pose(body, 21), "betas": body.betas("betas"),
        "transl": body.numbers("transl", (3,), (1, 3)).reshape(3),
    }  # fmt: skip
    return checked_row(row | _meta(content.path))


def _meta(path: Path) -> dict[str, Any]:
    beside = path.parent.parent / "meta" / f"{path.stem}.json"
    if not beside.is_file():
        return {}
    meta = Fields(read_json(beside, "what SMPLer-X says of a person", _LIMITS))
    found: dict[str, Any] = {"K": intrinsics(meta.numbers("focal", (2,)), meta.numbers("princpt", (2,)))}
    if "bbox" in meta:
        found["box"] = box_of_xywh(meta.numbers("bbox", (4,)))
    if "img_path" in meta:
        found["image"] = image_name(meta.text("img_path"))
    return found
