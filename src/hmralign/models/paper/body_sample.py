"""A body as the papers' models sample it: where its joints fall in the crop, how deep they are, and its twists.

    body -> joints -> pixels of the crop, depths from the pelvis -> sample (`models.paper.uvd`)

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2. Departure: depths are along the
camera's axis where the camera is known, else along the ray to the person, since a guessed axis says nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.inverse_kinematics import twists
from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.geometry.placement import MIN_DEPTH
from hmralign.models.paper.uvd import pack_uvd
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.structures import BodyParams, Observation


def sample_of_body(
    model: BodyModel, body: BodyParams, observation: Observation, size: int
) -> Float[Tensor, "person hyp 133"]:
    """Samples of bodies in the `cam` frame, axes (person, hyp), over the observed crops at that size in pixels."""
    joints = posed_joints(model, body)
    nearest = torch.cat([joints[..., :2], joints[..., 2:].clamp(min=MIN_DEPTH)], dim=-1)
    to_crop, _ = crop_affine(observation.box, size)
    uv = apply_affine(to_crop[:, None], project(nearest, observation.K[:, None]))  # (B, N, 29, 2)
    depth = ((joints - joints[..., :1, :]) @ lifted_axes(person_frame(observation))[:, None].mT)[..., 2]
    return pack_uvd(uv, depth, twists(body.body_pose, rest_joints(model, body.betas)), size)


def lifted_axes(frame: PersonFrame) -> Float[Tensor, "person 3 3"]:
    """From `cam` to the axes in which joints are lifted: its own, or the person frame's where the camera is guessed."""
    eye = torch.eye(3, device=frame.R_person_cam.device).expand_as(frame.R_person_cam)
    return torch.where(frame.known[:, None, None], eye, frame.R_person_cam)
