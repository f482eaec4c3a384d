"""A model's answers on observed persons, in batches: what `recover` would hand out, without photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic, judge
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.critics.silhouette import SilhouetteCritic
from hmralign.evaluation.person_errors import Predicted
from hmralign.hypotheses.sampler import SamplerConfig
from hmralign.models.lite import LiteModel
from hmralign.refinement.evidence import KeypointNoise
from hmralign.refinement.keypoint_update import RefinementConfig
from hmralign.structures import Example, InputError, Observation
from hmralign.systems.recover.estimate import FusionConfig, estimate_bodies, noise_of


@dataclass(frozen=True)
class SelectionWeights:
    """Critics that select; the silhouette is left out unless asked for: it costs most of the time."""

    reprojection: float = 1.0
    silhouette: float = 0.0
    plausibility: float = 0.5


@dataclass(frozen=True)
class PredictConfig:
    """How persons are predicted."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    selection: SelectionWeights = field(default_factory=SelectionWeights)
    detector: str = "mediapipe"
    """Whose measured noise and landmark offsets the refinement and the reprojection critic assume."""
    seed: int = 0
    batch: int = 100
    """Persons at once."""


def selection_critic(body: BodyModel, weights: SelectionWeights, noise: KeypointNoise) -> Critic:
    """The mix of critics that selects. Raises InputError where all weights are 0."""
    parts: list[tuple[Critic, float]] = [
        (ReprojectionCritic(body, noise.offsets, noise.sigma[:, -1]), weights.reprojection),
        (SilhouetteCritic(body), weights.silhouette),
        (PlausibilityCritic(body), weights.plausibility),
    ]
    used = [(critic, weight) for critic, weight in parts if weight > 0]
    if not used:
        raise InputError("no critic is in use: all selection weights are 0")
    return MixCritic(used)


@torch.no_grad()
def predict_in_batches(
    model: LiteModel, body: BodyModel, observation: Observation, config: PredictConfig
) -> Iterator[tuple[slice, Predicted]]:
    """Answers for all persons; every batch starts from the same seed, so that its size does not matter.

    The critics see no annotation: there is none in what they are given.
    """
    noise = noise_of(config.detector)
    critic = selection_critic(body, config.selection, noise)
    for start in range(0, len(observation.box), config.batch):
        part = slice(start, min(start + config.batch, len(observation.box)))
        seen = observation[part]
        generator = torch.Generator().manual_seed(config.seed)
        found = estimate_bodies(model, body, seen, config.sampler, config.refinement, noise, generator, config.fusion)
        selected = _selected(critic, found.hypotheses, seen)
        chosen = found.hypotheses.body[torch.arange(len(selected)), selected]
        yield (
            part,
            Predicted(
                joints=found.hypotheses.joints,
                fused=found.fused_joints,
                selected=selected,
                fused_vertices=vertices(body, found.fused),
                selected_vertices=vertices(body, chosen),
            ),
        )


def _selected(critic: Critic, hypotheses, observation: Observation) -> Tensor:
    """Index of the best score; a score that is not finite never wins."""
    scores = judge(critic, hypotheses, Example(observation))
    return torch.where(torch.isfinite(scores), scores, -torch.inf).argmax(1)
