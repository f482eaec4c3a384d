"""What the HTML report says about a recovered photo."""

from __future__ import annotations

from statistics import mean

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.by_rule import Agreement
from hmralign.detection.observe import photo_title
from hmralign.overlays.overlay import Picture
from hmralign.reports.report_data import LimbRow, Report, ReportPerson, ReportPhoto
from hmralign.structures.counted import counted
from hmralign.structures.shown_name import shown_name
from hmralign.systems.recover.doubtful_sides import doubt_in_words
from hmralign.systems.recover.expected_error import expected_error
from hmralign.systems.recover.limbs import LIMBS
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto
from hmralign.systems.recover.pictures import PersonMeshes, PersonPictures
from hmralign.systems.recover.provenance import Provenance

CAMERA_WORDS = {
    "given": "given by the user",
    "exif": "read from the photo (EXIF)",
    "estimated": "guessed from the photo's size",
}

CAVEATS = (
    "Fused is the answer, made of the whole group. #1 is one member of the group, the one that the critics like best; "
    "it is usually further from the truth than fused.",
    "Disagreement (spread) is how far apart the hypotheses put a joint: one photo does not show depth, so they may "
    "look the same here and differ by decimetres. Expected error is how far the joints of fused are likely to be from "
    "the truth: the disagreement, made larger or smaller by what it was worth on synthetic persons.",
)
RETARGETED = (
    "Retargeted: the people were estimated, scored and ranked on another skeleton and then carried over to this body: "
    "same rotations, limbs as long as its shapes allow. Figures of such a result belong in no table."
)
BOX_ONLY = (
    "known only by a box: the pose is a guess from the box's shape, and the body is taken to fill the box. Look at the "
    "disagreement of the hypotheses."
)
GUESSED_CAMERA = (
    "The focal length was guessed, so distances from the camera are a guess as well; the pose depends on it little."
)


def photo_report(
    photo: RecoveredPhoto,
    meshes: list[PersonMeshes],
    pictures: list[PersonPictures],
    plain: Picture,
    overlay: Picture,
    body: BodyModel,
    provenance: Provenance,
    index: str | None = None,
) -> Report:
    """The report of one photo: `plain` shows it, `overlay` all its people, `index` leads to the page of all photos."""
    persons = [
        report_person(person, number, photo, m, p, body, provenance)
        for number, (person, m, p) in enumerate(zip(photo.persons, meshes, pictures, strict=True))
    ]
    title = shown_name(photo_title(photo.image))
    page = ReportPhoto(title, plain, overlay, persons, _photo_facts(photo))
    caveats = CAVEATS if photo.camera.known else (*CAVEATS, GUESSED_CAMERA)
    bare = ", ".join(str(number) for number, person in enumerate(photo.persons) if person.box_only)
    caveats = (f"Person {bare}: {BOX_ONLY}", *caveats) if bare else caveats
    caveats = (RETARGETED, *caveats) if provenance.retargeted else caveats
    return Report(f"Bodies in {title}", [page], run_facts(provenance), caveats, index)


def report_person(
    person: RecoveredPerson,
    number: int,
    photo: RecoveredPhoto,
    meshes: PersonMeshes,
    pictures: PersonPictures,
    body: BodyModel,
    provenance: Provenance,
) -> ReportPerson:
    """One person of the report; of many hypotheses the best are shown."""
    thumbnails: list[tuple[Picture, ...]] = [()] * person.hypotheses.num_hypotheses
    for index, tile in zip(person.ranking.tolist(), pictures.tiles[2:], strict=False):
        thumbnails[index] = tile.pictures
    return ReportPerson(
        name=f"Person {number}",
        vertices=meshes.hypotheses.numpy(),
        faces=body.faces.numpy(),
        K=photo.camera.K.numpy(),
        window=pictures.window,
        photo=pictures.photo,
        best_overlay=pictures.best,
        scores=person.scores.double().numpy(),
        fused_vertices=meshes.fused.numpy(),
        fused_overlay=pictures.fused,
        fused_thumbnails=pictures.tiles[1].pictures,
        keypoint_picture=pictures.keypoints,
        thumbnails=thumbnails,
        spread=meshes.spread.numpy(),
        facts=person_facts(person) | expected_error_facts(person, provenance),
        limbs=limb_rows(person),
    )


def limb_rows(person: RecoveredPerson) -> list[LimbRow]:
    """Mean disagreement and mean confidence of each limb."""
    confidence = person.observation.confidence
    return [
        LimbRow(name, float(person.spread[list(joints)].mean()), float(confidence[list(keypoints)].mean()))
        for name, (joints, keypoints) in LIMBS.items()
    ]


def person_facts(person: RecoveredPerson) -> dict[str, str]:
    """Key facts in words."""
    x, y, z = (float(v) for v in person.fused_joints[0])
    confidence = person.observation.confidence
    found_by = (
        "the box that was given"
        if person.box_only
        else f"{person.detection.detector} (score {person.detection.score:.2f})"
    )
    return {
        "Hypotheses": str(person.hypotheses.num_hypotheses),
        "Agreement of the fused body": agreement_words(person.fused_agreement),
        f"Agreement of #1 (hypothesis {person.selected})": agreement_words(person.best_agreement),
        "Mean disagreement": f"{100 * float(person.spread.mean()):.1f} cm per joint",
        "Keypoints": f"none: {BOX_ONLY}"
        if person.box_only
        else f"{int((confidence > 0).sum())} of {len(confidence)} observed",
        "Pelvis from the camera": f"{x:+.2f} m right, {-y:+.2f} m up, {z:.2f} m ahead",
        "Found by": found_by,
        **({} if (doubt := doubt_in_words(person)) is None else {"Left and right": doubt}),
    }


def expected_error_facts(person: RecoveredPerson, provenance: Provenance) -> dict[str, str]:
    """How wrong the fused body is likely to be, where the weights were calibrated."""
    found = expected_error(person, provenance)
    if found is None:
        return {}
    worst = [name.replace("_", " ") for name in sorted(found, key=found.__getitem__, reverse=True)[:3]]
    return {
        "Expected error of the fused body": f"{100 * mean(found.values()):.0f} cm per joint, pelvis-relative, most at "
        f"{worst[0]}, {worst[1]}, {worst[2]}"
    }


def agreement_words(agreement: Agreement) -> str:
    """Reprojection error, where there are keypoints, and mask overlap, where there is a mask."""
    words = "no confident keypoints to compare with"
    if agreement.reprojection_px is not None and agreement.reprojection_over_box_height is not None:
        words = (
            f"keypoints off by {agreement.reprojection_px:.1f} px "
            f"({100 * agreement.reprojection_over_box_height:.1f} % of the box height)"
        )
    return words if agreement.mask_iou is None else f"{words}, mask overlap {100 * agreement.mask_iou:.0f} %"


def run_facts(provenance: Provenance) -> dict[str, str]:
    """What made the result."""
    config, body, estimated_on = provenance.config, provenance.body, provenance.estimated_on
    facts = {
        "Model": f"{provenance.checkpoint} ({provenance.checkpoint_hash[:12]})",
        "Body": f"{body.name} (skeleton {body.skeleton_hash[:12]}, mesh {body.mesh_hash[:12]})",
        "Refinement": config.refinement.method,
        "Sampler": f"{counted(config.sampler.num_hypotheses, 'hypothesis')}, "
        f"{counted(config.sampler.num_steps, 'step')}, seed {config.seed}",
    }
    if provenance.retargeted:
        facts["Retargeted from"] = f"{estimated_on.name} (skeleton {estimated_on.skeleton_hash[:12]})"
    return facts


def _photo_facts(photo: RecoveredPhoto) -> dict[str, str]:
    image, camera = photo.image, photo.camera
    diagonal = float(torch.tensor([image.width, image.height]).float().norm())
    facts = {
        "Size": f"{image.original_size[0]} x {image.original_size[1]} pixels",
        "Camera": f"{CAMERA_WORDS[camera.source]}: focal length {float(camera.K[0, 0]):.0f} px "
        f"({float(camera.K[0, 0]) / diagonal:.2f} diagonals)",
        "Time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in photo.seconds.items()),
    }
    if image.scale != (1.0, 1.0):
        facts["Reduced to"] = f"{image.width} x {image.height} pixels; all pixels here refer to this size"
    return facts
