"""A critic's scores as weights of the hypotheses that the one answer is made from."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.critics.critic import Critic, judge
from hmralign.hypotheses.fusion import score_weights
from hmralign.structures import Example, Hypotheses, Observation


@dataclass(frozen=True)
class Weighing:
    """A critic that weighs (docs/results/fusion.md); `estimate_bodies` takes it as a callable."""

    critic: Critic
    temperature: float = 0.03
    """Temperature of the softmax of its scores, as measured for the learned scorer, whose scores are in (0, 1)."""

    def __call__(self, hypotheses: Hypotheses, observation: Observation) -> Float[Tensor, "person hyp"]:
        """Weights that sum to 1; equal ones for persons whom the critic cannot judge."""
        return score_weights(judge(self.critic, hypotheses, Example(observation)), self.temperature)
