"""How a rendered person looks: skin, hair, face and clothes, as numbers that are drawn once per person.

Nothing is a texture file: garments are regions of the rest pose (a sleeve ends at so many metres from the middle), and
their patterns are functions of the rest pose, so cloth moves with the body and both are free of anybody's rights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.structures import TensorRecord

PATTERNS = ("plain", "stripes", "checks", "blotches", "front and back", "chest block")
"""Kinds of cloth, by number."""

_DARKEST, _FAIREST = (0.20, 0.12, 0.08), (0.95, 0.78, 0.68)
"""Skin lies on and about the line between the two (RGB in [0, 1])."""


@dataclass(frozen=True)
class AppearanceMix:
    """What persons look like. Shares are probabilities."""

    bare_torso: float = 0.06
    bare_feet: float = 0.15
    bald: float = 0.12
    cap: float = 0.12
    plain: float = 0.45
    """Garments without a pattern; the other kinds are equally likely."""
    blank_face: float = 0.25
    """Faces without eyes, brows and mouth, so that nobody relies on them."""
    dull: float = 0.3
    """Persons whose clothes are nearly grey."""
    loose: tuple[float, float] = (0.0, 0.035)
    """How far cloth stands off the body, metres."""


@dataclass(frozen=True)
class Garment(TensorRecord):
    """Cloth of one garment per person: two colours and the pattern that mixes them."""

    colors: Float[Tensor, "n 2 3"]
    pattern: Int[Tensor, " n"]
    direction: Float[Tensor, "n 3"]
    """Across its stripes, radians per metre."""
    phase: Float[Tensor, " n"]


@dataclass(frozen=True)
class Appearance(TensorRecord):
    """Colours in [0, 1], lengths in metres of the template's rest pose (frame `canonical`)."""

    skin: Float[Tensor, "n 3"]
    hair: Float[Tensor, "n 3"]
    lips: Float[Tensor, "n 3"]
    hairline: Float[Tensor, "n 2"]
    """Hair is where y > a + b (z - 0.02)."""
    cap: Float[Tensor, "n 4"]
    """Height above which a cap is worn, and its colour."""
    face: Float[Tensor, " n"]
    """1 where eyes, brows and mouth are painted."""
    shirt: Garment
    trousers: Garment
    shoes: Float[Tensor, "n 3"]
    sleeve: Float[Tensor, " n"]
    """|x| where sleeves end."""
    neckline: Float[Tensor, " n"]
    waist: Float[Tensor, " n"]
    """y where the shirt ends and trousers begin."""
    hem: Float[Tensor, " n"]
    """y where trousers end."""
    shoe_top: Float[Tensor, " n"]
    loose: Float[Tensor, "n 2"]
    """How far shirt and trousers stand off the body."""
    folds: Float[Tensor, "n 3 3"]
    """Wave vectors of their folds, radians per metre."""


def draw_appearance(n: int, mix: AppearanceMix, generator: torch.Generator) -> Appearance:
    """`n` persons."""
    draw = _Draw(n, generator)
    tone = draw.uniform(0.0, 1.0)[:, None]
    skin = torch.tensor(_DARKEST) * (1 - tone) + torch.tensor(_FAIREST) * tone
    skin = (skin * draw.uniform(0.85, 1.1, 3)).clamp(0, 1)
    bald = draw.happens(mix.bald)
    hairline = torch.stack([draw.uniform(0.63, 0.72), draw.uniform(0.4, 1.4)], dim=-1)
    hairline[bald] = torch.tensor([2.0, 0.0])
    dull = draw.happens(mix.dull)
    cap = torch.cat([draw.uniform(0.70, 0.74)[:, None], draw.colors(dull)], dim=-1)
    cap[~draw.happens(mix.cap), 0] = 2.0
    sleeve = torch.where(draw.happens(0.5), draw.uniform(0.2, 0.4), draw.uniform(0.4, 0.69))
    waist, bare = draw.uniform(-0.1, 0.1), draw.happens(mix.bare_torso)
    shoe_top = draw.uniform(-0.86, -0.72)
    shoe_top[draw.happens(mix.bare_feet)] = -2.0
    return Appearance(
        skin=skin,
        hair=draw.colors(torch.ones(n, dtype=torch.bool)) * draw.uniform(0.1, 0.9)[:, None],
        lips=(skin * torch.tensor([1.0, 0.65, 0.65])).clamp(0, 1),
        hairline=hairline,
        cap=cap,
        face=(~draw.happens(mix.blank_face)).float(),
        shirt=_garment(draw, dull, mix),
        trousers=_garment(draw, dull, mix),
        shoes=draw.colors(dull),
        sleeve=torch.where(bare, 0.0, sleeve),
        neckline=draw.uniform(0.45, 0.56),
        waist=torch.where(bare, 0.12, waist),
        hem=torch.where(draw.happens(0.35), draw.uniform(-0.4, -0.12), draw.uniform(-0.82, -0.6)),
        shoe_top=shoe_top,
        loose=draw.uniform(*mix.loose, 2),
        folds=draw.normal(3, 3) * 25,
    )


def _garment(draw: _Draw, dull: Tensor, mix: AppearanceMix) -> Garment:
    plain = draw.happens(mix.plain)
    pattern = torch.where(plain, 0, draw.integers(1, len(PATTERNS)))
    direction = torch.nn.functional.normalize(draw.normal(3) * torch.tensor([1.0, 1.5, 0.4]), dim=-1)
    frequency = torch.exp(draw.uniform(math.log(25), math.log(200)))[:, None]
    colors = torch.stack([draw.colors(dull), draw.colors(dull)], dim=1)
    return Garment(colors, pattern, direction * frequency, draw.uniform(0.0, 2 * math.pi))


class _Draw:
    """Random numbers per person."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.n, *shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, generator=self.generator)

    def happens(self, share: float) -> Tensor:
        return torch.rand(self.n, generator=self.generator) < share

    def integers(self, low: int, high: int) -> Tensor:
        return torch.randint(low, high, (self.n,), generator=self.generator)

    def colors(self, dull: Tensor) -> Float[Tensor, "n 3"]:
        """Any colour, or one near grey; dark ones are as likely as light ones."""
        bright = self.uniform(0.02, 1.0, 3)
        grey = self.uniform(0.02, 1.0)[:, None] + 0.05 * self.normal(3)
        return torch.where(dull[:, None], grey, bright).clamp(0, 1)
