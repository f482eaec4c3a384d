"""Synthetic persons on the fly: pose source -> body -> camera -> keypoints -> what a detector would report.

One call makes a batch of `Example`s without rendering; the low-resolution masks need the renderer and come from shards
(`hmralign synth`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, keypoints_from_fk, rest_joints
from hmralign.body.model import BodyModel
from hmralign.data.keypoint_box import MIN_CONFIDENCE, keypoint_box
from hmralign.data.synthetic.observation_noise import Failures, GenericNoise, MeasuredNoise, Reported
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.views import ViewMix, Views, sample_views
from hmralign.geometry.cameras import project
from hmralign.structures import MASK_SIZE, Annotation, BodyParams, Example, InputError, Observation


@dataclass(frozen=True)
class SyntheticMix:
    """What the synthetic persons are like. Shares are probabilities."""

    views: ViewMix = field(default_factory=ViewMix)
    failures: Failures = field(default_factory=Failures)
    generic: GenericNoise = field(default_factory=GenericNoise)
    measured_share: float = 0.7
    """Reports made with the detector's measured residuals; the rest with generic noise. Needs measured noise."""
    known_camera_share: float = 0.5
    """Persons whose intrinsics the model may use."""
    beta_sd: float = 1.0
    """Standard deviation of the shape coefficients."""
    min_keypoints: int = 6
    """Persons with fewer confident keypoints are replaced by another one of the batch."""


def landmark_points(
    model: BodyModel,
    betas: Float[Tensor, "*#batch betas"],
    global_rotmats: Float[Tensor, "*#batch 24 3 3"],
    joints: Float[Tensor, "*#batch 29 3"],
    offsets: Float[Tensor, "27 3"] | None,
) -> Float[Tensor, "*#batch 27 3"]:
    """Keypoints where a detector puts them: the body's own, displaced in the axes of their main bone."""
    points = keypoints_from_fk(model, betas, global_rotmats, joints)
    if offsets is None:
        return points
    assert model.keypoint_moments is not None
    bone = model.keypoint_moments[..., 3].argmax(dim=1)
    return points + (global_rotmats[..., bone, :, :] @ offsets[..., None])[..., 0]


@dataclass(frozen=True)
class Generator:
    """Draws `Example`s. `noise` is None where no measured residuals are wanted."""

    model: BodyModel
    poses: PoseSource
    mix: SyntheticMix = SyntheticMix()
    noise: MeasuredNoise | None = None

    def sample(self, n: int, generator: torch.Generator) -> Example:
        """`n` examples, fields batched. Persons of whom too little is seen are replaced by repeats of others."""
        if n < 1:
            raise InputError(f"number of synthetic persons must be at least 1, got {n}")
        body_pose, up = self.poses.sample(n, generator)
        views = sample_views(up, self.mix.views, generator)
        betas = self.mix.beta_sd * torch.randn(n, self.model.num_betas, generator=generator).clamp(-3, 3)
        body = BodyParams(views.global_orient, body_pose, betas, views.transl)
        example = self._observe(body, views, generator)
        good = (example.observation.confidence > MIN_CONFIDENCE).sum(1) >= self.mix.min_keypoints
        good &= (example.annotation.joints[..., 2] > 0.25).all(1) if example.annotation else good
        if not good.any():  # only in tiny batches: nobody to repeat
            return self.sample(n, generator)
        index = torch.arange(n)
        index[~good] = good.nonzero()[:, 0][torch.randint(int(good.sum()), (int((~good).sum()),), generator=generator)]
        assert example.annotation is not None
        return Example(
            example.observation[index], Annotation(example.annotation.body[index], example.annotation.joints[index])
        )

    def _observe(self, body: BodyParams, views: Views, generator: torch.Generator) -> Example:
        n = len(views.width)
        global_rotmats, joints = forward_kinematics(
            rest_joints(self.model, body.betas), body.rotmats, self.model.parents
        )
        joints = joints + body.transl[:, None]
        plain = project(landmark_points(self.model, body.betas, global_rotmats, joints, None), views.K)
        reported = self.mix.generic.report(plain, generator)
        if self.noise is not None:
            offset = project(
                landmark_points(self.model, body.betas, global_rotmats, joints, self.noise.offsets), views.K
            )
            measured = self.noise.report(offset, generator)
            use = torch.rand(n, generator=generator) < self.mix.measured_share
            reported = Reported(
                torch.where(use[:, None, None], measured.keypoints, reported.keypoints),
                torch.where(use[:, None], measured.confidence, reported.confidence),
            )
        reported = self.mix.failures.apply(reported, generator)
        inside = (reported.keypoints > -0.5).all(-1) & (reported.keypoints[..., 0] < views.width[:, None] - 0.5)
        inside &= reported.keypoints[..., 1] < views.height[:, None] - 0.5
        confidence = reported.confidence * inside
        keypoints = torch.where(confidence[..., None] > 0, reported.keypoints, torch.zeros(()))
        observation = Observation(
            keypoints=keypoints,
            confidence=confidence,
            box=keypoint_box(keypoints, confidence),
            K=views.K,
            knows_camera=torch.rand(n, generator=generator) < self.mix.known_camera_share,
            mask=torch.zeros(n, MASK_SIZE, MASK_SIZE),
            has_mask=torch.zeros(n, dtype=torch.bool),
        )
        return Example(observation, Annotation(body, joints))
