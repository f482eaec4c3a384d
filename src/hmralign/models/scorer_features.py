"""What a scorer sees of hypotheses: where their joints fall in the picture and in depth, how they are turned, and how
far their surface landmarks are from the observed ones.

| field | what | published scorer |
| --- | --- | --- |
| `uvd` | joints on the plane of the person frame, and their depth from the pelvis | yes (ADHMR sec. 4.2) |
| `rotations`, `twists` | parent-relative rotations, and the twists about the bones, which joints cannot show | no |
| `landmarks` | projected surface keypoints, their distance from the observed ones, their depth | no: image features |

All of it is in the person frame (`models.person_frame`), so where somebody stands in the photo does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.inverse_kinematics import twists
from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS, NUM_JOINTS
from hmralign.geometry.cameras import project
from hmralign.models.context import KeypointFeatures, keypoint_features, mirrored_features
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.models.pixel.part_patches import PartPatches, mirrored_patches, part_patches
from hmralign.structures import BodyParams, Observation, TensorRecord

DEPTH_UNIT = 0.4
"""Metres that count as one in the depth of joints and landmarks."""

_PLANE_LIMIT = 4.0
"""Half boxes beyond which a projected point is simply far away."""

_RESIDUAL_UNIT = 0.1
"""Half boxes that count as one in a distance between projected and observed keypoints."""

_MIN_Z = 0.1
"""Metres before the camera at which projections are cut off."""


@dataclass(frozen=True)
class ScorerInput(TensorRecord):
    """Features of the observation (one per person) and of its hypotheses."""

    observation: KeypointFeatures
    uvd: Float[Tensor, "person hyp 29 3"]
    rotations: Float[Tensor, "person hyp 24 6"]
    twists: Float[Tensor, "person hyp 23 2"]
    landmarks: Float[Tensor, "person hyp 27 6"]
    patches: PartPatches | None = None
    """For a scorer that looks at pixels; None for others."""


def scorer_input(
    body: BodyModel,
    bodies: BodyParams,
    observation: Observation,
    offsets: Float[Tensor, "27 3"] | None = None,
    *,
    pixels: bool = False,
) -> ScorerInput:
    """Features of bodies with axes (person, hyp) in the `cam` frame; with `pixels`, of the persons' crops too.

    `offsets` are those of the detector's landmarks (metres, axes of each keypoint's main bone), None for points on the
    body itself. Raises InputError where pixels are wanted and nobody has a crop.
    """
    frame = person_frame(observation)
    rest = rest_joints(body, bodies.betas)  # (B, N, 29, 3)
    world, joints = forward_kinematics(rest, bodies.rotmats, body.parents)
    joints = joints + bodies.transl[..., None, :]  # (B, N, 29, 3)
    points = landmark_points(body, bodies.betas, world, joints, offsets)  # (B, N, 27, 3)
    root = frame.R_person_cam[:, None] @ bodies.global_orient  # (B, N, 3, 3)
    rotmats = torch.cat([root[..., None, :, :], bodies.body_pose], dim=-3)  # (B, N, 24, 3, 3)
    pelvis = _depth(joints[..., :1, :], frame)  # (B, N, 1, 1)
    return ScorerInput(
        observation=keypoint_features(observation, frame),
        uvd=torch.cat([plane_points(joints, observation, frame), _relative(_depth(joints, frame), pelvis)], -1),
        rotations=rotmats[..., :2].transpose(-1, -2).flatten(-2),
        twists=twists(bodies.body_pose, rest),
        landmarks=_landmark_features(points, pelvis, observation, frame),
        patches=part_patches(observation) if pixels else None,
    )


def plane_points(
    points: Float[Tensor, "person hyp point 3"], observation: Observation, frame: PersonFrame
) -> Float[Tensor, "person hyp point 2"]:
    """Projections in the plane coordinates in which the observed keypoints are: half boxes from the box centre."""
    turned = points @ frame.R_person_cam[:, None].mT  # (B, N, P, 3)
    tangent = turned[..., :2] / turned[..., 2:].clamp(min=_MIN_Z)  # (B, N, P, 2)
    known = tangent / frame.tan_half_size[:, None, None, None]
    box = observation.box
    centre, longest = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).amax(-1) / 2
    before = torch.cat([points[..., :2], points[..., 2:].clamp(min=_MIN_Z)], -1)
    crop = (project(before, observation.K[:, None]) - centre[:, None, None]) / longest[:, None, None, None]
    plane = torch.where(frame.known[:, None, None, None], known, crop)
    return plane.clamp(-_PLANE_LIMIT, _PLANE_LIMIT)


def _depth(points: Tensor, frame: PersonFrame) -> Float[Tensor, "person hyp point 1"]:
    return points @ frame.R_person_cam[:, None, 2, :, None]


def _relative(depth: Tensor, pelvis: Tensor) -> Tensor:
    return ((depth - pelvis) / DEPTH_UNIT).clamp(-_PLANE_LIMIT, _PLANE_LIMIT)


def _landmark_features(
    points: Float[Tensor, "person hyp 27 3"], pelvis: Tensor, observation: Observation, frame: PersonFrame
) -> Float[Tensor, "person hyp 27 6"]:
    """u, v, distance to the observed keypoint in u and v (bounded), depth, confidence; distances 0 where unseen."""
    plane = plane_points(points, observation, frame)  # (B, N, 27, 2)
    seen = (observation.confidence > 0).to(plane)[:, None, :, None]  # (B, 1, 27, 1)
    residual = torch.tanh((plane - frame.keypoints_plane[:, None]) / _RESIDUAL_UNIT / 2) * seen
    confidence = observation.confidence[:, None, :, None].expand(*plane.shape[:-1], 1)
    return torch.cat([plane, residual, _relative(_depth(points, frame), pelvis), confidence], -1)


def mirrored_input(x: ScorerInput) -> ScorerInput:
    """The same hypotheses and observation as the mirror shows them."""
    flip = torch.tensor([-1.0, 1.0, 1.0], device=x.uvd.device)
    # S R S with S = diag(-1, 1, 1), on the first two columns.
    columns = torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0], device=x.uvd.device)
    marks = torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0, 1.0], device=x.uvd.device)
    joints = list(MIRROR_JOINTS)
    return ScorerInput(
        mirrored_features(x.observation),
        x.uvd[..., joints, :] * flip,
        x.rotations[..., joints[:NUM_JOINTS], :] * columns,
        x.twists[..., [j - 1 for j in joints[1:NUM_JOINTS]], :] * torch.tensor([1.0, -1.0], device=x.uvd.device),
        x.landmarks[..., list(MIRROR_KEYPOINTS), :] * marks,
        None if x.patches is None else mirrored_patches(x.patches),
    )
