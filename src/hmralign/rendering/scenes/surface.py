"""Colours of a person's surface, evaluated where a pixel sees it: in coordinates of the template's rest pose."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.rendering.scenes.appearance import PATTERNS, Appearance, Garment

HEAD_FROM = 0.575
"""Rest-pose height above which the surface is head and neck, metres."""

_EYE, _MOUTH = (0.031, 0.681, 0.02), 0.615
"""|x| and y of an eye's centre and its reach; y of the mouth."""


_PAINTS = ("skin", "trousers", "their second", "shirt", "its second", "shoes", "eye", "brow", "mouth", "hair", "cap")
"""What a point may be painted with."""


def albedo(
    rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], looks: Appearance
) -> Float[Tensor, "point 3"]:
    """Colour of surface points of several persons; `rest` is where each lies on the template in its rest pose."""
    x, y, _ = rest.T.contiguous()
    lines = torch.stack([looks.waist, looks.hem, looks.sleeve, looks.neckline, looks.shoe_top])
    waist, hem, sleeve, neckline, shoe_top = lines.index_select(1, person)
    side = x.abs()
    limb = side < 0.3
    head = (y > HEAD_FROM) & (side < 0.15)
    beyond, torso = side > 0.2, (y < neckline) & (y > waist)
    # A bare torso has a sleeve of length zero.
    shirt = ((beyond & (side < sleeve)) | (~beyond & torso)) & ~head & (y > -0.2) & (sleeve > 0)
    trousers = (y <= waist) & (y > hem) & limb
    paint = torch.zeros_like(person)
    for where, garment, name in ((trousers, looks.trousers, "trousers"), (shirt, looks.shirt, "shirt")):
        paint.masked_fill_(where, _PAINTS.index(name))
        at = (where & (garment.pattern > 0).index_select(0, person)).nonzero()[:, 0]
        second = _second_color(rest.index_select(0, at), person.index_select(0, at), garment)
        paint.index_add_(0, at, second.long())
    paint.masked_fill_((y < shoe_top) & limb, _PAINTS.index("shoes"))
    at = head.nonzero()[:, 0]
    on_head = _head(paint.index_select(0, at), rest.index_select(0, at), person.index_select(0, at), looks)
    paint.index_copy_(0, at, on_head)
    return _palette(looks).index_select(1, paint + len(_PAINTS) * person).T


def _palette(looks: Appearance) -> Float[Tensor, "3 paints"]:
    """Colours of `_PAINTS` of the first person, then of the second, ..."""
    dark = torch.full_like(looks.skin, 0.15)
    cloth = [garment.colors[:, k] for garment in (looks.trousers, looks.shirt) for k in (0, 1)]
    head = [dark, 0.7 * looks.hair, looks.lips, looks.hair, looks.cap[:, 1:]]
    return torch.stack([looks.skin, *cloth, looks.shoes, *head], dim=1).flatten(0, 1).T.contiguous()


def _second_color(
    rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], cloth: Garment
) -> Bool[Tensor, " point"]:
    """Where the pattern shows the second of the two colours."""
    direction, phase = cloth.direction.index_select(0, person), cloth.phase.index_select(0, person)
    pattern = cloth.pattern.index_select(0, person)
    along = (rest * direction).sum(-1) + phase
    across = (rest * direction.roll(1, dims=-1)).sum(-1) + phase
    x, y, z = rest.T.contiguous()
    kinds = {
        "stripes": along.sin() > 0,
        "checks": (along.sin() > 0) ^ (across.sin() > 0),
        "blotches": along.sin() + across.sin() + (0.6 * along - 0.7 * across).sin() > 0.3,
        "front and back": z > 0.0,
        "chest block": (z > 0.03) & (x.abs() < 0.09) & (y > 0.2) & (y < 0.38),
    }
    second = torch.zeros_like(along, dtype=torch.bool)
    for name, where in kinds.items():
        second |= where & (pattern == PATTERNS.index(name))
    return second


def _head(
    paint: Int[Tensor, " point"], rest: Float[Tensor, "point 3"], person: Int[Tensor, " point"], looks: Appearance
) -> Int[Tensor, " point"]:
    """Hair, cap, and the features of a face, over what is there."""
    x, y, z = rest.T.contiguous()
    lines = torch.stack([looks.face, looks.hairline[:, 0], looks.hairline[:, 1], looks.cap[:, 0]])
    face, hair_from, slope, cap_from = lines.index_select(1, person)
    front = (z > 0.09) & (face > 0)
    side, (across, up, reach) = x.abs(), _EYE
    features = {
        "eye": front & ((side - across).square() + 2.0 * (y - up).square() < (0.7 * reach) ** 2),
        "brow": front & ((side - 0.032).abs() < 0.02) & ((y - 0.703).abs() < 0.006),
        "mouth": front & (side < 0.026) & ((y - _MOUTH).abs() < 0.008),
        "hair": y > hair_from + slope * (z - 0.02),
        "cap": y > cap_from,
    }
    for name, where in features.items():
        paint = paint.masked_fill(where, _PAINTS.index(name))
    return paint


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
