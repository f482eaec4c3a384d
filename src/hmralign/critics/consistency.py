"""How much a hypothesis agrees with the others of its group.

The mean of what a model samples is nearer to the truth than most of the samples are, so the distance from it orders
them well without any evidence; where the whole group is wrong it is wrong with it, and a model that is trained on it
only becomes surer. A control, and a part of mixes, rather than a judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.critics.setting import CriticSetting
from hmralign.structures import Example, Hypotheses


@dataclass(frozen=True)
class ConsistencyCritic:
    """Minus the mean distance of the 24 joints from the group's mean, metres, pelvis-relative; 0 in a group of one."""

    name = "consistency"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in metres, at most 0. They depend on the whole group."""
        joints = hypotheses.joints[..., :NUM_JOINTS, :]
        relative = joints - joints[..., :1, :]
        return -(relative - relative.mean(1, keepdim=True)).norm(dim=-1).mean(-1)


def make_consistency(setting: CriticSetting) -> ConsistencyCritic:
    """By the rest of the group, a control."""
    return ConsistencyCritic()
