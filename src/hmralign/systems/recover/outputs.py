"""The files of a recovered photo, written beside their place and renamed when complete.

Without pictures there are only photo.json and each person's summary.json and hypotheses.npz.

<photo>/
  report.html            everything at a glance, offline
  overlay.png            all people, fused bodies
  photo.json             what the folder holds; written last
  person_0/
    summary.json         numbers, settings, hashes
    hypotheses.npz       all hypotheses and the fused body (see `docs/data_formats.md`)
    fused.glb fused.obj  the answer
    best.glb best.obj    the hypothesis the critics like best: one of the group
    rank_002_hypothesis_017.glb ...   more of them, as asked
    overlay.png          the fused body over the photo
    contact_sheet.png    the best hypotheses side by side
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import torch

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.hypotheses.sides import mode_of_hypotheses
from hmralign.reports.mesh_files import write_glb, write_obj
from hmralign.reports.person_report import write_report
from hmralign.storage.json_file import read_json
from hmralign.storage.png_file import write_png
from hmralign.storage.run_record import plain
from hmralign.storage.whole_file import write_json
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import InputError
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto, measured
from hmralign.systems.recover.pictures import (
    PersonMeshes,
    PersonPictures,
    person_meshes,
    person_pictures,
    person_sheet,
    photo_overlay,
    plain_photo,
)
from hmralign.systems.recover.provenance import FORMAT_VERSION, Provenance
from hmralign.systems.recover.report import photo_report
from hmralign.systems.recover.summary import person_folder, person_summary, photo_summary

Keep = int | Literal["all"]
"""How many of the best hypotheses are written as meshes."""


@dataclass(frozen=True)
class Wanted:
    """What is written of a photo."""

    keep: Keep = 1
    pictures: bool = True
    """Whether anything is drawn: without pictures there are no meshes and no report either, numbers alone."""
    report: bool = True

    def __post_init__(self) -> None:
        """Raise InputError for what cannot be had together, and for a number of meshes that is none."""
        if self.keep != "all" and (isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 1):
            raise InputError(f"keep is {self.keep!r}; expected a number of meshes of at least 1, or 'all'")
        if not self.pictures and self.keep != 1:
            raise InputError(f"keep is {self.keep!r} without pictures, where no mesh is written; expected one of them")

    @property
    def word(self) -> str:
        """What tells results apart that hold different files."""
        less = "" if self.pictures and self.report else " no report" if self.pictures else " no pictures"
        return f"{self.keep}{less}"

    def number_of_meshes(self, hypotheses: int) -> int:
        """How many bodies of a person are written as meshes."""
        return 0 if not self.pictures else 1 + (hypotheses if self.keep == "all" else min(self.keep, hypotheses))


PHOTO_RECORD = "photo.json"
PERSON_RECORD = "summary.json"

ABOUT = (
    "Hypotheses of one person by hmralign. Axis 0 of every array without 'fused' in its name is the hypothesis.",
    "Lengths are metres, angles radians, pixels those of the photo as loaded (image_size = width, height).",
    "Frame: the camera, x right, y down, z forward; pixel (0, 0) is the centre of the top-left pixel; K projects.",
    "global_orient (M, 3) and body_pose (M, 69) are axis-angle in SMPL's joint order; *_rotmat the same as matrices.",
    "The body turns about its pelvis, then transl is added, as in SMPL; but the body is not SMPL unless body_name says "
    "so, and betas belong to that body.",
    "retargeted: whether the bodies were estimated on another skeleton (body estimated_on) and then carried over.",
    "box_only: whether the person is known only by box: no keypoint was observed, the pose is a guess from its shape.",
    "scores: higher is better; ranking lists the group, highest score first; fused, not ranking[0], is the answer.",
    "fused_*: the single answer, the mean of all hypotheses of the reading that it follows.",
    "spread (29,): the disagreement of the hypotheses per joint, metres.",
    "mode (M,): the reading of the person's sides that a hypothesis follows, 0 that of fused (modes in summary.json).",
)


def write_photo(
    folder: Path,
    photo: RecoveredPhoto,
    body: BodyModel,
    provenance: Provenance,
    fingerprint: str,
    *,
    wanted: Wanted,
    overwrite: bool = False,
    index: Path | None = None,
    on_person: Callable[[], None] = lambda: None,
) -> Path:
    """Write all outputs of a photo, whole or not at all; returns the folder. What is there already is left as it is.

    Its report links to the page `index`.

    `on_person` is called when a person is drawn, or written where nothing is drawn. Raises InputError when the folder
    exists and may not be replaced, or cannot be written.
    """
    if not overwrite and is_finished(folder, fingerprint):
        return folder
    require_replaceable(folder, overwrite)
    with finished_folder(folder) as draft:
        if wanted.pictures:
            up = None if index is None else page_link(folder, index)
            _drawn_files(draft, photo, body, provenance, wanted, on_person, up)
        for number in range(len(photo.persons)):
            into = draft / person_folder(number)
            into.mkdir(exist_ok=True)
            _number_files(into, photo, number, body, provenance)
            if not wanted.pictures:
                on_person()
        write_json(draft / PHOTO_RECORD, photo_summary(photo, provenance, fingerprint))
    return folder


def _drawn_files(
    draft: Path,
    photo: RecoveredPhoto,
    body: BodyModel,
    provenance: Provenance,
    wanted: Wanted,
    on_person: Callable[[], None],
    up: str | None,
) -> None:
    pictures: list[PersonPictures] = []
    with measured(photo.seconds, "draw"):
        meshes = [person_meshes(person, body) for person in photo.persons]
        for number, person in enumerate(photo.persons):
            others = [mesh.fused for i, mesh in enumerate(meshes) if i != number]
            pictures.append(person_pictures(photo, person, meshes[number], body, others))
            on_person()
        plain = plain_photo(photo)
        overlay = photo_overlay(photo, plain, [m.fused for m in meshes], body)
        write_png(draft / "overlay.png", overlay)
    if wanted.report:
        with measured(photo.seconds, "report"):
            report = photo_report(photo, meshes, pictures, plain, overlay, body, provenance, up)
            write_report(draft / "report.html", report)
    for number in range(len(photo.persons)):
        into = draft / person_folder(number)
        into.mkdir()
        _picture_files(into, photo, number, meshes[number], pictures[number], body, wanted.keep)


def write_person(
    folder: Path,
    photo: RecoveredPhoto,
    number: int,
    body: BodyModel,
    provenance: Provenance,
    *,
    wanted: Wanted,
    overwrite: bool = False,
) -> Path:
    """Write the outputs of one person alone, whole or not at all; returns the folder. Otherwise as `write_photo`."""
    if not overwrite and _holds_person(folder, photo, number, provenance, wanted):
        return folder
    require_replaceable(folder, overwrite)
    person = photo.persons[number]
    with finished_folder(folder) as draft:
        if wanted.pictures:
            meshes = person_meshes(person, body)
            others = [vertices(body, other.fused) for i, other in enumerate(photo.persons) if i != number]
            pictures = person_pictures(photo, person, meshes, body, others)
            _picture_files(draft, photo, number, meshes, pictures, body, wanted.keep)
        _number_files(draft, photo, number, body, provenance)
    return folder


def _holds_person(folder: Path, photo: RecoveredPhoto, number: int, provenance: Provenance, wanted: Wanted) -> bool:
    """Whether a folder holds this very person, in as many meshes."""
    count = wanted.number_of_meshes(photo.persons[number].hypotheses.num_hypotheses)
    there = _read_object(folder / PERSON_RECORD)
    said = plain(person_summary(photo, number, provenance))
    same = there is not None and {**there, "seconds": {}} == {**said, "seconds": {}}
    return same and len(list(folder.glob("*.glb"))) == count


def _number_files(folder: Path, photo: RecoveredPhoto, number: int, body: BodyModel, provenance: Provenance) -> None:
    write_npz(folder / "hypotheses.npz", person_arrays(photo, photo.persons[number], body, provenance))
    write_json(folder / PERSON_RECORD, person_summary(photo, number, provenance))


def _picture_files(
    folder: Path,
    photo: RecoveredPhoto,
    number: int,
    meshes: PersonMeshes,
    pictures: PersonPictures,
    body: BodyModel,
    keep: Keep,
) -> None:
    person = photo.persons[number]
    write_png(folder / "overlay.png", pictures.fused)
    write_png(folder / "contact_sheet.png", person_sheet(photo, number, pictures))
    _write_meshes(folder, person, meshes, body, keep)


def _write_meshes(folder: Path, person: RecoveredPerson, meshes: PersonMeshes, body: BodyModel, keep: Keep) -> None:
    faces = body.faces.numpy()
    kept = person.ranking if keep == "all" else person.ranking[: max(keep, 1)]
    named = {"fused": meshes.fused, "best": meshes.hypotheses[person.selected]}
    for rank, index in enumerate(kept.tolist()[1:], start=2):
        named[f"rank_{rank:03d}_hypothesis_{index:03d}"] = meshes.hypotheses[index]
    for name, mesh in named.items():
        write_glb(folder / f"{name}.glb", mesh.numpy(), faces)
        write_obj(folder / f"{name}.obj", mesh.numpy(), faces)


def person_arrays(
    photo: RecoveredPhoto, person: RecoveredPerson, body: BodyModel, provenance: Provenance
) -> dict[str, np.ndarray]:
    """The arrays of `hypotheses.npz`; `about` explains them."""
    group, fused = person.hypotheses.body, person.fused
    arrays = {
        "global_orient": rotmat_to_rotvec(group.global_orient),
        "body_pose": rotmat_to_rotvec(group.body_pose).flatten(-2),
        "global_orient_rotmat": group.global_orient,
        "body_pose_rotmat": group.body_pose,
        "betas": group.betas,
        "transl": group.transl,
        "joints": person.hypotheses.joints,
        "scores": person.scores,
        "ranking": person.ranking,
        **{f"score_{name}": scores for name, scores in person.critic_scores.items()},
        "fused_global_orient": rotmat_to_rotvec(fused.global_orient),
        "fused_body_pose": rotmat_to_rotvec(fused.body_pose).flatten(-2),
        "fused_global_orient_rotmat": fused.global_orient,
        "fused_body_pose_rotmat": fused.body_pose,
        "fused_betas": fused.betas,
        "fused_transl": fused.transl,
        "fused_joints": person.fused_joints,
        "spread": person.spread,
        "mode": mode_of_hypotheses(person.modes),
        "mode_fused_joints": torch.stack([mode.fused_joints for mode in person.modes]),
        "K": photo.camera.K,
        "box": person.observation.box,
        "keypoints": person.observation.keypoints,
        "confidence": person.observation.confidence,
    }
    words = {
        "format_version": np.array(FORMAT_VERSION),
        "about": np.array(ABOUT),
        "image_size": np.array([photo.image.width, photo.image.height]),
        "camera_source": np.array(photo.camera.source),
        "joint_names": np.array(JOINT_NAMES),
        "keypoint_names": np.array(KEYPOINT_NAMES),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
        "mesh_hash": np.array(body.mesh_hash),
        "box_only": np.array(person.box_only),
        "retargeted": np.array(provenance.retargeted),
        "estimated_on": np.array(provenance.estimated_on.name),
    }
    return {**words, **{name: tensor.numpy() for name, tensor in arrays.items()}}


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds the finished result of the same photo, inputs, settings and weights."""
    record = read_record(folder)
    return record is not None and record.get("fingerprint") == fingerprint


def require_replaceable(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless the folder is absent or empty, or `overwrite` is set and it is an earlier output."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    earlier = (folder / PHOTO_RECORD).is_file() or (folder / PERSON_RECORD).is_file()
    if not folder.is_dir() or folder.is_symlink() or not earlier:
        raise InputError(f"'{folder}' exists and is no earlier output of hmralign; expected a new folder")
    if not overwrite:
        raise InputError(f"'{folder}' holds a result of other settings; expected a new folder, or overwrite=True")


def read_record(folder: Path) -> dict[str, Any] | None:
    """`photo.json` of a finished folder, or None where there is none that can be read."""
    return _read_object(folder / PHOTO_RECORD)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        record = read_json(path, "the record of a photo or person")
    except InputError:
        return None
    return record if isinstance(record, dict) else None


def page_link(folder: Path, page: Path) -> str:
    """The link from a page in `folder` to another page; names that are not UTF-8 are quoted byte by byte."""
    return quote(os.fsencode(os.path.relpath(page, folder).replace(os.sep, "/")))
