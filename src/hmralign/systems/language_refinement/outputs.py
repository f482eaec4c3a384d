"""The files of refined people, written beside their place and renamed when complete.

<out>/
  report.html            everything at a glance, offline, with a slider over the steps
  overlay.png            everybody's refined body, where there is a photo
  photo.json             what the folder holds; written last
  person_0/
    summary.json         what was wanted, how true it is before and after, losses of every step
    refinement.npz       bodies before, on the way and after, losses, statements
    hypotheses.npz       as `recover` writes it, with the refined body as the fused one: `hmralign export` reads it
    before.glb before.obj after.glb after.obj
    overlay_before.png overlay.png
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.reports.mesh_files import write_glb, write_obj
from hmralign.reports.refinement_report import write_refinement_report
from hmralign.storage.png_file import write_png
from hmralign.storage.whole_file import write_json
from hmralign.storage.whole_folder import finished_folder
from hmralign.structures import BodyParams
from hmralign.systems.language_refinement.pictures import RefinedPictures, refined_overlay, refined_pictures
from hmralign.systems.language_refinement.refined import RefinedPeople, RefinedPerson, moved_limbs
from hmralign.systems.language_refinement.report import refinement_report
from hmralign.systems.recover.outputs import PERSON_RECORD, PHOTO_RECORD, require_replaceable
from hmralign.systems.recover.provenance import BodyIdentity, library_versions
from hmralign.systems.recover.summary import camera_record, person_folder

FORMAT_VERSION = 1
"""Version of the folder."""

ABOUT = (
    "Refinement of one person by hmralign. initial_*: where it started; refined_*: the answer; steps_*: axis 0 is the "
    "step, the initial body first.",
    "Lengths are metres, angles radians; frame: the camera, x right, y down, z forward.",
    "keypoint_loss and text_loss belong to the steps; statements are ids of hmralign's vocabulary, with whether they "
    "were wanted to hold, how much they counted, and how true they are of the initial and of the refined body.",
)


def write_refined(
    folder: Path, refined: RefinedPeople, body: BodyModel, made_by: dict[str, Any], *, overwrite: bool = False
) -> Path:
    """Write everything, whole or not at all; returns the folder. `made_by` says what was asked for.

    Raises InputError when the folder exists and may not be replaced, or cannot be written.
    """
    require_replaceable(folder, overwrite)
    with finished_folder(folder) as draft:
        meshes = [vertices(body, person.refinement.steps) for person in refined.persons]  # (S, V, 3) each
        pictures = [
            refined_pictures(refined, person, mesh[0], mesh[-1], body)
            for person, mesh in zip(refined.persons, meshes, strict=True)
        ]
        overlay = refined_overlay(refined, [mesh[-1] for mesh in meshes], body)
        if overlay is not None:
            write_png(draft / "overlay.png", overlay)
        write_refinement_report(draft / "report.html", refinement_report(refined, meshes, pictures, body))
        for number, (person, mesh, drawn) in enumerate(zip(refined.persons, meshes, pictures, strict=True)):
            into = draft / person_folder(number)
            into.mkdir()
            _write_person(into, refined, person, mesh, drawn, body)
        write_json(draft / PHOTO_RECORD, photo_record(refined, body, made_by))
    return folder


def _write_person(
    folder: Path,
    refined: RefinedPeople,
    person: RefinedPerson,
    mesh: Float[Tensor, "step vert 3"],
    drawn: RefinedPictures,
    body: BodyModel,
) -> None:
    write_png(folder / "overlay_before.png", drawn.before)
    write_png(folder / "overlay.png", drawn.after)
    for name, one in (("before", mesh[0]), ("after", mesh[-1])):
        write_glb(folder / f"{name}.glb", one.numpy(), body.faces.numpy())
        write_obj(folder / f"{name}.obj", one.numpy(), body.faces.numpy())
    write_npz(folder / "refinement.npz", refinement_arrays(person, body))
    write_npz(folder / "hypotheses.npz", hypothesis_arrays(refined, person, body))
    write_json(folder / PERSON_RECORD, person_record(person, body))


def refinement_arrays(person: RefinedPerson, body: BodyModel) -> dict[str, np.ndarray]:
    """The arrays of `refinement.npz`; `about` explains them."""
    found, truths = person.refinement, person.truths(body)
    bodies = {"initial": person.start.initial, "refined": found.refined, "steps": found.steps}
    arrays = {f"{name}_{part}": value for name, params in bodies.items() for part, value in _parameters(params).items()}
    arrays |= {f"{name}_joints": posed_joints(body, params) for name, params in bodies.items()}
    arrays |= {"keypoint_loss": found.keypoint_loss, "text_loss": found.text_loss}
    words = {
        "format_version": np.array(FORMAT_VERSION),
        "about": np.array(ABOUT),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
        "joint_names": np.array(JOINT_NAMES),
        "statements": np.array([name.removeprefix("not: ") for name, *_ in truths], dtype=str),
        "holds": np.array([not name.startswith("not: ") for name, *_ in truths], dtype=bool),
        "truth_before": np.array([before for _, before, _, _ in truths], np.float32),
        "truth_after": np.array([after for _, _, after, _ in truths], np.float32),
        "statement_weight": np.array([weight for *_, weight in truths], np.float32),
    }
    return {**words, **{name: tensor.numpy() for name, tensor in arrays.items()}}


def hypothesis_arrays(refined: RefinedPeople, person: RefinedPerson, body: BodyModel) -> dict[str, np.ndarray]:
    """What others read of `recover`'s `hypotheses.npz`: the group as it was, the refined body as the fused one."""
    start, seen = person.start, person.start.observation
    group = BodyParams.stack([start.initial]) if start.hypotheses is None else start.hypotheses
    arrays = {**_parameters(group), **{f"fused_{name}": value for name, value in _parameters(person.body).items()}}
    arrays |= {
        "joints": posed_joints(body, group), "fused_joints": posed_joints(body, person.body), "K": seen.K,
        "box": seen.box, "keypoints": seen.keypoints, "confidence": seen.confidence,
    }  # fmt: skip
    words = {
        "format_version": np.array(FORMAT_VERSION),
        "image_size": np.array([start.camera.width, start.camera.height]),
        "camera_source": np.array(start.camera.source),
        "joint_names": np.array(JOINT_NAMES),
        "keypoint_names": np.array(KEYPOINT_NAMES),
        "body_name": np.array(body.name),
        "skeleton_hash": np.array(body.skeleton_hash),
        "mesh_hash": np.array(body.mesh_hash),
    }
    return {**words, **{name: tensor.numpy() for name, tensor in arrays.items()}}


def _parameters(params: BodyParams) -> dict[str, Tensor]:
    return {
        "global_orient": rotmat_to_rotvec(params.global_orient),
        "body_pose": rotmat_to_rotvec(params.body_pose).flatten(-2),
        "global_orient_rotmat": params.global_orient,
        "body_pose_rotmat": params.body_pose,
        "betas": params.betas,
        "transl": params.transl,
    }


def person_record(person: RefinedPerson, body: BodyModel) -> dict[str, Any]:
    """What `summary.json` of a person holds."""
    description = person.wish.description
    return {
        "format_version": FORMAT_VERSION,
        "person": person.start.name,
        "detector": person.start.detector,
        "typed": person.wish.typed,
        "text": None if description is None else description.text(),
        "description_from": None if description is None else description.source,
        "statements": [
            {"statement": name, "truth_before": round(before, 4), "truth_after": round(after, 4), "weight": weight}
            for name, before, after, weight in person.truths(body)
        ],
        "keypoint_loss": _rounded(person.refinement.keypoint_loss),
        "text_loss": _rounded(person.refinement.text_loss),
        "moved_m": {limb: round(value, 4) for limb, value in moved_limbs(person, body).items()},
        "notes": list(person.notes),
    }


def photo_record(refined: RefinedPeople, body: BodyModel, made_by: dict[str, Any]) -> dict[str, Any]:
    """What `photo.json` holds."""
    photo = refined.people.photo
    return {
        "format_version": FORMAT_VERSION,
        "refined": True,
        "source": refined.people.source,
        "image": {
            "name": None if photo is None else photo.name,
            "sha256": None if photo is None else photo.sha256,
            "size": _image_size(refined),
        },
        "camera": camera_record(refined.people.persons[0].camera),
        "people": [{"folder": person_folder(n), "name": p.start.name} for n, p in enumerate(refined.persons)],
        "notes": list(refined.notes),
        "made_by": {
            **made_by, "config": asdict(refined.config), "body": asdict(BodyIdentity.of(body)),
            "versions": library_versions(),
        },
    }  # fmt: skip


def _image_size(refined: RefinedPeople) -> list[int]:
    camera = refined.people.persons[0].camera
    return [camera.width, camera.height]


def _rounded(values: Float[Tensor, " step"]) -> list[float]:
    return [round(float(value), 5) for value in values]
