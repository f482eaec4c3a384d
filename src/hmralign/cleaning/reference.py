"""What the same keypoints let a critic expect: its mean score of a model's samples on them.

A learned score depends on what is visible: a perfect label of an occluded person has a low one. The distance from the
samples' mean is comparable across persons, whatever share of the labels is bad (`docs/results/cleaning_rules.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.critics.critic import Critic, judge
from hmralign.policies.policy import DiffusionPolicy, bodies_in, sample_each
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, InputError, Observation


@dataclass(frozen=True)
class SampleReference:
    """Mean scores of samples; what is drawn for a person depends on `seed` and the person's name alone."""

    policy: DiffusionPolicy
    num_samples: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for no samples."""
        if self.num_samples < 1:
            raise InputError(f"{self.num_samples} samples are no reference; expected at least 1")

    @torch.no_grad()
    def scores(self, critic: Critic, observation: Observation, ids: Sequence[str]) -> Float[Tensor, " person"]:
        """The critic's mean score of each person's samples. Raises InputError as the critic does."""
        draws = [seeded(self.seed, "clean", name) for name in ids]
        context = self.policy.context(observation)
        x_0 = sample_each(self.policy, context, self.num_samples, draws)
        return judge(critic, bodies_in(self.policy, x_0, observation, context), Example(observation)).mean(1)
