"""Where a refinement starts: people as `recover` left them, or as another system's file predicts them.

What comes from a file is checked by name and shape; the photo it belongs to is known by its hash, never by a path that
a file gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.adapters.predictions.opened import open_predictions
from hmralign.adapters.predictions.rows import knows_cameras
from hmralign.body.body_file import BodyFamily
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.images import LoadedImage, load_image
from hmralign.data.prediction_file import PredictionFile
from hmralign.data.synthetic.observation_noise import SHIPPED_NOISE
from hmralign.detection.detection import Detection
from hmralign.detection.find_people import find_people
from hmralign.detection.observe import observe
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.preferences.predictions import carried_over
from hmralign.storage.json_file import read_json
from hmralign.structures import MASK_SIZE, BodyParams, Camera, InputError, Observation
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown
from hmralign.systems.recover.exports import finished_photos, stored_person
from hmralign.systems.recover.outputs import PERSON_RECORD, read_record
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto, noise_for

_SEEN = ("K", "box", "keypoints", "confidence", "image_size", "camera_source")
_SHAPES = {
    "K": (3, 3),
    "box": (4,),
    "keypoints": (NUM_KEYPOINTS, 2),
    "confidence": (NUM_KEYPOINTS,),
    "image_size": (2,),
}
_FAMILIES = {"smpl": "SMPL", "smplx": "SMPL-X", "mhr": "MHR"}
_CARRIED = {
    "smpl": "the same rotations, limbs as long as its shapes allow",
    "mhr": "fitted to 27 keypoints on their surface",
}
_SAME_PERSON = 0.3
"""Boxes that overlap less (intersection over union) are of different people."""


@dataclass(frozen=True)
class InitialPerson:
    """One person before it is refined; no batch axis but that of the hypotheses. Frame `cam`, metres."""

    name: str
    initial: BodyParams
    observation: Observation
    camera: Camera
    noise: KeypointNoise
    detector: str = "unknown"
    """Whose keypoints these are."""
    hypotheses: BodyParams | None = None
    """The group that the initial body was fused from, where it is known."""


@dataclass(frozen=True)
class InitialPeople:
    """People of one photo, or of a file; `photo` is None where there are no pixels."""

    persons: tuple[InitialPerson, ...]
    source: str
    photo: LoadedImage | None = None
    notes: tuple[str, ...] = ()

    def chosen(self, names: Sequence[str]) -> InitialPeople:
        """Some of the people, by number or name, in the order asked for.

        Raises InputError for one there is not, and for one that is named twice.
        """
        known = {**{str(n): p for n, p in enumerate(self.persons)}, **{p.name: p for p in self.persons}}
        if wrong := [name for name in names if name not in known]:
            some = ", ".join(p.name for p in self.persons[:8])
            raise InputError(f"there is no person '{shown(wrong[0])}' in {self.source}; there are {some}")
        persons = tuple(known[name] for name in names)
        if twice := next((p.name for n, p in enumerate(persons) if any(p is other for other in persons[:n])), None):
            raise InputError(f"person '{shown(twice)}' is named twice; expected each one once")
        return replace(self, persons=persons)


def of_recovered(photo: RecoveredPhoto) -> InitialPeople:
    """The people of a photo that was just recovered."""
    persons = tuple(_of_person(f"person_{n}", person, photo.camera) for n, person in enumerate(photo.persons))
    return InitialPeople(persons, photo.image.name, photo.image)


def _of_person(name: str, person: RecoveredPerson, camera: Camera) -> InitialPerson:
    seen = replace(person.observation, crop=None, has_crop=None)
    group = person.hypotheses.body
    return InitialPerson(
        name, person.fused, seen, camera, noise_for(person.detection), person.detection.detector, group
    )


def read_start(
    path: Path, body: BodyModel, photo: Path | None = None, keypoints: Path | None = None, family: BodyFamily = "free"
) -> InitialPeople:
    """The people of an output folder of `recover`, or of a prediction file in any format that is read.

    `family` is that of the body: predictions of the same are taken as they are. `photo` gives the pixels, `keypoints`
    replaces the stored ones (a file of COCO, OpenPose or AlphaPose, matched by boxes) and needs the photo.

    Raises InputError for a folder of several photos, files that are damaged or of another skeleton, a photo that is
    another one, and keypoints of nobody who is there.
    """
    image = None if photo is None else load_image(photo)
    people = _of_folder(path, body, image) if path.is_dir() else _of_predictions(path, body, image, family)
    if keypoints is None:
        return people
    if image is None:
        raise InputError(f"keypoints are given in {keypoints}, and no photo; expected the photo that they are of")
    return with_keypoints(people, find_people(image, None, None, keypoints))


def _of_folder(folder: Path, body: BodyModel, image: LoadedImage | None) -> InitialPeople:
    photos = finished_photos(folder)
    if len(photos) > 1:
        names = ", ".join(p.name for p in photos[:6])
        raise InputError(
            f"'{folder}' holds {counted(len(photos), 'photo')} ({names}); expected the folder of one of them"
        )
    record = read_record(photos[0]) or {}
    if image is not None:
        _require_same_photo(record, image, photos[0])
    names = [str(person["folder"]) for person in record["people"]]
    persons = tuple(_stored(photos[0] / name, name, body, record) for name in names)
    return InitialPeople(persons, str(photos[0]), image)


def _require_same_photo(record: dict, image: LoadedImage, folder: Path) -> None:
    said = record.get("image", {})
    if said.get("sha256") not in (None, image.sha256) or said.get("size") != [image.width, image.height]:
        raise InputError(f"{image.name} is not the photo of '{folder}'; expected '{shown(str(said.get('name')))}'")


def _stored(folder: Path, name: str, body: BodyModel, record: dict) -> InitialPerson:
    person, arrays = stored_person(folder, body), read_npz(folder / "hypotheses.npz", _SEEN)
    for array, shape in _SHAPES.items():
        if arrays[array].shape != shape or not np.issubdtype(arrays[array].dtype, np.number):
            raise InputError(
                f"{folder / 'hypotheses.npz'}: '{array}' is {arrays[array].dtype} {arrays[array].shape}, expected "
                f"numbers {shape}"
            )
    source = str(arrays["camera_source"])
    if source not in ("given", "exif", "estimated"):
        raise InputError(f"{folder / 'hypotheses.npz'}: 'camera_source' is '{shown(source)}'")
    width, height = (int(v) for v in arrays["image_size"])
    K, box, keypoints, confidence = (torch.from_numpy(arrays[n].astype(np.float32)) for n in _SEEN[:4])
    camera = Camera(K, width, height, source)  # pyright: ignore[reportArgumentType]
    seen = Observation(
        keypoints, confidence, box, K, torch.tensor(camera.known), torch.zeros(MASK_SIZE, MASK_SIZE),
        torch.tensor(False),
    )  # fmt: skip
    summary = read_json(folder / PERSON_RECORD, "the record of a person")
    detector = str(summary.get("detector", "")) if isinstance(summary, dict) else ""
    return InitialPerson(name, person.fused, seen, camera, known_noise(detector), detector, person.hypotheses)


def known_noise(detector: str) -> KeypointNoise:
    """Noise of a detector that is named in a file: measured where we ship it, else generic; no file is followed."""
    name = next((known for known in sorted(SHIPPED_NOISE, reverse=True) if detector.startswith(known)), "unknown")
    return noise_of(name)


def _of_predictions(path: Path, body: BodyModel, image: LoadedImage | None, family: BodyFamily) -> InitialPeople:
    predictions = open_predictions([path])
    if predictions.rotmats is None and predictions.surface is None:
        raise InputError(f"{path}: gives joints alone; expected rotations, which a refinement starts from")
    if not knows_cameras(predictions):
        raise InputError(
            f"{path}: says of somebody neither the camera nor the size of the photo; expected a camera, in which the "
            "body stands"
        )
    with torch.no_grad():
        own = family == predictions.skeleton and family != "free"
        bodies = carried_over(predictions, body, body if own else None).body
    persons = []
    there = _in_photo(predictions, image)
    for row, name in enumerate(predictions.ids):
        if row not in there:
            continue  # of another photo: its keypoints would be those of somebody who stands elsewhere
        seen = predictions.observation[row]
        # The file does not say how large the images are; whoever draws takes the photo's size where there is one.
        width, height = (0, 0) if image is None else (image.width, image.height)
        camera = Camera(seen.K, width, height, "given" if bool(seen.knows_camera) else "estimated")
        noise = known_noise(predictions.detector)
        persons.append(InitialPerson(name, bodies[row, 0], seen, camera, noise, predictions.detector, bodies[row]))
    notes = ()
    if predictions.skeleton != "free" and not own:
        notes = (
            f"{path.name} holds bodies of {_FAMILIES[predictions.skeleton]}; they were carried over to {body.name}: "
            f"{_CARRIED['mhr' if predictions.surface is not None else 'smpl']}.",
        )
    notes += tuple(f"Assumed of {path.name}: {line}." for line in predictions.assumed)
    if predictions.num_hypotheses > 1:
        notes += (f"{path.name} holds {predictions.num_hypotheses} hypotheses per person; the first is refined.",)
    return InitialPeople(tuple(persons), str(path), image, notes)


def _in_photo(predictions: PredictionFile, image: LoadedImage | None) -> Sequence[int]:
    """Persons of the photo that is given, by its name; all of them where there is none, or the file names no photos.

    Raises InputError for a photo of which the file has nobody.
    """
    everybody = range(len(predictions))
    if image is None or not any(predictions.images):
        return everybody
    stem = PurePosixPath(image.name).stem
    there = [row for row in everybody if PurePosixPath(predictions.images[row]).stem == stem]
    if not there:
        raise InputError(
            f"{predictions.path}: has nobody in {image.name}; it has people of '{shown(predictions.images[0])}'"
        )
    return there


def with_keypoints(people: InitialPeople, found: Sequence[Detection]) -> InitialPeople:
    """The people with keypoints of detections whose boxes overlap theirs most; others keep what they have, and a note.

    Raises InputError where nobody is matched.
    """
    left, persons, unmatched = list(found), [], []
    for person in people.persons:
        overlaps = [box_overlap(person.observation.box, torch.from_numpy(d.box)) for d in left]
        best = max(range(len(left)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < _SAME_PERSON:
            unmatched.append(person.name)
            persons.append(person)
            continue
        detection = left.pop(best)
        seen = replace(observe(detection, person.camera), crop=None, has_crop=None)
        noise, name = known_noise(detection.detector), detection.detector
        persons.append(replace(person, observation=seen, noise=noise, detector=name))
    if len(unmatched) == len(people.persons):
        raise InputError(f"the keypoints are of nobody in {people.source}: no box overlaps; expected the same people")
    notes = tuple(f"{name}: no given keypoints are of this person, the stored ones are used." for name in unmatched)
    return replace(people, persons=tuple(persons), notes=(*people.notes, *notes))


def box_overlap(a: Float[Tensor, " 4"], b: Float[Tensor, " 4"]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    common = float(sides.prod())
    both = sum(float((box[2:] - box[:2]).prod()) for box in (a, b))
    return common / max(both - common, 1e-9)
