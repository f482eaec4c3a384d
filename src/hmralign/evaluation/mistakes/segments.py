"""The 14 segments that mistakes are looked for in, and the exact share of each in a body's MPJPE.

A joint's error, about the pelvis, is the sum of the errors of the bones on the way to it. Along the direction of that
error the shares are plain numbers, so that MPJPE splits without a rest:

    e_j = sum of d_b over the bones b on the way to j      d_b: bone vector minus true bone vector
    |e_j| = sum of u_j . d_b                               u_j = e_j / |e_j|
    share of b = mean over the 24 joints of u_j . d_b, over the joints j beyond b

A share is negative where a bone makes up for another's error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS


@dataclass(frozen=True)
class Segment:
    """A part of the body that has a direction. Numbers are joints; a bone is named by the joint at its end."""

    name: str
    start: int
    end: int
    turned_by: int
    """Joint whose global rotation tells how the segment is turned about its own direction."""
    bones: tuple[int, ...]
    evidence: tuple[int, ...]
    """Joints that must be observed for the segment to count as seen."""
    carrier: int | None = None
    """Segment that it hangs on."""
    carried_by: int = 0
    """Joint whose global rotation carries it along."""


def _joint(name: str) -> int:
    return JOINT_NAMES.index(name)


def _limb(side: str, names: tuple[str, str, str], joints: tuple[str, ...], root: str, first: int) -> list[Segment]:
    """Upper, lower and end segment of an arm or leg; `first` is the number of its upper segment."""
    a, b, c, d = (_joint(f"{side}_{j}") for j in joints)
    upper, lower, end = (f"{side} {n}" for n in names)
    return [
        Segment(upper, a, b, a, (b,), (a, b), 0, _joint(root)),
        Segment(lower, b, c, b, (c,), (b, c), first, a),
        Segment(end, c, d, c, (d,), (c, d), first + 1, b),
    ]


def _all() -> tuple[Segment, ...]:
    trunk = ("left_hip", "right_hip", "spine1", "spine2", "spine3", "neck", "left_collar", "right_collar",
             "left_shoulder", "right_shoulder")  # fmt: skip
    neck, head, chest = _joint("neck"), _joint("head"), _joint("spine3")
    found = [
        Segment("trunk", 0, neck, chest, tuple(_joint(j) for j in trunk), (0, chest)),
        Segment("head", neck, head, head, (head,), (head,), 0, chest),
    ]
    for side in ("left", "right"):
        arm, hand = ("upper arm", "forearm", "hand"), ("shoulder", "elbow", "wrist", "hand")
        found += _limb(side, arm, hand, "spine3", len(found))
    for side in ("left", "right"):
        found += _limb(side, ("thigh", "shin", "foot"), ("hip", "knee", "ankle", "foot"), "pelvis", len(found))
    return tuple(found)


SEGMENTS = _all()
"""Trunk, head, arms, legs; a carrier comes before what it carries."""

NUMBER = {segment.name: number for number, segment in enumerate(SEGMENTS)}


def _other(name: str) -> str:
    side = {"left": "right", "right": "left"}.get(name.split()[0])
    return name if side is None else f"{side} {name.split(maxsplit=1)[1]}"


MIRROR_SEGMENTS = tuple(NUMBER[_other(s.name)] for s in SEGMENTS)
"""Segment `i` of a mirrored body is segment `MIRROR_SEGMENTS[i]` of the original."""


def _beyond() -> Float[Tensor, "24 24"]:
    """Row j marks the bones on the way from the pelvis to j."""
    matrix = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for joint in range(1, NUM_JOINTS):
        matrix[joint] = matrix[PARENTS[joint]]
        matrix[joint, joint] = 1
    return matrix


def error_by_segment(
    joints: Float[Tensor, "*batch joints 3"], truth: Float[Tensor, "*#batch joints 3"]
) -> Float[Tensor, "*batch 14"]:
    """Shares of the segments in the MPJPE over 24 joints with the pelvis in place; metres, their sum is the MPJPE."""
    wrong = joints[..., :NUM_JOINTS, :] - truth[..., :NUM_JOINTS, :]
    wrong = (wrong - wrong[..., :1, :]).double()
    along = torch.nn.functional.normalize(wrong, dim=-1)  # zero where there is no error
    bone = wrong - wrong[..., [max(p, 0) for p in PARENTS[:NUM_JOINTS]], :]
    share = (_beyond().double().mT @ along * bone).sum(-1) / NUM_JOINTS
    return torch.stack([share[..., list(s.bones)].sum(-1) for s in SEGMENTS], dim=-1)


def hidden_segments(hidden_joints: Bool[Tensor, "*batch 24"]) -> Bool[Tensor, "*batch 14"]:
    """Segments of which a joint was not observed: the picture does not show their direction."""
    return torch.stack([hidden_joints[..., list(s.evidence)].any(-1) for s in SEGMENTS], dim=-1)
