"""How well a body's keypoints fall on the observed ones.

The score uses the Geman-McClure loss r^2 / (r^2 + c^2) (Geman & McClure 1987; SMPLify, Bogo et al. 2016, eq. 2), which
a wrong detection cannot dominate. Distances are measured against the longer side of the person's box, the unit in
which detector noise is given; for somebody upright and whole that is the height in the picture.
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
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.geometry.cameras import project
from hmralign.structures import Example, Hypotheses, Observation

DEFAULT_SIGMA = 0.015
"""Standard deviation of a confident keypoint, shares of the longer box side, where the detector's is not given."""

ROBUST_SIGMAS = 3.0
"""The loss is half its largest value at this many standard deviations."""


def keypoint_distances(
    body: BodyModel, hypotheses: Hypotheses, observation: Observation, offsets: Float[Tensor, "27 3"] | None = None
) -> Float[Tensor, "person hyp 27"]:
    """Pixels of the full image between projected and observed keypoints; infinite for points not before the camera.

    `offsets` are the detector's landmark offsets (metres, axes of each keypoint's main bone). Entries of keypoints
    that were not observed are meaningless numbers.
    """
    params = hypotheses.body
    G, joints = forward_kinematics(rest_joints(body, params.betas), params.rotmats, body.parents)
    points = landmark_points(body, params.betas, G, joints + params.transl[..., None, :], offsets)
    distance = (project(points, observation.K[:, None]) - observation.keypoints[:, None]).norm(dim=-1)
    return torch.where(points[..., 2] > 0, distance, torch.inf)


def box_size(observation: Observation) -> Float[Tensor, " person"]:
    """Longer side of the box, pixels."""
    return (observation.box[..., 2:] - observation.box[..., :2]).amax(dim=-1)


@dataclass(frozen=True)
class ReprojectionError:
    """Distances of the confident keypoints (confidence > 0.3) of each hypothesis: pixels, and shares of the longer
    side of the person's box.

    The median is the mean of the two middle values where their number is even. A keypoint behind the camera is
    infinitely far. NaN for a person without a confident keypoint: there is nothing to measure.
    """

    median_px: Float[Tensor, "person hyp"]
    mean_px: Float[Tensor, "person hyp"]
    median_share: Float[Tensor, "person hyp"]
    mean_share: Float[Tensor, "person hyp"]


def reprojection_error(
    body: BodyModel, hypotheses: Hypotheses, observation: Observation, offsets: Float[Tensor, "27 3"] | None = None
) -> ReprojectionError:
    """Median and mean reprojection error of each hypothesis, for reports; not robust, not weighted."""
    distance = keypoint_distances(body, hypotheses, observation, offsets)
    used = (observation.confidence > MIN_CONFIDENCE)[:, None].expand_as(distance)
    size = box_size(observation)[:, None]
    median, mean = _masked_median(distance, used), _masked_mean(distance, used)
    return ReprojectionError(median, mean, median / size, mean / size)


def _masked_mean(values: Float[Tensor, "*batch n"], used: Bool[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    return torch.where(used, values, 0.0).sum(-1) / used.sum(-1)  # 0 / 0 is NaN, as documented


def _masked_median(values: Float[Tensor, "*batch n"], used: Bool[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    ordered = torch.where(used, values, torch.inf).sort(dim=-1).values
    count = used.sum(-1, keepdim=True)
    # n // 2 and (n - 1) // 2 are the two middle places of an even count and the one of an odd count.
    upper, lower = (ordered.gather(-1, (count - k).clamp(min=0) // 2) for k in (0, 1))
    return torch.where(count > 0, (upper + lower) / 2, torch.nan)[..., 0]


@dataclass(frozen=True)
class ReprojectionCritic:
    """Minus the confidence-weighted mean Geman-McClure loss of the keypoints: 0 is perfect, -1 is far off everywhere.

    `sigma` is the standard deviation of each keypoint when it is confident, in shares of the longer box side; the loss
    is a half at three of them. Confidence weighs keypoints, so one that was not observed does not matter. Persons
    without any observed keypoint cannot be judged and get zeros.
    """

    body: BodyModel
    offsets: Float[Tensor, "27 3"] | None = None
    sigma: Float[Tensor, " 27"] | None = None

    name = "reprojection"
    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with an observed keypoint."""
        return (example.observation.confidence > 0).any(-1)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in [-1, 0]."""
        observation = example.observation
        distance = keypoint_distances(self.body, hypotheses, observation, self.offsets)
        sigma = DEFAULT_SIGMA if self.sigma is None else self.sigma.to(distance)
        ratio = distance / box_size(observation)[:, None, None] / (ROBUST_SIGMAS * sigma)
        loss = 1 - 1 / (1 + ratio.square())  # this form is 1, not NaN, at infinity
        weight = observation.confidence[:, None]
        return -(weight * loss).sum(-1) / weight.sum(-1).clamp(min=1e-9)


def make_reprojection(setting: CriticSetting) -> ReprojectionCritic:
    """By the keypoints, with the detector's offsets and its noise at full confidence."""
    return ReprojectionCritic(setting.body, setting.noise.offsets, setting.noise.sigma[:, -1])
