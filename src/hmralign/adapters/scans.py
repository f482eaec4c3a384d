"""Scans of clothed people with fitted SMPL-X parameters: THuman2.1 and CustomHumans, a folder for each scan.

    layout         a scan                              its parameters
    thuman21       model/<scan>/<scan>.obj             smplx/<scan>/smplx_param.pkl
    customhumans   mesh/<scan>/<any>.obj               smplx/<scan>/<any>.json or .pkl

Sources: Yu et al. 2021 (Function4D, THuman2.0 and its release 2.1), Ho et al. 2023 (CustomHumans). Scans have y up and
face +z. A point of the fitted body is `scale` times that of SMPL-X, plus `transl`. These layouts were written from
descriptions and tried on stand-ins alone; the data themselves are to be had from their authors by agreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.restricted_pickle import pickled_array, read_data_pickle
from hmralign.body.skeleton import NUM_BETAS, NUM_JOINTS
from hmralign.data.pose_parameters import NUM_BODY_JOINTS
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.storage.json_file import read_json
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

Layout = Literal["thuman21", "customhumans"]

MAX_SCANS = 20_000
_PLACES: Mapping[str, tuple[str, str]] = {"thuman21": ("model", "smplx"), "customhumans": ("mesh", "smplx")}
_MOST_RADIANS = 13.0


@dataclass(frozen=True)
class Scan:
    """Files of one scan."""

    name: str
    mesh: Path
    parameters: Path | None
    """None where nothing was fitted, or it is not there."""


@dataclass(frozen=True)
class ScanBody:
    """The body that was fitted to a scan: SMPL-X without hands, face and expression."""

    rotmats: Float[Tensor, "24 3 3"]
    betas: Float[Tensor, " 10"]
    transl: Float[Tensor, " 3"]
    scale: float


def find_scans(folder: Path, layout: Layout) -> list[Scan]:
    """Scans of a folder by name. Raises InputError where it has another layout, or too many."""
    meshes, fitted = (folder / place for place in _PLACES[layout])
    if not meshes.is_dir():
        raise InputError(f"{folder}: is no folder of {layout} (it has no folder '{meshes.name}')")
    scans = []
    for place in sorted(p for p in meshes.iterdir() if p.is_dir()):
        found = sorted(place.glob("*.obj"))
        own = [p for p in found if p.stem == place.name] if layout == "thuman21" else found
        if own:
            scans.append(Scan(place.name, own[0], _parameters(fitted / place.name)))
        if len(scans) > MAX_SCANS:
            raise InputError(f"{folder}: has more than {counted(MAX_SCANS, 'scan')}, expected fewer")
    if not scans:
        raise InputError(f"{folder}: has no scan ({meshes.name}/<scan>/*.obj)")
    return scans


def read_scan_body(path: Path) -> ScanBody:
    """Parameters of a scan, from a pickle (nothing in it is run) or JSON.

    Raises InputError, naming the file, where one lacks, has another size, or is not finite.
    """
    if path.suffix.lower() == ".json":
        content: Any = read_json(path, "the SMPL-X parameters of a scan")
    else:
        content = read_data_pickle(path, "the SMPL-X parameters of a scan", max_bytes=2**24, max_opcodes=100_000)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds no mapping of SMPL-X parameters")
    place = "transl" if "transl" in content else "translation"
    root, pose = (_numbers(path, content, key, size) for key, size in (("global_orient", 3), ("body_pose", 63)))
    turns = torch.cat([root, pose]).unflatten(0, (NUM_BODY_JOINTS, 3))
    if float(turns.abs().max()) > _MOST_RADIANS:
        raise InputError(f"{path}: turns a joint by {float(turns.abs().max()):.0f}, expected radians, not degrees")
    rotmats = rotvec_to_rotmat(torch.nn.functional.pad(turns, (0, 0, 0, NUM_JOINTS - NUM_BODY_JOINTS)))
    scale = float(_numbers(path, content, "scale", 1)[0]) if "scale" in content else 1.0
    if not scale > 0:
        raise InputError(f"{path}: 'scale' is {scale:g}, expected a positive number")
    betas, transl = _numbers(path, content, "betas", None)[:NUM_BETAS], _numbers(path, content, place, 3)
    return ScanBody(rotmats, betas, transl, scale)


def _parameters(place: Path) -> Path | None:
    found = sorted(p for p in place.glob("*") if p.suffix.lower() in (".pkl", ".json"))
    return found[0] if found else None


def _numbers(path: Path, content: Mapping[str, Any], key: str, size: int | None) -> Float[Tensor, " number"]:
    if key not in content:
        raise InputError(f"{path}: lacks '{key}' (it has {shown(', '.join(map(str, list(content)[:12])))})")
    try:
        value = content[key]
        array = np.asarray(value if isinstance(value, list | float | int) else pickled_array(value), np.float64).ravel()
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: '{key}' is no array of numbers") from error
    if (len(array) != size if size is not None else len(array) < NUM_BETAS) or not np.isfinite(array).all():
        wanted = size if size is not None else f"at least {NUM_BETAS}"
        raise InputError(f"{path}: '{key}' has {counted(len(array), 'number')}, expected {wanted} that are finite")
    return torch.from_numpy(array)
