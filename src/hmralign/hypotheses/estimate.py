"""From observed persons to placed bodies: sample, refine, place, fuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic, judge
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.fitting.evidence import Evidence, KeypointNoise, predict
from hmralign.fitting.keypoint_update import RefinementConfig, place, refine_group
from hmralign.fitting.placement import place_in_image
from hmralign.hypotheses.fusion import fuse_rotations, score_weights
from hmralign.hypotheses.spread import joint_spread
from hmralign.models.lite import LiteModel
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.policies.lite_sampling import SamplerConfig, sample_group
from hmralign.structures import BodyParams, Example, Hypotheses, InputError, Observation

GENERIC_SIGMA = (0.06, 0.03, 0.02, 0.015, 0.012)
"""Noise per confidence bin for detectors nobody measured, in shares of the body's height."""


@dataclass(frozen=True)
class Weighing:
    """A critic whose scores weigh the hypotheses that the one answer is made from (docs/results/fusion.md)."""

    critic: Critic
    temperature: float = 0.03
    """Of the softmax of its scores; as measured for the learned scorer, whose scores are in (0, 1)."""

    def __call__(self, hypotheses: Hypotheses, observation: Observation) -> Float[Tensor, "person hyp"]:
        """Weights that sum to 1; equal ones for persons whom the critic cannot judge."""
        return score_weights(judge(self.critic, hypotheses, Example(observation)), self.temperature)


@dataclass(frozen=True)
class Estimate:
    """Bodies of all persons of a photo, in the `cam` frame of the full image."""

    hypotheses: Hypotheses
    fused: BodyParams
    fused_joints: Float[Tensor, "person 29 3"]
    spread: Float[Tensor, "person 29"]


def noise_of(detector: str) -> KeypointNoise:
    """Measured noise and landmark offsets of a detector; generic noise and no offsets where none were measured.

    `detector` is a name, or the path of an npz file of noise measured for it.
    """
    if detector == "mediapipe" or detector.endswith(".npz"):
        measured = load_measured_noise(detector)
        return KeypointNoise(measured.sigma_bins, measured.offsets)
    return KeypointNoise(torch.tensor(GENERIC_SIGMA).expand(27, -1), torch.zeros(27, 3))


def estimate_bodies(
    model: LiteModel,
    body: BodyModel,
    observation: Observation,
    sampler: SamplerConfig,
    refinement: RefinementConfig,
    noise: KeypointNoise,
    generator: torch.Generator,
    weighing: Weighing | None = None,
) -> Estimate:
    """Hypotheses of all observed persons (one batch axis), their fused answer and the spread per joint.

    Without `weighing` every hypothesis counts alike in the answer. Raises InputError for an empty batch, evidence or
    intrinsics that are not finite, or M < 1.
    """
    check_observation(observation)
    group, frame = sample_group(model, body, observation, sampler, generator)
    evidence = Evidence(frame.keypoints_tan, observation.confidence, noise)
    rotmats, betas = refine_group(body, group.rotmats, group.betas, evidence, refinement)
    _, joints = forward_kinematics(rest_joints(body, betas), rotmats, body.parents)
    hypotheses = place_bodies(body, rotmats, betas, evidence, refinement, observation, frame)
    placed = Hypotheses(hypotheses, posed_joints(body, hypotheses))
    weights = None if weighing is None else weighing(placed, observation)
    fused = fused_bodies(body, rotmats, betas, evidence, refinement, observation, frame, weights)
    return Estimate(
        placed,
        fused,
        posed_joints(body, fused),
        joint_spread(joints),
    )


def fused_bodies(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    refinement: RefinementConfig,
    observation: Observation,
    frame: PersonFrame,
    weights: Float[Tensor, "person hyp"] | None = None,
) -> BodyParams:
    """The one answer made from each group of refined bodies (person frame, root first), in the `cam` frame.

    The mean of rotations, weighted where there are weights, need not fit the photo as its members do; it is refined
    with the doubt of its group.
    """
    fused_rotmats, fused_betas = fuse_rotations(rotmats, weights)[:, None], betas.mean(1, keepdim=True)
    if rotmats.shape[1] > 1:
        gentle = replace(refinement, noise_scale=refinement.fused_noise_scale)
        fused_rotmats, fused_betas = refine_group(body, fused_rotmats, fused_betas, evidence, gentle, rotmats)
    return place_bodies(body, fused_rotmats, fused_betas, evidence, refinement, observation, frame)[:, 0]


def check_observation(observation: Observation) -> None:
    """Raise InputError naming the person and the field that is not usable."""
    if observation.box.ndim != 2:
        raise InputError(f"expected observations with one batch axis, got {observation.box.ndim - 1} of them")
    if len(observation.box) == 0:
        raise InputError("no persons to estimate: the observation batch is empty")
    for name in ("keypoints", "confidence", "K", "box", "mask"):
        bad = ~torch.isfinite(getattr(observation, name)).flatten(1).all(1)
        if bad.any():
            raise InputError(f"person {int(bad.nonzero()[0])}: {name} contain NaN or infinite values")


def placed_hypotheses(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    observation: Observation,
    noise: KeypointNoise,
) -> Hypotheses:
    """Bodies where the keypoints put them, from rotations in the person frame (root first). Differentiable."""
    frame = person_frame(observation)
    evidence = Evidence(frame.keypoints_tan, observation.confidence, noise)
    params = place_bodies(body, rotmats, betas, evidence, RefinementConfig(), observation, frame)
    return Hypotheses(params, posed_joints(body, params))


def place_bodies(
    body: BodyModel,
    rotmats: Float[Tensor, "person hyp 24 3 3"],
    betas: Float[Tensor, "person hyp betas"],
    evidence: Evidence,
    refinement: RefinementConfig,
    observation: Observation,
    frame: PersonFrame,
) -> BodyParams:
    """Bodies in the `cam` frame, pelvis where the keypoints put it."""
    points = predict(body, rotmats, betas, evidence.noise.offsets, derivatives=False).points
    residual = place(points, evidence, refinement)
    return place_in_image(body, rotmats, betas, points, residual, observation, frame)
