"""Views as an unfinished or misled generator makes them, and the skeleton maps that such views deserve.

A network that has only seen renders says anything of a haze, and a generator that is rewarded finds out what. So the
skeleton network also sees views that are

| fault | what generators do | its maps |
| --- | --- | --- |
| mixture | several bodies shine through one another, at the most many: haze | mixed alike |
| fading | a body is half there | fade alike |
| blur, coarse pixels | outlines are soft, details are gone | blurred alike |
| noise | rests of the sampler's noise | as they were |

What happens to a view's body happens to its maps, so that a half-visible limb earns half a bone. Each view has faults
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError


@dataclass(frozen=True)
class Corruption:
    """How often each fault occurs in a view, and how strong it may be."""

    untouched: float = 0.3
    """Share of views without any fault."""
    mixture: float = 0.5
    """Share of the others in which other bodies shine through."""
    most_bodies: int = 6
    """At most so many others."""
    fading: float = 0.3
    """Share of the others that are faded, to no less than a fifth."""
    blur: float = 0.4
    """Share of the others that are blurred."""
    blur_pixels: float = 2.0
    """Largest standard deviation of the blur."""
    coarse: float = 0.2
    """Share of the others whose pixels are as large as two or four."""
    noise: float = 0.5
    """Share of the others with Gaussian noise."""
    noise_sd: float = 0.3
    """Its largest standard deviation."""

    def __post_init__(self) -> None:
        """Raise InputError for shares that are none."""
        shares = (self.untouched, self.mixture, self.fading, self.blur, self.coarse, self.noise)
        if not all(0 <= share <= 1 for share in shares) or self.most_bodies < 1:
            raise InputError("corruption: shares must be in 0..1, and most_bodies at least 1")
        if not (self.blur_pixels > 0 and self.noise_sd >= 0):
            raise InputError("corruption: blur_pixels must be positive, and noise_sd not negative")


def corrupted(
    views: Float[Tensor, "n 4 h w"], maps: Float[Tensor, "n bone h w"], faults: Corruption, generator: torch.Generator
) -> tuple[Float[Tensor, "n 4 h w"], Float[Tensor, "n bone h w"]]:
    """Views with faults and the maps that they deserve; single views of many persons, who lend each other bodies."""
    n = len(views)
    both = torch.cat([views, maps], 1)  # the same fate
    touched = torch.rand(n, generator=generator) >= faults.untouched

    def some(share: float) -> Tensor:
        return touched & (torch.rand(n, generator=generator) < share)

    both = _mixed(both, some(faults.mixture), faults.most_bodies, generator)
    left = torch.where(some(faults.fading), 0.2 + 0.8 * torch.rand(n, generator=generator), 1.0)
    both = both * left[:, None, None, None].to(both)
    both = _blurred(both, some(faults.blur), faults.blur_pixels, generator)
    both = _coarse(both, some(faults.coarse), generator)
    views, maps = both[:, : views.shape[1]], both[:, views.shape[1] :]
    strength = some(faults.noise) * faults.noise_sd * torch.rand(n, generator=generator)
    noise = strength[:, None, None, None] * torch.randn(views.shape, generator=generator)
    return views + noise.to(views), maps.clamp(0, 1)


def _mixed(both: Tensor, chosen: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Convex mixtures with 1 to `most` others, whose joint weight is uniform."""
    n, own = len(both), torch.rand(len(both), generator=generator)
    number = torch.randint(1, most + 1, (n,), generator=generator)
    others, mixture = chosen.nonzero()[:, 0], both.clone()
    given = torch.randint(n, (most, n), generator=generator)
    for index in others.tolist():
        lent = both[given[: int(number[index]), index]].mean(0)
        mixture[index] = own[index] * both[index] + (1 - own[index]) * lent
    return mixture


def _blurred(both: Tensor, chosen: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """One strength per call for all that are chosen: a batch has many calls."""
    sigma = 0.4 + (most - 0.4) * float(torch.rand((), generator=generator)) if most > 0.4 else most
    reach = max(1, round(3 * sigma))
    place = torch.arange(-reach, reach + 1, dtype=both.dtype, device=both.device)
    line = torch.exp(-place.square() / (2 * sigma**2))
    line = line / line.sum()
    index = chosen.nonzero()[:, 0]
    if len(index) == 0:
        return both
    x = both[index].flatten(0, 1)[:, None]
    x = torch.nn.functional.conv2d(x, line.view(1, 1, -1, 1), padding=(reach, 0))
    x = torch.nn.functional.conv2d(x, line.view(1, 1, 1, -1), padding=(0, reach))
    out = both.clone()
    out[index] = x[:, 0].unflatten(0, (len(index), both.shape[1]))
    return out


def _coarse(both: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    index = chosen.nonzero()[:, 0]
    if len(index) == 0:
        return both
    factor = 2 if float(torch.rand((), generator=generator)) < 0.5 else 4
    small = torch.nn.functional.avg_pool2d(both[index], factor)
    out = both.clone()
    out[index] = torch.nn.functional.interpolate(small, size=both.shape[-2:], mode="bilinear", align_corners=False)
    return out
