"""Which joints turn to make statements true: those of the parts of the body that the statements are on."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.language.statements import STATEMENTS, Part

_ARM, _LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot")

TURNING: dict[Part, tuple[str, ...]] = {
    "overall": JOINT_NAMES[:NUM_JOINTS],
    "view": ("pelvis",),
    "torso": ("pelvis", "spine1", "spine2", "spine3"),
    "head": ("neck", "head"),
    "left_arm": tuple(f"left_{name}" for name in _ARM),
    "right_arm": tuple(f"right_{name}" for name in _ARM),
    "left_leg": tuple(f"left_{name}" for name in _LEG),
    "right_leg": tuple(f"right_{name}" for name in _LEG),
}
"""Joints whose turns move a part."""


def named_joints(wanted: Float[Tensor, "person statements"]) -> Bool[Tensor, "person 24"]:
    """Joints of the parts that something is said of, `wanted` being in the order of `STATEMENTS`."""
    return (wanted != 0).to(wanted) @ _joints_of_statements().to(wanted) > 0


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _joints_of_statements() -> Float[Tensor, "statements 24"]:
    return torch.tensor([[float(name in TURNING[s.part]) for name in JOINT_NAMES[:NUM_JOINTS]] for s in STATEMENTS])
