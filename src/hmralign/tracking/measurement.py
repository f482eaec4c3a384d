"""What one frame says about a person once its hypothesis is linked: a mean near it, and how far that can be trusted.

Of the group of the linked reading, those near the linked hypothesis count most. Their weighted mean is the frame's
answer, and their scatter its variance. The scatter is not made smaller by the number of frames: neighbouring frames see
the same wrong depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import mean_rotmat, rotmat_to_rotvec

FLOOR_DEGREES = 1.0
"""Standard deviation per axis that every rotation has at least."""


@dataclass(frozen=True)
class Measurement:
    """Mean rotations, their variance per axis (radians^2), and the first two moments of the group's joints.

    `joint_mean` is pelvis-relative metres; `joint_variance` the mean squared distance from it, of all the group alike,
    as the spread of a photo's group is.
    """

    rotmats: Float[Tensor, "24 3 3"]
    variance: Float[Tensor, " 24"]
    joint_mean: Float[Tensor, "joint 3"]
    joint_variance: Float[Tensor, " joint"]


def measure(
    rotmats: Float[Tensor, "hyp 24 3 3"],
    joints: Float[Tensor, "hyp joint 3"],
    squared_distance: Float[Tensor, " hyp"],
    near: float,
) -> Measurement:
    """The answer of one frame's group; `squared_distance` (metres^2) is that of each hypothesis from the linked one."""
    weights = torch.exp(-0.5 * squared_distance / near**2)
    weights = weights / weights.sum()
    mean = mean_rotmat(rotmats.transpose(0, 1), weights.expand(rotmats.shape[1], -1))
    turns = rotmat_to_rotvec(mean.mT @ rotmats)
    variance = (weights[:, None, None] * turns.square()).sum(0).mean(-1)
    floor = torch.deg2rad(torch.tensor(FLOOR_DEGREES)) ** 2
    relative = joints - joints[:, :1]
    centre = relative.mean(0)
    return Measurement(mean, variance + floor, centre, (relative - centre).square().sum(-1).mean(0))
