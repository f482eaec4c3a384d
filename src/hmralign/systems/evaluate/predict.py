"""A model's answers on observed persons, in batches: what `recover` would hand out, without photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.critics.by_rule import CriticWeights, weighted_critics
from hmralign.critics.critic import Critic, judge
from hmralign.critics.mix import MixCritic
from hmralign.evaluation.person_errors import Predicted
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, Observation


@dataclass(frozen=True)
class PredictConfig:
    """How persons are predicted."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    selection: CriticWeights = field(default_factory=lambda: CriticWeights(silhouette=0.0))
    """Critics that select; the silhouette is left out unless asked for: it costs most of the time."""
    detector: str = "mediapipe"
    """Whose measured noise and landmark offsets the refinement and the reprojection critic assume."""
    seed: int = 0
    batch: int = 100
    """Persons at once."""


def evaluation_draws(seed: int, persons: Iterable[int]) -> list[torch.Generator]:
    """What the hypotheses of the persons of these numbers are drawn from."""
    return [seeded(seed, "evaluate", number) for number in persons]


@torch.no_grad()
def predict_in_batches(
    policy: BodyProposer, observation: Observation, config: PredictConfig
) -> Iterator[tuple[slice, Predicted]]:
    """Answers for all persons, on the CPU. The noise of each is drawn from the seed and the person's number alone.

    So the batch's size does not matter, and the figures of many persons do not hang on a few noise vectors. Everything
    is computed where the policy's body is. The critics see no annotation: there is none in what they are given.
    """
    body, noise = policy.body, noise_of(config.detector)
    critic = MixCritic(weighted_critics(body, noise, config.selection))
    for start in range(0, len(observation.box), config.batch):
        part = slice(start, min(start + config.batch, len(observation.box)))
        seen = observation[part].to(body.device)
        draws = evaluation_draws(config.seed, range(part.start, part.stop))
        found = estimate_bodies(policy, seen, config.sampler, config.refinement, noise, draws)
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
            ).to("cpu"),
        )


def _selected(critic: Critic, hypotheses, observation: Observation) -> Tensor:
    """Index of the best score; a score that is not finite never wins."""
    scores = judge(critic, hypotheses, Example(observation))
    return torch.where(torch.isfinite(scores), scores, -torch.inf).argmax(1)
