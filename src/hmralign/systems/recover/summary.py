"""The numbers of one person and of one photo as plain values, for `summary.json` and `photo.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmralign.structures import Camera
from hmralign.systems.recover.doubtful_sides import modes_record
from hmralign.systems.recover.expected_error import expected_error
from hmralign.systems.recover.limbs import LIMBS
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto
from hmralign.systems.recover.provenance import FORMAT_VERSION, Provenance


def person_summary(photo: RecoveredPhoto, number: int, provenance: Provenance) -> dict[str, Any]:
    """What `summary.json` of a person holds; metres and pixels of the photo as loaded."""
    person = photo.persons[number]
    detection, observation = person.detection, person.observation
    return {
        "format_version": FORMAT_VERSION,
        "person": number,
        "image": image_record(photo),
        "detector": detection.detector,
        "sides_disagree": sides_record(person),
        "modes": modes_record(person),
        "box_only": person.box_only,
        "detection_score": None if person.box_only else round(detection.score, 4),
        "detection_box": _rounded(detection.box, 2),
        "box": _rounded(observation.box, 2),
        "keypoints": {
            name: [*_rounded(point, 2), round(float(confidence), 3)]
            for name, point, confidence in zip(
                KEYPOINT_NAMES, observation.keypoints, observation.confidence, strict=True
            )
            if confidence > 0
        },
        "num_hypotheses": person.hypotheses.num_hypotheses,
        "selected_index": person.selected,
        "ranking": person.ranking.tolist(),
        "scores": _rounded(person.scores, 5),
        "critic_scores": {name: _rounded(scores, 5) for name, scores in person.critic_scores.items()},
        "selected": asdict(person.best_agreement),
        "fused": asdict(person.fused_agreement),
        "spread_m": {name: round(float(s), 4) for name, s in zip(JOINT_NAMES, person.spread, strict=True)},
        "spread_by_limb_m": limb_spread(person),
        "expected_error_m": expected_error_record(person, provenance),
        "camera": camera_record(photo.camera),
        "retargeted": provenance.retargeted,
        "seed": provenance.config.seed,
        "seconds": {stage: round(s, 4) for stage, s in photo.seconds.items()},
        "made_by": provenance.record(),
    }


def photo_summary(photo: RecoveredPhoto, provenance: Provenance, fingerprint: str) -> dict[str, Any]:
    """What `photo.json` holds; it is the last file written, and says that the folder is complete."""
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "image": image_record(photo),
        "camera": camera_record(photo.camera),
        "people": [
            {
                "folder": person_folder(number),
                "box": _rounded(person.observation.box, 2),
                "box_only": person.box_only,
                "detector": person.detection.detector,
                "sides_disagree": sides_record(person),
                "modes": modes_record(person),
                "selected_index": person.selected,
                "selected": asdict(person.best_agreement),
                "fused": asdict(person.fused_agreement),
                "mean_spread_m": round(float(person.spread.mean()), 4),
            }
            for number, person in enumerate(photo.persons)
        ],
        "retargeted": provenance.retargeted,
        "seconds": {stage: round(s, 4) for stage, s in photo.seconds.items()},
        "made_by": provenance.record(),
    }


def sides_record(person: RecoveredPerson) -> list[str]:
    """What two networks read the other way round, left and right: "body" (or front and back), "legs", "arms"."""
    other = person.detection.alternative
    return [] if other is None else list(other.exchanged)


def person_folder(number: int) -> str:
    """Name of the folder of one person."""
    return f"person_{number}"


def limb_spread(person: RecoveredPerson) -> dict[str, float]:
    """Mean spread of each limb, metres."""
    return {name: round(float(person.spread[list(joints)].mean()), 4) for name, (joints, _) in LIMBS.items()}


def expected_error_record(person: RecoveredPerson, provenance: Provenance) -> dict[str, float] | None:
    """Expected RMS error of each joint of the fused body, metres; None for weights that were not calibrated."""
    found = expected_error(person, provenance)
    return None if found is None else {name: round(value, 4) for name, value in found.items()}


def image_record(photo: RecoveredPhoto) -> dict[str, Any]:
    """Name, hash and size of the photo."""
    image = photo.image
    return {
        "name": image.name,
        "sha256": image.sha256,
        "original_size": list(image.original_size),
        "size": [image.width, image.height],
    }


def camera_record(camera: Camera) -> dict[str, Any]:
    """Intrinsics and where they come from."""
    return {"K": [[float(v) for v in row] for row in camera.K], "source": camera.source}


def _rounded(values: Any, digits: int) -> list[float]:
    flat = values.tolist() if isinstance(values, Tensor) or hasattr(values, "tolist") else list(values)
    return [round(float(v), digits) for v in flat]
