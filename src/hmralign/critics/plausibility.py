"""Whether a human body could be in the pose: joint ranges and self-penetration, whatever the picture shows.

Support is not judged. Without a known ground and direction of gravity the only sign of floating is that both feet are
clearly above the rest of an upright body; of 1,000 motion-capture poses, true or disturbed by up to 0.4 rad per joint,
fewer than 0.2 % show it. Where the direction is known, `critics.gravity` judges balance and tilt.

Two terms are off unless asked for. How unlikely the pose is under the shipped pose prior: it prefers common poses
to rare true ones (docs/results/mix_weights.md has what it gains and costs). And bones that differ between left and
right: those of a parametric body never do, so it is for joints that another system predicted as points.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.body.capsules import self_penetration
from hmralign.body.joint_limits import limit_violation
from hmralign.body.model import BodyModel
from hmralign.critics.bone_symmetry import bone_asymmetry
from hmralign.critics.pose_surprise import pose_surprise
from hmralign.critics.setting import CriticSetting
from hmralign.structures import Example, Hypotheses

LIMIT_UNIT = 0.5
"""Radians beyond the joint ranges, summed over the joints, that cost 1."""

PENETRATION_UNIT = 0.2
"""Metres of overlap, summed over pairs of capsules, that cost 1; a tenth of true poses has 0.16, arms on the body."""

SURPRISE_UNIT = 2.0
"""Nats per angle beyond the prior's own poses that cost 1; a twentieth of the held-out prior's poses has 1.7."""

ASYMMETRY_UNIT = 0.1
"""Mean of |log(left / right)| over the bones that costs 1."""


@dataclass(frozen=True)
class PlausibilityCritic:
    """-cost / (1 + cost), in (-1, 0], where the cost adds limit excess and penetration in the units above.

    It bends so that one impossible pose does not outweigh every other critic in a mix: whatever costs much is bad.
    """

    body: BodyModel
    prior_weight: float = 0.0
    """Factor on the surprise under the pose prior, as far as it is positive."""
    symmetry_weight: float = 0.0
    """Factor on the asymmetry of the hypotheses' `joints`."""

    name = "plausibility"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in (-1, 0]; the observation is not looked at."""
        params = hypotheses.body
        excess = limit_violation(params.body_pose).sum(-1)
        overlap = self_penetration(self.body, hypotheses.joints, params.betas)
        cost = excess / LIMIT_UNIT + overlap / PENETRATION_UNIT
        if self.prior_weight > 0:
            cost = cost + self.prior_weight * pose_surprise(params.body_pose).clamp(min=0) / SURPRISE_UNIT
        if self.symmetry_weight > 0:
            cost = cost + self.symmetry_weight * bone_asymmetry(hypotheses.joints) / ASYMMETRY_UNIT
        return -cost / (1 + cost)


def make_plausibility(setting: CriticSetting) -> PlausibilityCritic:
    """By joint ranges and self-penetration."""
    return PlausibilityCritic(setting.body)
