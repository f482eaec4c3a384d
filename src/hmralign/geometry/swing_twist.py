"""Swing-twist decomposition about a bone, and the analytic inverse kinematics built on it.

Source: Li et al. 2021 (HybrIK), sec. 3.2: a relative rotation is `swing @ twist`, the twist turning about the rest
bone and the swing carrying the rest bone onto its target by the shortest way. Joints fix the swings, so a pose is its
joint positions plus one angle per joint; both directions are public because the field asks for the inverse most.

Departures: the pelvis is the least-squares rotation of its three children (HybrIK's naive form uses two of them and
is ill-conditioned), and an exactly reversed bone turns about a fixed perpendicular axis instead of not at all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.geometry.rotations import project_to_rotmat

_NEARLY_REVERSED = -0.99
"""Cosine between a bone and its rest direction below which the swing is made of two half turns."""

_DEGENERATE_LENGTH = 1e-6
"""Bones shorter than this (metres) have no direction: their joint keeps the rest direction."""


def perpendicular(unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """A unit vector perpendicular to each unit vector; depends on nothing else, so it is reproducible."""
    smallest = torch.zeros_like(unit).scatter(-1, unit.abs().argmin(dim=-1, keepdim=True), 1.0)
    side = torch.linalg.cross(unit, smallest)
    return side / side.norm(dim=-1, keepdim=True)


def skew(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Cross-product matrix: skew(v) @ w = v x w."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def swing_between(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Shortest rotation that carries unit vector `a` onto unit vector `b`.

    For `b = -a` the shortest way is not unique: the turn is then half a circle about `perpendicular(a)`.
    """
    cross = skew(torch.linalg.cross(a, b))
    cos = (a * b).sum(-1)[..., None, None]
    eye = torch.eye(3, dtype=a.dtype, device=a.device)
    reversed_bone = cos < -1 + 1e-9 if a.dtype == torch.float64 else cos < -1 + 1e-6
    swing = eye + cross + cross @ cross / (1 + cos).masked_fill(reversed_bone, 1.0)
    nearly = cos < _NEARLY_REVERSED
    if not nearly.is_meta and not bool(nearly.any()):
        return swing
    # Near the reversal 1 + cos has few digits left, and the formula is no rotation any more; two half turns are always.
    between = torch.where(reversed_bone[..., 0], perpendicular(a), a + b)
    two_turns = _half_turn(between / between.norm(dim=-1, keepdim=True)) @ _half_turn(a)
    swing = torch.where(nearly, two_turns, swing)
    return torch.where(reversed_bone, _half_turn(perpendicular(a)), swing)


def _half_turn(axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Half a circle about a unit axis."""
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return 2 * axis[..., :, None] * axis[..., None, :] - eye


def twist_about(axis: Float[Tensor, "*batch 3"], cos_sin: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3 3"]:
    """Turn about a unit axis by the angle whose (cosine, sine) is given; the pair need not have unit length.

    A pair of zero length means no twist.
    """
    length = cos_sin.norm(dim=-1, keepdim=True)
    no_twist = torch.tensor([1.0, 0.0], dtype=cos_sin.dtype, device=cos_sin.device)
    cos_sin = torch.where(length > 1e-8, cos_sin / length.clamp(min=1e-8), no_twist)
    cos, sin = cos_sin[..., 0, None, None], cos_sin[..., 1, None, None]
    cross = skew(axis)
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + sin * cross + (1 - cos) * cross @ cross


def decompose(
    rotmat: Float[Tensor, "*batch 3 3"], bone: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 2"]]:
    """Split `rotmat = swing @ twist` about the unit vector `bone` (rest frame); twist as (cosine, sine)."""
    swing = swing_between(bone, (rotmat @ bone[..., None])[..., 0])
    twist = swing.mT @ rotmat
    side = perpendicular(bone)
    turned = (twist @ side[..., None])[..., 0]
    cos = (side * turned).sum(-1)
    sin = (torch.linalg.cross(bone, side) * turned).sum(-1)
    cos_sin = torch.stack([cos, sin], dim=-1)
    return swing, cos_sin / cos_sin.norm(dim=-1, keepdim=True)


def unit_or(vector: Float[Tensor, "*batch 3"], fallback: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Normalise; vectors too short to have a direction become `fallback`."""
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > _DEGENERATE_LENGTH, vector / length.clamp(min=_DEGENERATE_LENGTH), fallback)


def root_rotation(
    rest: Float[Tensor, "*batch children 3"], target: Float[Tensor, "*batch children 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """Least-squares rotation that carries the rest offsets of the root's children onto their targets."""
    return project_to_rotmat(target.mT @ rest)
