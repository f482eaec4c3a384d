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
from hmralign.tracking.readings import exchanged_sides

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
    """Bodies of sightings (first axis) for each reading (second axis, `READINGS`), frame `cam`.

    `group` are rotation vectors of the hypotheses in half precision, which holds them to 0.1 degrees; `betas` the shape
    of each reading's one answer, `misfit` chi^2 / 2 of that answer's keypoints. There are two readings, or three where
    any of the sightings has one of another network; the others' third is zeros with an infinite misfit.
    """

    group: Float[np.ndarray, "sighting reading hyp 24 3"]
    betas: Float[np.ndarray, "sighting reading betas"]
    misfit: Float[np.ndarray, "sighting reading"]

    @staticmethod
    def empty(hypotheses: int, num_betas: int) -> FrameGroups:
        """The groups of nobody."""
        return FrameGroups(
            np.zeros((0, 2, hypotheses, 24, 3), np.float16),
            np.zeros((0, 2, num_betas), np.float32),
            np.zeros((0, 2), np.float32),
        )

    @staticmethod
    def joined(parts: list[FrameGroups]) -> FrameGroups:
        """Those of several batches, one after the other."""
        return FrameGroups(*(np.concatenate([getattr(p, name) for p in parts]) for name in FrameGroups.__annotations__))


@dataclass(frozen=True)
class OtherNetwork:
    """What another network saw of those sightings whose sides it reads the other way round, and its noise."""

    at: Int[np.ndarray, " other"]
    observation: Observation
    noise: KeypointNoise


def frame_groups(
    policy: BodyProposer,
    observation: Observation,
    noise: KeypointNoise,
    config: GroupConfig,
    other: OtherNetwork | None = None,
) -> FrameGroups:
    """Estimate sightings (one batch axis) of any frames; all start from the same noise, so that a person's hypothesis k
    moves little from frame to frame."""
    parts = [FrameGroups.empty(config.sampler.num_hypotheses, policy.body.num_betas)]
    for first in range(0, len(observation.box), PERSONS_AT_ONCE):
        seen = observation[first : first + PERSONS_AT_ONCE]
        parts.append(_groups_of(policy, [seen, exchanged_sides(seen)], noise, config))
    both = FrameGroups.joined(parts)
    return both if other is None else _with_third(both, other, policy, config)


def _with_third(both: FrameGroups, other: OtherNetwork, policy: BodyProposer, config: GroupConfig) -> FrameGroups:
    parts = [
        _groups_of(policy, [other.observation[first : first + PERSONS_AT_ONCE]], other.noise, config)
        for first in range(0, len(other.at), PERSONS_AT_ONCE)
    ]
    third, whole = FrameGroups.joined(parts), []
    for name, absent in (("group", 0), ("betas", 0), ("misfit", np.inf)):
        seen = getattr(both, name)
        column = np.full_like(seen[:, :1], absent)
        column[other.at] = getattr(third, name)
        whole.append(np.concatenate([seen, column], axis=1))
    return FrameGroups(*whole)


def _groups_of(
    policy: BodyProposer, readings: list[Observation], noise: KeypointNoise, config: GroupConfig
) -> FrameGroups:
    """The groups of the same persons for each of several readings."""
    every = Observation.cat(readings).to(policy.body.v_template.device)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        found = estimate_bodies(policy, every, config.sampler, config.refinement, noise, generator)
        fused = found.fused
        placed = place_by_keypoints(policy.body, fused.rotmats[:, None], fused.betas[:, None], every, noise)
    count = len(readings)
    return FrameGroups(
        group=_by_reading(rotmat_to_rotvec(found.hypotheses.body.rotmats), count).astype(np.float16),
        betas=_by_reading(fused.betas, count),
        misfit=_by_reading(placed.misfit[:, 0], count),
    )


def _by_reading(values: Tensor, readings: int) -> np.ndarray:
    """(reading * person, ...) as (person, reading, ...)."""
    return values.cpu().float().unflatten(0, (readings, -1)).transpose(0, 1).contiguous().numpy()


def reading_of(num_hypotheses: int, readings: int) -> Int[np.ndarray, " hyp"]:
    """The reading of each hypothesis, where the groups of so many readings are put behind each other."""
    return np.repeat(np.arange(readings), num_hypotheses)
