"""What is kept of a frame's people until the clip is over: a group of bodies for each reading of the keypoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.structures import Observation
from hmralign.tracking.placing import place_by_keypoints
from hmralign.tracking.readings import READINGS, exchanged_sides

PERSONS_AT_ONCE = 8
"""Sightings that are estimated in one batch; more bring no speed, and take memory."""


@dataclass(frozen=True)
class GroupConfig:
    """How the group of a sighting is sampled and refined; `seed` is of the noise, which all sightings share."""

    sampler: SamplerConfig
    refinement: RefinementConfig
    seed: int


@dataclass(frozen=True)
class FrameGroups:
    """Bodies of sightings (first axis) for each reading (second axis), frame `cam`.

    `group` are rotation vectors of the hypotheses in half precision, which holds them to 0.1 degrees; `betas` the shape
    of each reading's one answer, `misfit` chi^2 / 2 of that answer's keypoints.
    """

    group: Float[np.ndarray, "sighting reading hyp 24 3"]
    betas: Float[np.ndarray, "sighting reading betas"]
    misfit: Float[np.ndarray, "sighting reading"]

    @staticmethod
    def empty(hypotheses: int, num_betas: int) -> FrameGroups:
        """The groups of nobody."""
        readings = len(READINGS)
        return FrameGroups(
            np.zeros((0, readings, hypotheses, 24, 3), np.float16),
            np.zeros((0, readings, num_betas), np.float32),
            np.zeros((0, readings), np.float32),
        )

    @staticmethod
    def joined(parts: list[FrameGroups]) -> FrameGroups:
        """Those of several batches, one after the other."""
        return FrameGroups(*(np.concatenate([getattr(p, name) for p in parts]) for name in FrameGroups.__annotations__))


def frame_groups(
    policy: BodyProposer, observation: Observation, noise: KeypointNoise, config: GroupConfig
) -> FrameGroups:
    """Estimate sightings (one batch axis) of any frames; all start from the same noise, so that a person's hypothesis k
    moves little from frame to frame."""
    parts = [FrameGroups.empty(config.sampler.num_hypotheses, policy.body.num_betas)]
    for first in range(0, len(observation.box), PERSONS_AT_ONCE):
        parts.append(_groups_of(policy, observation[first : first + PERSONS_AT_ONCE], noise, config))
    return FrameGroups.joined(parts)


def _groups_of(
    policy: BodyProposer, observation: Observation, noise: KeypointNoise, config: GroupConfig
) -> FrameGroups:
    persons = len(observation.box)
    both = Observation.cat([observation, exchanged_sides(observation)]).to(policy.body.v_template.device)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        found = estimate_bodies(policy, both, config.sampler, config.refinement, noise, generator)
        fused = found.fused
        placed = place_by_keypoints(policy.body, fused.rotmats[:, None], fused.betas[:, None], both, noise)
    return FrameGroups(
        group=_by_reading(rotmat_to_rotvec(found.hypotheses.body.rotmats), persons).astype(np.float16),
        betas=_by_reading(fused.betas, persons),
        misfit=_by_reading(placed.misfit[:, 0], persons),
    )


def _by_reading(values: Tensor, persons: int) -> np.ndarray:
    """(reading * person, ...) as (person, reading, ...)."""
    return values.cpu().float().unflatten(0, (len(READINGS), persons)).transpose(0, 1).contiguous().numpy()


def reading_of(num_hypotheses: int) -> Int[np.ndarray, " hyp"]:
    """The reading of each hypothesis, where the groups of all readings are put behind each other."""
    return np.repeat(np.arange(len(READINGS)), num_hypotheses)
