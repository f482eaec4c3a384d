"""Recovered people in the forms that other programs read: skinned GLB, BVH, AMASS-style archives.

<photo>/
  scene.glb               all people, fused bodies, skinned; each in the colour that it has in overlay.png
  scene_uncertainty.glb   the same, coloured by the disagreement of the hypotheses at each point of the surface
  person_0/
    fused.bvh             the fused body as a skeleton in its pose, one frame
    fused_amass.npz       the same in AMASS' layout

Axes and units of each form: `hmralign.export`. They are written beside the finished result of a photo, from its own
files, so they can be had at any time after `recover`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import read_npz
from hmralign.export.amass import write_amass
from hmralign.export.bvh import write_bvh
from hmralign.export.motion import Motion
from hmralign.hypotheses.spread import surface_spread
from hmralign.overlays.overlay import PERSON_COLORS
from hmralign.rendering.colormap import magnitude_colors
from hmralign.reports.person_report import spread_scale
from hmralign.structures import BodyParams, InputError
from hmralign.systems.recover.outputs import PHOTO_RECORD, read_record

EXPORT_FORMATS = ("glb", "bvh", "npz")

_PARAMS = ("global_orient_rotmat", "body_pose_rotmat", "betas", "transl")


@dataclass(frozen=True)
class ExportedPerson:
    """The fused body, without a batch axis, and the hypotheses, with one; `cam` metres."""

    fused: BodyParams
    hypotheses: BodyParams


def require_formats(formats: Collection[str]) -> None:
    """Raise InputError for a form that nobody writes, or where none is named."""
    if unknown := [name for name in formats if name not in EXPORT_FORMATS]:
        raise InputError(f"'{unknown[0]}' is no export format; expected some of {', '.join(EXPORT_FORMATS)}")
    if not formats:
        raise InputError(f"no export format is named; expected some of {', '.join(EXPORT_FORMATS)}")


def finished_photos(out: Path) -> list[Path]:
    """The folders of finished photos in an output folder of `recover`, or the folder itself where it is one.

    Raises InputError where there is none.
    """
    if read_record(out) is not None:
        return [out]
    found = sorted(record.parent for record in out.glob(f"*/{PHOTO_RECORD}") if read_record(record.parent) is not None)
    if not found:
        raise InputError(
            f"'{out}' holds no finished photo; expected what `hmralign recover` wrote of photos: the output folder, or "
            "that of one photo in it"
        )
    return found


def export_photo(folder: Path, body: BodyModel, formats: Collection[str]) -> list[Path]:
    """Write the forms of a finished photo into its folder, from its own arrays; returns the files.

    Raises InputError where the folder is not finished, an archive is damaged, or was made with another skeleton.
    """
    record = read_record(folder)
    if record is None:
        raise InputError(f"'{folder}' holds no finished photo; expected an output folder of `hmralign recover`")
    names = [str(person["folder"]) for person in record["people"]]
    return write_exports(folder, names, [stored_person(folder / name, body) for name in names], body, formats)


def write_exports(
    folder: Path,
    names: Sequence[str],
    people: Sequence[ExportedPerson],
    body: BodyModel,
    formats: Collection[str],
) -> list[Path]:
    """Write the forms of all people of a photo, each file whole or not at all; `names` are those of their folders."""
    require_formats(formats)
    motions = [Motion.of_body(person.fused) for person in people]
    files = _write_scenes(folder, names, people, motions, body) if "glb" in formats else []
    for name, motion in zip(names, motions, strict=True):
        if "bvh" in formats:
            files.append(write_bvh(folder / name / "fused.bvh", body, motion))
        if "npz" in formats:
            files.append(write_amass(folder / name / "fused_amass.npz", body, motion))
    return files


def _write_scenes(
    folder: Path, names: Sequence[str], people: Sequence[ExportedPerson], motions: Sequence[Motion], body: BodyModel
) -> list[Path]:
    from hmralign.export.skinned_glb import SkinnedPerson, write_skinned_glb

    spreads = [_spread(person, body) for person in people]
    high = max(spread_scale(spread) for spread in spreads)
    plain, uncertain = [], []
    for number, (name, motion, spread) in enumerate(zip(names, motions, spreads, strict=True)):
        plain.append(SkinnedPerson(motion, name, PERSON_COLORS[number % len(PERSON_COLORS)]))
        uncertain.append(SkinnedPerson(motion, name, vertex_colors=magnitude_colors(spread, high)))
    scale = {"vertex_colors": "disagreement of the hypotheses", "vertex_colors_m": [0.0, high]}
    return [
        write_skinned_glb(folder / "scene.glb", body, plain),
        write_skinned_glb(folder / "scene_uncertainty.glb", body, uncertain, scale),
    ]


def _spread(person: ExportedPerson, body: BodyModel) -> np.ndarray:
    group = person.hypotheses
    return surface_spread(posed_joints(body, group), vertices(body, group)).numpy()


def stored_person(folder: Path, body: BodyModel) -> ExportedPerson:
    """A person of `hypotheses.npz`. Raises InputError for a damaged archive and for another skeleton."""
    path = folder / "hypotheses.npz"
    wanted = ["skeleton_hash", "body_name", *_PARAMS, *(f"fused_{name}" for name in _PARAMS)]
    arrays = read_npz(path, wanted)
    if missing := [name for name in wanted if name not in arrays]:
        raise InputError(f"{path} lacks the arrays {missing}; expected what `hmralign recover` writes")
    if str(arrays["skeleton_hash"]) != body.skeleton_hash:
        raise InputError(
            f"{path} holds people with the skeleton of body {str(arrays['body_name'])!r}, not of {body.name!r}; "
            "expected the body that they were recovered with (--body FILE)"
        )
    made = {name: torch.as_tensor(np.asarray(arrays[name], np.float32)) for name in wanted[2:]}
    group = BodyParams(*(made[name] for name in _PARAMS))
    return ExportedPerson(BodyParams(*(made[f"fused_{name}"] for name in _PARAMS)), group)
