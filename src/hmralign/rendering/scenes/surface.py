"""Colours of a person's surface, evaluated where a pixel sees it: in coordinates of the template's rest pose."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.rendering.scenes.appearance import PATTERNS, Appearance, Garment

HEAD_FROM = 0.575
"""Rest-pose height above which the surface is head and neck, metres."""

_EYE, _MOUTH = (0.031, 0.681, 0.02), 0.615
"""|x| and y of an eye's centre and its reach; y of the mouth."""


def albedo(
    rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], looks: Appearance
) -> Float[Tensor, "point 3"]:
    """Colour of surface points of several persons; `rest` is where each lies on the template in its rest pose."""
    x, y, _ = rest.unbind(-1)
    side = x.abs()
    waist, limb = looks.waist[person], side < 0.3
    head = (y > HEAD_FROM) & (side < 0.15)
    sleeve = looks.sleeve[person]
    torso = (y < looks.neckline[person]) & (y > waist)
    # A bare torso has a sleeve of length zero.
    shirt = torch.where(side > 0.2, side < sleeve, torso) & ~head & (y > -0.2) & (sleeve > 0)
    trousers = (y <= waist) & (y > looks.hem[person]) & limb
    color = looks.skin[person]
    for where, garment in ((trousers, looks.trousers), (shirt, looks.shirt)):
        at = where.nonzero()[:, 0]
        color[at] = _cloth(rest[at], person[at], garment)
    at = ((y < looks.shoe_top[person]) & limb).nonzero()[:, 0]
    color[at] = looks.shoes[person[at]]
    at = head.nonzero()[:, 0]
    color[at] = _head(color[at], rest[at], person[at], looks)
    return color


def _cloth(rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], cloth: Garment) -> Float[Tensor, "point 3"]:
    """The two colours mixed by the pattern."""
    direction, phase, pattern = cloth.direction[person], cloth.phase[person], cloth.pattern[person]
    along = (rest * direction).sum(-1) + phase
    across = (rest * direction.roll(1, dims=-1)).sum(-1) + phase
    kinds = {
        "stripes": along.sin() > 0,
        "checks": (along.sin() > 0) ^ (across.sin() > 0),
        "blotches": along.sin() + across.sin() + (0.6 * along - 0.7 * across).sin() > 0.3,
        "front and back": rest[:, 2] > 0.0,
        "chest block": (rest[:, 2] > 0.03) & (rest[:, 0].abs() < 0.09) & (rest[:, 1] > 0.2) & (rest[:, 1] < 0.38),
    }
    second = torch.zeros_like(along, dtype=torch.bool)
    for name, where in kinds.items():
        second |= where & (pattern == PATTERNS.index(name))
    return cloth.colors.flatten(0, 1)[2 * person + second]


def _head(
    color: Float[Tensor, "point 3"], rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], looks: Appearance
) -> Float[Tensor, "point 3"]:
    """Hair, cap, and the features of a face."""
    x, y, z = rest.unbind(-1)
    front = (z > 0.09) & (looks.face[person] > 0)
    side, (across, up, reach) = x.abs(), _EYE
    eye = front & ((side - across).square() + 2.0 * (y - up).square() < (0.7 * reach) ** 2)
    brow = front & ((side - 0.032).abs() < 0.02) & ((y - 0.703).abs() < 0.006)
    mouth = front & (side < 0.026) & ((y - _MOUTH).abs() < 0.008)
    hair_color, hairline, cap = looks.hair[person], looks.hairline[person], looks.cap[person]
    color = torch.where(eye[:, None], 0.15, color)
    color = torch.where(brow[:, None], 0.7 * hair_color, color)
    color = torch.where(mouth[:, None], looks.lips[person], color)
    hair = y > hairline[:, 0] + hairline[:, 1] * (z - 0.02)
    color = torch.where(hair[:, None], hair_color, color)
    return torch.where((y > cap[:, 0])[:, None], cap[:, 1:], color)


def stand_off(
    rest: Float[Tensor, "vert 3"], weights: Float[Tensor, "vert 24"], looks: Appearance
) -> Float[Tensor, "n vert"]:
    """How far each vertex of loose cloth lies off the body along its normal, metres; 0 on skin."""
    x, y, _ = rest.unbind(-1)
    side = x.abs()
    upper = ((y > looks.waist[:, None]) & (y < looks.neckline[:, None]) & (side <= 0.2)) | (
        (side > 0.2) & (side < looks.sleeve[:, None])
    )
    lower = (y <= looks.waist[:, None]) & (y > looks.hem[:, None]) & (side < 0.3)
    waves = torch.einsum("vc,nkc->nkv", rest, looks.folds).sin().mean(1)  # (n, vert), smooth, in [-1, 1]
    amount = torch.where(upper, looks.loose[:, :1], 0.0) + torch.where(lower, looks.loose[:, 1:], 0.0)
    head = weights[:, [12, 15]].sum(-1) > 0.5
    return amount * (0.6 + 0.4 * waves) * ~head
