"""From the person frame to the photo's camera."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.geometry.cameras import rays
from hmralign.geometry.placement import fit_rigid
from hmralign.models.person_frame import PersonFrame
from hmralign.refinement.keypoint_update import Residuals
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
    """
    back = frame.R_person_cam.mT[:, None]
    transl = (back @ residual.transl[..., None])[..., 0]
    turn = torch.eye(3, device=points.device).expand(*transl.shape, 3)
    unknown = ~observation.knows_camera
    if bool(unknown.any()):
        guessed_turn, guessed_transl = _replace(points, residual, observation, frame)
        turn = torch.where(unknown[:, None, None, None], guessed_turn, turn)
        transl = torch.where(unknown[:, None, None], guessed_transl, transl)
    pelvis = rest_joints(body, betas)[..., 0, :]
    # `points` were turned about the origin; the body turns about its pelvis.
    transl = transl + (turn @ back @ pelvis[..., None])[..., 0] - pelvis
    return BodyParams(turn @ back @ rotmats[..., 0, :, :], rotmats[..., 1:, :, :], betas, transl)


def _replace(
    points: Tensor, residual: Residuals, observation: Observation, frame: PersonFrame
) -> tuple[Float[Tensor, "person hyp 3 3"], Float[Tensor, "person hyp 3"]]:
    """Rigid fit of the landmarks to the pixels at which the nominal camera saw them."""
    centre = (observation.box[:, :2] + observation.box[:, 2:]) / 2
    longest = ((observation.box[:, 2:] - observation.box[:, :2]) / 2).amax(-1)
    plane = residual.tangents / frame.tan_half_size[:, None, None, None]
    pixels = centre[:, None, None] + plane * longest[:, None, None, None]
    ray = rays(pixels, observation.K[:, None])
    back = frame.R_person_cam.mT[:, None]
    # A landmark outside the photo still says where the body is, but rays far off the axis say little.
    weights = (ray[..., 2] > 0.3).float()
    return fit_rigid(points @ back.mT, ray[..., :2] / ray[..., 2:].clamp(min=0.3), weights)
