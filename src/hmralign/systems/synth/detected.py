"""Synthetic persons as a detector reads them off their pictures, the way `recover` observes people in photos.

    person as observed -> picture -> detector -> the detection on the rendered person -> observation

Who is meant is told by boxes alone; true keypoints are never looked at. Whoever is not found is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from hmralign.body.lbs import vertices_from_fk
from hmralign.body.model import BodyModel
from hmralign.data.synthetic.generator import SeenBody
from hmralign.detection.boxes import box_iou
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.observe import MIN_KEYPOINTS, observe
from hmralign.detection.person_crop import crop_of
from hmralign.detection.person_mask import PersonMask
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.rendering.scenes.crops import SceneMix, inside_photo, rendered_crops
from hmralign.rendering.zbuffer import NEAR
from hmralign.structures import Camera, Example, Observation

MIN_OVERLAP = 0.3
"""Intersection over union with the rendered person's box below which a detection is somebody else, or nobody."""

_AT_ONCE = 500
"""Bodies whose vertices are in memory together."""


@dataclass(frozen=True)
class Looking:
    """Who reads the pictures, and what of them is kept."""

    detector: Detector
    side: int
    """Side of the pictures that the detector looks at, pixels."""
    crop_side: int
    """Side of the crops that are kept, pixels."""


def detected_examples(
    body: BodyModel,
    example: Example,
    seen: SeenBody,
    looking: Looking,
    scene: SceneMix,
    generator: torch.Generator,
    backgrounds: Sequence[UInt8[Tensor, "3 _ _"]] = (),
) -> tuple[Example, Int[Tensor, " found"]]:
    """Those persons whom the detector finds, observed by it, and their numbers in `example`.

    Keypoints, confidence, box, and the mask where the detector gives one, are the detector's; intrinsics, whether they
    are known, and the annotation are those of `example`. The crop is cut out of the picture that the detector saw.
    Raises InputError for examples without truth.
    """
    framed = replace(example, observation=replace(example.observation, box=seen_boxes(body, example, seen)))
    pictures = rendered_crops(body, framed, seen, looking.side, scene, generator, backgrounds)
    observed = [_observed(picture, framed[row], looking) for row, picture in enumerate(pictures)]
    rows = torch.tensor([row for row, found in enumerate(observed) if found is not None], dtype=torch.long)
    kept = [found for found in observed if found is not None]
    if not kept:
        nothing = torch.zeros(0, 3, looking.crop_side, looking.crop_side, dtype=torch.uint8)
        nobody = replace(example.observation[rows], crop=nothing, has_crop=torch.zeros(0, dtype=torch.bool))
        return replace(example[rows], observation=nobody), rows
    return replace(example[rows], observation=Observation.stack(kept)), rows


def seen_boxes(body: BodyModel, example: Example, seen: SeenBody) -> Float[Tensor, "n 4"]:
    """Boxes (pixels of the photos) of all that the photos hold of bodies as observed, covered or not.

    Image sizes are twice the principal point, as the generator makes them.
    """
    assert example.annotation is not None
    boxes = []
    for index in torch.arange(len(example.observation.box)).split(_AT_ONCE):
        params, K = example.annotation.body[index], example.observation.K[index]
        there = seen[index]
        mesh = vertices_from_fk(body, params.betas, params.body_pose, there.global_rotmats, there.joints)
        pixels, ahead = project(mesh, K), mesh[..., 2:] > NEAR
        border = 2 * K[:, :2, 2] + 0.5  # (n, 2): the photos' right and lower edges
        low = torch.where(ahead, pixels, torch.inf).amin(1).clamp(min=-0.5).minimum(border - 1)
        high = torch.where(ahead, pixels, -torch.inf).amax(1).minimum(border)
        boxes.append(torch.cat([low, high.maximum(low + 1)], dim=1))
    return torch.cat(boxes)


def _observed(picture: UInt8[Tensor, "3 side side"], person: Example, looking: Looking) -> Observation | None:
    """What the detector sees of one person (no batch axes, but the box of what is drawn); None where it finds nobody.

    It is shown the part of the picture that lies in the photo, whose borders are then borders to it as well.
    """
    box, K = person.observation.box, person.observation.K
    to_picture, to_photo = crop_affine(box, looking.side)
    inside = inside_photo(Example(person.observation[None]), looking.side)[0]
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    top, left = int(rows[0]), int(columns[0])
    shown = picture[:, top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].permute(1, 2, 0).contiguous().numpy()
    corner = torch.tensor([left, top], dtype=torch.float32)
    there = (apply_affine(to_picture, box.view(2, 2)) - corner).flatten().numpy()
    detection = best_match(looking.detector(shown), there)
    if detection is None or (detection.confidence > 0).sum() < MIN_KEYPOINTS:
        return None
    width, height = (int(edge) for edge in (2 * K[:2, 2] + 1).round())
    found = observe(_in_photo(detection, corner, to_photo), Camera(K, width, height, "given"))
    its_box = apply_affine(to_picture, found.box.view(2, 2)).flatten().tolist()
    crop = crop_of(picture.permute(1, 2, 0).contiguous().numpy(), its_box, looking.crop_side)
    return replace(
        found, knows_camera=person.observation.knows_camera, crop=crop.to(torch.uint8), has_crop=torch.tensor(True)
    )


def best_match(detections: Sequence[Detection], box: Float[np.ndarray, " 4"]) -> Detection | None:
    """The detection whose box overlaps the given one most, at least by `MIN_OVERLAP`."""
    overlaps = [box_iou(detection.box, box) for detection in detections]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return detections[best] if overlaps and overlaps[best] >= MIN_OVERLAP else None


def _in_photo(detection: Detection, corner: Float[Tensor, " 2"], to_photo: Float[Tensor, "2 3"]) -> Detection:
    """A detection in pixels of what the detector was shown as one in pixels of the photo."""

    def moved(points: Sequence[float] | np.ndarray) -> np.ndarray:
        pixels = torch.as_tensor(np.asarray(points, np.float32)).view(-1, 2)
        return apply_affine(to_photo, pixels + corner).numpy()

    mask = detection.mask
    if mask is not None:
        x0, y0, x1, y1 = (float(edge) for edge in moved(mask.region).flatten())
        mask = PersonMask(mask.alpha, (x0, y0, x1, y1))
    return replace(
        detection, keypoints=moved(detection.keypoints), box=moved(detection.box).flatten(), mask=mask, alternative=None
    )
