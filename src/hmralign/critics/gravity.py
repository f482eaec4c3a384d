"""Whether a body could be at rest under gravity: which way is up is known, not from the person who is judged.

Two costs. How unusual the tilt of the pelvis is for this pose (`pose_surprise.tilt_surprise`), and how far the centre
of mass is from what carries the body (`body.support`). A single body says nothing of gravity, so the direction comes
from elsewhere: a phone's own sense of it, a vanishing point, or the other people of a photo.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.support import imbalance
from hmralign.critics.pose_surprise import tilt_surprise
from hmralign.structures import Example, Hypotheses, InputError
from hmralign.structures.counted import counted

IMBALANCE_UNIT = 0.1
"""Metres outside of the support that cost as much as a nat of surprise."""


@dataclass(frozen=True)
class GravityCritic:
    """Minus the surprise of the tilt in nats and the imbalance in the unit above, each times its weight."""

    body: BodyModel
    up: Float[Tensor, "person 3"]
    """Away from the ground in the `cam` frame of each person who will be judged, unit."""
    tilt: float = 1.0
    balance: float = 1.0

    name = "gravity"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores; the observation is not looked at. Raises InputError for other persons than `up` is of."""
        params = hypotheses.body
        if len(self.up) != len(hypotheses.joints):
            known, judged = counted(len(self.up), "person"), len(hypotheses.joints)
            raise InputError(f"the direction of gravity is known for {known}, {judged} are judged; expected the same")
        up = self.up[:, None].to(hypotheses.joints)  # (person, 1, 3)
        up_in_pelvis = (params.global_orient.mT @ up[..., None])[..., 0]
        surprise = tilt_surprise(params.body_pose, up_in_pelvis)
        outside = imbalance(self.body, hypotheses.joints, params.betas, up.expand_as(hypotheses.joints[..., 0, :]))
        return -(self.tilt * surprise + self.balance * outside / IMBALANCE_UNIT)
