"""Which joints the keypoints show: the error of an answer where there is evidence, and where there is none.

A joint counts as hidden when the keypoint nearest to it was not observed. Nearest is meant in the rest pose of the mean
body; joints on the midline have one on each side equally near, and are hidden when neither was observed. Small toes do
not count: the shipped detector, whose noise SynthWild has, gives none. The pelvis is left out: all bodies have it in
the same place.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, posed_keypoints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import KEYPOINT_NAMES, NUM_JOINTS
from hmralign.structures import BodyParams, Observation

_EQUALLY_NEAR = 0.005
"""Metres: the mean body is not symmetric to the last digit."""


def nearest_keypoints(body: BodyModel) -> Bool[Tensor, "24 27"]:
    """Which keypoints are nearest to each joint."""
    eye = torch.eye(3).expand(NUM_JOINTS, 3, 3)
    rest = BodyParams(eye[0], eye[1:], torch.zeros(body.num_betas), torch.zeros(3))
    distance = torch.cdist(posed_joints(body, rest)[:NUM_JOINTS], posed_keypoints(body, rest))
    distance[:, [name.endswith("small_toe") for name in KEYPOINT_NAMES]] = torch.inf
    return distance <= distance.amin(1, keepdim=True) + _EQUALLY_NEAR


def hidden_joints(nearest: Bool[Tensor, "24 27"], observation: Observation) -> Bool[Tensor, "person 24"]:
    """Joints none of whose nearest keypoints was observed."""
    seen = observation.confidence > 0
    return ~(nearest & seen[:, None]).any(-1)


def errors_by_visibility(
    joints: Float[Tensor, "person joint 3"], truth: Float[Tensor, "person joint 3"], hidden: Bool[Tensor, "person 24"]
) -> tuple[Float[Tensor, " person"], Float[Tensor, " person"]]:
    """Mean root-relative error (metres) over a person's visible joints, and over the hidden ones; NaN without any."""
    away = (joints - joints[:, :1]) - (truth - truth[:, :1])
    error, hidden = away.norm(dim=-1)[:, 1:NUM_JOINTS], hidden[:, 1:]
    visible, unseen = (torch.where(mask, error, 0.0).sum(1) / mask.sum(1) for mask in (~hidden, hidden))
    return visible, unseen
