"""The frame in which a person is estimated: a virtual camera turned towards the person's box.

Poses are predicted as seen along the ray to the box centre, so that where a person stands in the photo does not change
the answer. With known intrinsics, keypoints are carried into that camera exactly; with guessed ones the crop is taken
as it is and only its content counts, which makes the body pose independent of how the photo was cropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.geometry.cameras import look_at_rotation, rays
from hmralign.structures import Observation, TensorRecord

NOMINAL_TAN_HALF_SIZE = 0.2
"""Assumed tangent of half the angle a box spans where intrinsics are unknown: a 1.7 m person at about 4 m."""


@dataclass(frozen=True)
class PersonFrame(TensorRecord):
    """`R_person_cam` turns `cam` into the virtual camera; plane coordinates are tangents divided by `tan_half_size`.

    `tan_half_size` is half the longer side of the box at unit distance, the nominal value where intrinsics are
    unknown (`known` is false).
    """

    R_person_cam: Float[Tensor, "*batch 3 3"]
    tan_half_size: Float[Tensor, "*batch"]
    known: Bool[Tensor, "*batch"]
    keypoints_plane: Float[Tensor, "*batch 27 2"]
    box_plane: Float[Tensor, "*batch 2"]

    @property
    def keypoints_tan(self) -> Float[Tensor, "*batch 27 2"]:
        """Keypoints on the image plane of the virtual camera at unit distance: x / z and y / z."""
        return self.keypoints_plane * self.tan_half_size[..., None, None]


def person_frame(observation: Observation) -> PersonFrame:
    """Virtual cameras of observed persons. `box_plane` is half the box's sides in plane coordinates."""
    box = observation.box
    centre = (box[..., :2] + box[..., 2:]) / 2  # (*B, 2)
    half = (box[..., 2:] - box[..., :2]) / 2
    longest = half.amax(-1)  # (*B)
    R = look_at_rotation(rays(centre[..., None, :], observation.K)[..., 0, :])  # (*B, 3, 3)
    focal = (observation.K[..., 0, 0] + observation.K[..., 1, 1]) / 2

    crop = (observation.keypoints - centre[..., None, :]) / longest[..., None, None]  # (*B, 27, 2)
    turned = rays(observation.keypoints, observation.K) @ R.mT  # (*B, 27, 3)
    # A keypoint 80 degrees off the ray is an outlier; the clamp keeps its coordinates finite.
    tangent = turned[..., :2] / turned[..., 2:].clamp(min=0.17)  # (*B, 27, 2)
    # Off-axis pixels see a smaller angle; measured along the ray the half size shrinks with the cosine.
    cosine = R[..., 2, 2]  # (*B)
    tan_half = longest / focal * cosine
    plane = torch.where(observation.knows_camera[..., None, None], tangent / tan_half[..., None, None], crop)
    return PersonFrame(
        R_person_cam=R,
        tan_half_size=torch.where(observation.knows_camera, tan_half, NOMINAL_TAN_HALF_SIZE),
        known=observation.knows_camera,
        keypoints_plane=plane,
        box_plane=half / longest[..., None],
    )
