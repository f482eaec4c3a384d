"""Synthetic persons on the fly: pose source -> body -> camera -> keypoints -> what a detector would report.

One call makes a batch of `Example`s without rendering; the low-resolution masks need the renderer and come from shards
(`hmralign synth`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.data.keypoint_box import MIN_CONFIDENCE, keypoint_box
from hmralign.data.synthetic.observation_noise import Failures, GenericNoise, MeasuredNoise, Reported
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.proportions import Proportions
from hmralign.data.synthetic.views import ViewMix, Views, sample_views
from hmralign.geometry.cameras import project
from hmralign.structures import MASK_SIZE, Annotation, BodyParams, Example, InputError, Observation, TensorRecord


@dataclass(frozen=True)
class SyntheticMix:
    """What the synthetic persons are like. Shares are probabilities."""

    views: ViewMix = field(default_factory=ViewMix)
    failures: Failures = field(default_factory=Failures)
    generic: GenericNoise = field(default_factory=GenericNoise)
    proportions: Proportions = field(default_factory=Proportions)
    measured_share: float = 0.7
    """Reports made with the detector's measured residuals; the rest with generic noise. Needs measured noise."""
    known_camera_share: float = 0.5
    """Persons whose intrinsics the model may use."""
    beta_sd: float = 1.0
    """Standard deviation of the shape coefficients."""
    min_keypoints: int = 6
    """Persons with fewer confident keypoints are replaced by another one of the batch."""
    box_only_share: float = 0.02
    """Persons known only by a box around what is in the image: no keypoint is observed."""


@dataclass(frozen=True)
class SeenBody(TensorRecord):
    """How the persons were observed, for whoever renders them or sorts them.

    Forward kinematics (`cam`, metres) of the stretched body, the share of its COCO keypoints inside the image, and the
    camera's pitch (radians below the horizon).
    """

    global_rotmats: Float[Tensor, "n 24 3 3"]
    joints: Float[Tensor, "n 29 3"]
    inside_image: Float[Tensor, " n"]
    pitch: Float[Tensor, " n"]


@dataclass(frozen=True)
class Generator:
    """Draws `Example`s. `noise` is None where no measured residuals are wanted."""

    model: BodyModel
    poses: PoseSource
    mix: SyntheticMix = SyntheticMix()
    noise: MeasuredNoise | None = None

    def sample(self, n: int, generator: torch.Generator) -> Example:
        """`n` examples, fields batched. Persons who are hardly seen are replaced by repeats of others."""
        return self.sample_seen(n, generator)[0]

    def sample_seen(self, n: int, generator: torch.Generator) -> tuple[Example, SeenBody]:
        """`sample`, and the bodies as they were observed: with limbs of other lengths than the annotation's."""
        example, seen, good = self._drawn(n, generator)
        if not good.any():  # only in tiny batches: nobody to repeat
            return self.sample_seen(n, generator)
        index = torch.arange(n)
        index[~good] = good.nonzero()[:, 0][torch.randint(int(good.sum()), (int((~good).sum()),), generator=generator)]
        return example[index], seen[index]

    def sample_distinct(self, n: int, generator: torch.Generator) -> tuple[Example, SeenBody]:
        """`sample_seen` without repeats: whoever is hardly seen makes room for somebody new."""
        examples, bodies, missing = [], [], n
        while missing > 0:
            example, seen, good = self._drawn(n, generator)
            kept = good.nonzero()[:missing, 0]
            examples.append(example[kept])
            bodies.append(seen[kept])
            missing -= len(kept)
        return Example.cat(examples), SeenBody.cat(bodies)

    def _drawn(self, n: int, generator: torch.Generator) -> tuple[Example, SeenBody, Bool[Tensor, " n"]]:
        """Persons, and who of them is seen well enough."""
        if n < 1:
            raise InputError(f"number of synthetic persons must be at least 1, got {n}")
        body_pose, up = self.poses.sample(n, generator)
        views = sample_views(up, self.mix.views, generator)
        betas = self.mix.beta_sd * torch.randn(n, self.model.num_betas, generator=generator).clamp(-3, 3)
        body = BodyParams(views.global_orient, body_pose, betas, views.transl)
        by_box = torch.rand(n, generator=generator) < self.mix.box_only_share
        stretched = self.mix.proportions.stretch(rest_joints(self.model, betas), generator)
        example, seen = self.observed(body, stretched, views, by_box, generator)
        confidence = example.observation.confidence
        good = (confidence > MIN_CONFIDENCE).sum(1) >= self.mix.min_keypoints
        good |= by_box & (seen.inside_image > 0.3)
        good &= (example.annotation.joints[..., 2] > 0.25).all(1) if example.annotation else good
        return example, seen, good

    def observed(
        self,
        body: BodyParams,
        stretched: Float[Tensor, "n 29 3"],
        views: Views,
        by_box: Bool[Tensor, " n"],
        generator: torch.Generator,
    ) -> tuple[Example, SeenBody]:
        """What is reported of given persons, one camera each.

        `stretched` are their joints at rest (metres) with limbs of their own lengths; those `by_box` have no keypoints.
        """
        plain, offset, seen = self.landmarks(body, stretched, views)
        reported = self.mix.generic.report(plain, generator)
        if self.noise is not None:
            measured = self.noise.report(offset, generator)
            use = torch.rand(len(plain), generator=generator) < self.mix.measured_share
            reported = measured.where(use, reported)
        reported = self.mix.failures.apply(reported, generator)
        return self.example(body, plain, reported, views, by_box, generator), seen

    def landmarks(
        self, body: BodyParams, stretched: Float[Tensor, "n 29 3"], views: Views
    ) -> tuple[Float[Tensor, "n 27 2"], Float[Tensor, "n 27 2"], SeenBody]:
        """True keypoints in pixels, those where the detector of `noise` puts them, and the body that has them."""
        global_rotmats, joints = forward_kinematics(stretched, body.rotmats, self.model.parents)
        joints = joints + body.transl[:, None]
        plain = project(landmark_points(self.model, body.betas, global_rotmats, joints, None), views.K)
        offset = plain
        if self.noise is not None:
            displaced = landmark_points(self.model, body.betas, global_rotmats, joints, self.noise.offsets)
            offset = project(displaced, views.K)
        in_view = _inside(plain[:, :17], views).float().mean(-1)
        return plain, offset, SeenBody(global_rotmats, joints, in_view, views.pitch)

    def example(
        self,
        body: BodyParams,
        plain: Float[Tensor, "n 27 2"],
        reported: Reported,
        views: Views,
        by_box: Bool[Tensor, " n"],
        generator: torch.Generator,
    ) -> Example:
        """Examples with what was reported; what lies outside the image is not observed. `plain` as `landmarks`."""
        n = len(plain)
        confidence = reported.confidence * _inside(reported.keypoints, views)
        confidence = confidence * ~by_box[:, None]
        keypoints = torch.where(confidence[..., None] > 0, reported.keypoints, torch.zeros(()))
        box = keypoint_box(keypoints, confidence)
        by_hand = hand_box(plain, _inside(plain, views), generator)
        observation = Observation(
            keypoints=keypoints,
            confidence=confidence,
            box=torch.where(by_box[:, None], by_hand, box),
            K=views.K,
            knows_camera=torch.rand(n, generator=generator) < self.mix.known_camera_share,
            mask=torch.zeros(n, MASK_SIZE, MASK_SIZE),
            has_mask=torch.zeros(n, dtype=torch.bool),
        )
        return Example(observation, Annotation(body, posed_joints(self.model, body)))


def hand_box(
    keypoints: Float[Tensor, "n 27 2"], inside: Bool[Tensor, "n 27"], generator: torch.Generator
) -> Float[Tensor, "n 4"]:
    """Boxes as people draw them around what they see: each side off by about 3 % of the longer one."""
    box = keypoint_box(keypoints, inside.float())
    longest = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
    drawn = box + 0.03 * longest * torch.randn(box.shape, generator=generator)
    low, high = torch.minimum(drawn[:, :2], drawn[:, 2:]), torch.maximum(drawn[:, :2], drawn[:, 2:])
    return torch.cat([low, torch.maximum(high, low + 1)], dim=1)


def _inside(pixels: Float[Tensor, "n points 2"], views: Views) -> Bool[Tensor, "n points"]:
    size = torch.stack([views.width, views.height], dim=-1)[:, None]
    return (pixels > -0.5).all(-1) & (pixels < size - 0.5).all(-1)
