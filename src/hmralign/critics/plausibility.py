"""Whether a human body could be in the pose: joint ranges and self-penetration, whatever the picture shows.

Support is not judged. Without a known ground and direction of gravity the only sign of floating is that both feet are
clearly above the rest of an upright body; of 1,000 motion-capture poses, true or disturbed by up to 0.4 rad per joint,
fewer than 0.2 % show it.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.body.capsules import self_penetration
from hmralign.body.joint_limits import limit_violation
from hmralign.body.model import BodyModel
from hmralign.structures import Example, Hypotheses

LIMIT_UNIT = 0.5
"""Radians beyond the joint ranges, summed over the joints, that cost 1."""

PENETRATION_UNIT = 0.2
"""Metres of overlap, summed over pairs of capsules, that cost 1; a tenth of true poses has 0.16, arms on the body."""


@dataclass(frozen=True)
class PlausibilityCritic:
    """-cost / (1 + cost), in (-1, 0], where the cost adds limit excess and penetration in the units above.

    It bends so that one impossible pose does not outweigh every other critic in a mix: whatever costs much is bad.
    """

    body: BodyModel

    name = "plausibility"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in (-1, 0]; the observation is not looked at."""
        params = hypotheses.body
        excess = limit_violation(params.body_pose).sum(-1)
        overlap = self_penetration(self.body, hypotheses.joints, params.betas)
        cost = excess / LIMIT_UNIT + overlap / PENETRATION_UNIT
        return -cost / (1 + cost)
