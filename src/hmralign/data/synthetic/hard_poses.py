"""Which poses are hard: far from a person who stands or walks, by a rule on joints that anyone can check.

A pose is hard where one of these holds, else ordinary:

- the trunk (pelvis to neck) leans more than 40 degrees from the picture's vertical;
- a thigh is more than 60 degrees from the trunk's line downward: sitting, squatting, kicking;
- a wrist is beyond the head along the trunk.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES

LEANING = math.radians(40.0)
RAISED_THIGH = math.radians(60.0)
_AT = {name: number for number, name in enumerate(JOINT_NAMES)}


def is_hard(joints: Float[Tensor, "*person 24 3"]) -> Bool[Tensor, "*person"]:
    """Whether each pose is hard; joints in metres in `cam` axes (y down), wherever their origin is."""
    unit = torch.nn.functional.normalize
    trunk = unit(joints[..., _AT["neck"], :] - joints[..., _AT["pelvis"], :], dim=-1)
    hard = -trunk[..., 1] < math.cos(LEANING)
    for side in ("left", "right"):
        thigh = unit(joints[..., _AT[f"{side}_knee"], :] - joints[..., _AT[f"{side}_hip"], :], dim=-1)
        hard = hard | (-(thigh * trunk).sum(-1) < math.cos(RAISED_THIGH))
        above = joints[..., _AT[f"{side}_wrist"], :] - joints[..., _AT["head"], :]
        hard = hard | ((above * trunk).sum(-1) > 0)
    return hard
