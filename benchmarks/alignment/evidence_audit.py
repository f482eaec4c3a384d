"""How well evidence orders the samples of a base, asked before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evidence_frame import BODY
from hmralign.body.lbs import posed_joints
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import Estimate, Weigh, estimate_bodies
from hmralign.metrics.intervals import paired_difference
from hmralign.metrics.joint_errors import mpjpe
from hmralign.metrics.ranking import spearman
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Example, Hypotheses, Observation

SEED, PERSONS_AT_ONCE, HYPOTHESES = 74, 200, 10


def answered(policy: BodyProposer, seen: Observation, start: int, weigh: Weigh | None = None) -> Estimate:
    """What a base says of one frame of some persons; each has the same noise in all frames, as a clip has."""
    draws = [seeded(SEED, "guess", start + i) for i in range(len(seen.box))]
    return estimate_bodies(
        policy, seen, SamplerConfig(HYPOTHESES), RefinementConfig(), noise_of("mediapipe"), draws, weigh
    )


def parts(count: int) -> Iterator[slice]:
    for start in range(0, count, PERSONS_AT_ONCE):
        yield slice(start, min(start + PERSONS_AT_ONCE, count))


@dataclass(frozen=True)
class Audited:
    """The base's own samples of the middle frame, and how far they are from the truth."""

    hypotheses: Hypotheses
    example: Example
    errors: Tensor
    depth: Tensor
    """Errors along the line of sight alone."""

    @staticmethod
    def of(base: str, example: Example) -> Audited:
        assert example.annotation is not None
        draws = [seeded(SEED, "audit", i) for i in range(len(example.observation.box))]
        plain, detector = RefinementConfig(method="none"), noise_of("mediapipe")
        policy = LitePolicy.load(base, BODY)
        group = estimate_bodies(policy, example.observation, SamplerConfig(16), plain, detector, draws)
        joints, truth = group.hypotheses.joints[..., :24, :], example.annotation.joints[:, None, :24]
        away = (joints - joints[..., :1, :]) - (truth - truth[..., :1, :])
        return Audited(group.hypotheses, example, mpjpe(joints, truth, root=0), away[..., 2].abs().mean(-1))

    def near(self, body: BodyParams) -> Tensor:
        """Scores by nearness to a body."""
        joints = self.hypotheses.joints[..., :24, :]
        return -mpjpe(joints, posed_joints(BODY, body)[:, None, :24], root=0)

    def off(self, body: BodyParams) -> float:
        """How far a body is from the truth, mean over persons, metres."""
        assert self.example.annotation is not None
        return float(mpjpe(posed_joints(BODY, body)[:, :24], self.example.annotation.joints[:, :24], root=0).mean())

    def said(self, scores: Tensor, rival: Tensor | None = None) -> dict[str, Any]:
        """How well scores order the samples, also along the line of sight, and beyond a rival's."""
        rank = self.rank(scores)
        found: dict[str, Any] = {
            "srcc": float(rank.mean()),
            "depth": float(spearman(scores.numpy(), self.depth.numpy()).mean()),
            "picked": float(self.errors[torch.arange(len(scores)), scores.argmax(1)].mean()),
            "group": float(self.errors.mean()),
            "best": float(self.errors.amin(1).mean()),
        }
        if rival is not None:
            d = paired_difference(rank, self.rank(rival))
            found["beyond"] = [d.mean, d.low, d.high]
        return found

    def rank(self, scores: Tensor) -> np.ndarray:
        return spearman(scores.numpy(), self.errors.numpy())


def standard(scores: Tensor) -> Tensor:
    """In standard deviations of the group."""
    return (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp(min=1e-9)
