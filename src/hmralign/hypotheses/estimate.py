"""From observed persons to placed bodies: propose, refine, place, fuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.fusion import fuse_rotations
from hmralign.hypotheses.spread import joint_spread
from hmralign.policies.policy import BodyProposer, SamplerConfig, propose_each
from hmralign.structures import BodyParams, Hypotheses, InputError, Observation, PersonGroup, TensorRecord
from hmralign.structures.counted import counted

Weigh = Callable[[Hypotheses, Observation], Float[Tensor, "person hyp"]]
"""Weights of the hypotheses in the one answer, such as `critics.weighing.Weighing`."""


@dataclass(frozen=True)
class Estimate(TensorRecord):
    """Bodies of all persons of a photo (one axis), or of one of them, in the `cam` frame of the full image."""

    hypotheses: Hypotheses
    fused: BodyParams
    fused_joints: Float[Tensor, "*person 29 3"]
    spread: Float[Tensor, "*person 29"]


def estimate_bodies(
    policy: BodyProposer,
    observation: Observation,
    sampler: SamplerConfig,
    refinement: RefinementConfig,
    noise: KeypointNoise,
    generator: torch.Generator | Sequence[torch.Generator],
    weigh: Weigh | None = None,
) -> Estimate:
    """Hypotheses of all observed persons (one batch axis), their fused answer and the spread per joint.

    `generator` serves everybody, or each person has one. Without `weigh` every hypothesis counts alike in the answer.
    Raises InputError for an empty batch, evidence or intrinsics that are not finite, M < 1, and a proposal of others.
    """
    check_observation(observation)
    body = policy.body
    fit = PersonFit.of(body, observation, noise, refinement)
    group = fit.refined(proposed(policy, observation, sampler, generator))
    placed = fit.hypotheses(group)
    fused = fused_bodies(fit, group, None if weigh is None else weigh(placed, observation))
    _, joints = forward_kinematics(rest_joints(body, group.betas), group.rotmats, body.parents)  # (B, N, 29, 3)
    return Estimate(placed, fused, posed_joints(body, fused), joint_spread(joints))


def proposed(
    policy: BodyProposer,
    observation: Observation,
    sampler: SamplerConfig,
    generator: torch.Generator | Sequence[torch.Generator],
) -> PersonGroup:
    """What a policy proposes, held to its contract. Raises InputError for another number of persons or hypotheses."""
    if isinstance(generator, torch.Generator):
        group = policy.propose(observation, sampler, generator)
    else:
        group = propose_each(policy, observation, sampler, generator)
    expected = (len(observation.box), sampler.num_hypotheses)
    if tuple(group.rotmats.shape[:2]) != expected or tuple(group.betas.shape[:2]) != expected:
        raise InputError(
            f"the policy proposed rotations {tuple(group.rotmats.shape)} and shapes {tuple(group.betas.shape)}; "
            f"expected {counted(expected[1], 'body')} for each of {counted(expected[0], 'person')}"
        )
    return group


def fused_group(fit: PersonFit, group: PersonGroup, weights: Float[Tensor, "person hyp"] | None = None) -> PersonGroup:
    """The one answer made from each group of refined bodies, as a group of one.

    The mean of rotations, weighted where there are weights, need not fit the photo as its members do; it is refined
    with the doubt of its group.
    """
    fused = PersonGroup(fuse_rotations(group.rotmats, weights)[:, None], group.betas.mean(1, keepdim=True))
    if group.num_hypotheses == 1:
        return fused
    gentle = replace(fit.config, noise_scale=fit.config.fused_noise_scale)
    return fit.refining_by(gentle).refined(fused, doubt_of=group)


def fused_bodies(fit: PersonFit, group: PersonGroup, weights: Float[Tensor, "person hyp"] | None = None) -> BodyParams:
    """`fused_group` in the `cam` frame, metres; axis (person,)."""
    return fit.bodies(fused_group(fit, group, weights))[:, 0]


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
