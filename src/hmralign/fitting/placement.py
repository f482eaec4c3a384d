"""From the person frame to the photo's camera."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.lbs import rest_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.fitting.keypoint_update import Residuals
from hmralign.geometry.cameras import rays
from hmralign.geometry.placement import fill_box, fit_rigid
from hmralign.models.person_frame import PersonFrame
from hmralign.structures import BodyParams, Observation


def place_in_image(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    points: Float[Tensor, "person hyp 27 3"],
    residual: Residuals,
    observation: Observation,
    frame: PersonFrame,
) -> BodyParams:
    """Bodies in the `cam` frame.

    Known intrinsics: the virtual camera is turned back. Guessed ones: the body was estimated as seen by a nominal
    camera, so it is re-placed rigidly such that it appears in the photo where it appeared there; its own pose stays.

    Persons with fewer than two observed keypoints, too few to say where they are, fill their boxes instead: the mesh
    touches the box in one direction and is centred in the other, whether the intrinsics are known or not.
    """
    back = frame.R_person_cam.mT[:, None]  # (B, 1, 3, 3)
    transl = (back @ residual.transl[..., None])[..., 0]  # (B, N, 3)
    turn = torch.eye(3, device=points.device).expand(*transl.shape, 3)  # (B, N, 3, 3)
    by_box = (observation.confidence > 0).sum(-1) < 2
    unknown = ~observation.knows_camera & ~by_box
    if bool(unknown.any()):
        some = unknown.nonzero()[:, 0]
        box, K = observation.box[some], observation.K[some]
        guessed_turn, guessed_transl = _replace(points[some], residual.tangents[some], box, K, frame[some])
        turn, transl = turn.index_copy(0, some, guessed_turn), transl.index_copy(0, some, guessed_transl)
    pelvis = rest_joints(body, betas)[..., 0, :]  # (B, N, 3)
    # `points` were turned about the origin; the body turns about its pelvis.
    transl = transl + (turn @ back @ pelvis[..., None])[..., 0] - pelvis
    placed = BodyParams(turn @ back @ rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, transl)
    return _into_boxes(body, placed, observation, by_box) if bool(by_box.any()) else placed


def _into_boxes(
    body: BodyModel, placed: BodyParams, observation: Observation, by_box: Bool[Tensor, " person"]
) -> BodyParams:
    """The chosen persons' bodies where their meshes fill the boxes, pixels of the photo; one person at a time, as the
    meshes of a whole group are large."""
    transl = placed.transl.clone()
    for person in by_box.nonzero()[:, 0].tolist():
        K, box = observation.K[person], observation.box[person]
        at_origin = replace(placed[person], transl=torch.zeros_like(transl[person]))
        filled = fill_box(vertices(body, at_origin) @ K.mT, box[:2], box[2:])
        transl[person] = torch.linalg.solve(K, filled.mT).mT
    return replace(placed, transl=transl)


def _replace(
    points: Float[Tensor, "person hyp 27 3"],
    tangents: Float[Tensor, "person hyp 27 2"],
    box: Float[Tensor, "person 4"],
    K: Float[Tensor, "person 3 3"],
    frame: PersonFrame,
) -> tuple[Float[Tensor, "person hyp 3 3"], Float[Tensor, "person hyp 3"]]:
    """Rigid fit of the landmarks to the pixels at which the nominal camera saw them."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    longest = ((box[:, 2:] - box[:, :2]) / 2).amax(-1)
    plane = tangents / frame.tan_half_size[:, None, None, None]  # (B, N, 27, 2)
    pixels = centre[:, None, None] + plane * longest[:, None, None, None]
    ray = rays(pixels, K[:, None])  # (B, N, 27, 3)
    back = frame.R_person_cam.mT[:, None]
    # A landmark outside the photo still says where the body is, but rays far off the axis say little.
    weights = (ray[..., 2] > 0.3).float()
    return fit_rigid(points @ back.mT, ray[..., :2] / ray[..., 2:].clamp(min=0.3), weights)
