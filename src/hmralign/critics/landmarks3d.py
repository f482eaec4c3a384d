"""How well a body agrees with the 3D landmarks that a detector made up from the same picture.

Such landmarks are another network's guess at depth: no truth, and wrong in ways of their own, but wrong independently
of our model. They have no place, and their scale is that of an average person. Their axes are the camera's as seen
in a crop, which for somebody away from the middle of the picture is another direction. So a similarity is taken out
first; where the body is and which way it faces is left to the reprojection critic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.body.model import BodyModel
from hmralign.critics.setting import CriticSetting
from hmralign.geometry.procrustes import procrustes
from hmralign.structures import Example, Hypotheses

HALF_LOSS = 0.1
"""Metres, in the scale of the landmarks, at which the loss of a keypoint is a half.

A choice, as real photos have no truth: of the distances between `lite`'s fused bodies and mediapipe's landmarks for 60
detections, half are below 0.06 and four fifths below 0.1.
"""

MIN_LANDMARKS = 4
"""Fewer points fit almost any pose once a similarity is taken out."""


@dataclass(frozen=True)
class Landmarks3dCritic:
    """Minus the confidence-weighted mean Geman-McClure loss r^2 / (r^2 + c^2) of the keypoints: in [-1, 0].

    Keypoints of each hypothesis are moved onto the landmarks by the best rotation, scale and translation
    (`geometry.procrustes`, weighted by confidence). `offsets` are the detector's landmark offsets, as for
    `keypoint_distances`. Persons with fewer than four landmarks cannot be judged and get zeros.
    """

    body: BodyModel
    offsets: Float[Tensor, "27 3"] | None = None

    name = "landmarks3d"
    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with enough landmarks."""
        if example.landmarks3d is None:
            box = example.observation.box
            return torch.zeros(box.shape[:-1], dtype=torch.bool, device=box.device)
        return (example.landmarks3d.confidence > 0).sum(-1) >= MIN_LANDMARKS

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in [-1, 0]."""
        scores = torch.zeros_like(hypotheses.joints[..., 0, 0])
        judged = self.can_judge(example)
        if example.landmarks3d is None or not bool(judged.any()):
            return scores
        landmarks, params = example.landmarks3d[judged], hypotheses.body[judged]
        G, joints = forward_kinematics(rest_joints(self.body, params.betas), params.rotmats, self.body.parents)
        points = landmark_points(self.body, params.betas, G, joints, self.offsets)
        weight = landmarks.confidence[:, None].expand(points.shape[:-1])
        target = landmarks.points[:, None].expand_as(points)
        aligned, _ = procrustes(points, target, weight)
        loss = 1 - 1 / (1 + ((aligned - target).norm(dim=-1) / HALF_LOSS).square())
        scores[judged] = -(weight * loss).sum(-1) / weight.sum(-1)
        return scores


def make_landmarks3d(setting: CriticSetting) -> Landmarks3dCritic:
    """By the detector's own 3D landmarks."""
    return Landmarks3dCritic(setting.body, setting.noise.offsets)
