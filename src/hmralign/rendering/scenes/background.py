"""Backgrounds of rendered persons: procedural ones, and cuttings of the user's own pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from hmralign.data.images import expand_inputs, load_image
from hmralign.structures import InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.synth")

MOST_BACKGROUNDS = 5000
"""Pictures of a user's own; all are kept in memory."""

_LONGEST = 384
"""Their longest side, pixels."""

_GRIDS = (2, 4, 9, 20, 45)
"""Cells across of each layer of noise."""


def procedural(n: int, size: int, generator: torch.Generator) -> Float[Tensor, "n 3 size size"]:
    """Soft and blocky noise of several sizes about a colour, with a horizon in half of them; RGB in [0, 1]."""
    return draw_walls(n, generator).pictures(size)


@dataclass(frozen=True)
class Walls:
    """What `procedural` is made of, before it is spread over pixels: all that is random about it."""

    horizon: Float[Tensor, " n"]
    """Where the ground begins, in heights of the picture; 0 for no ground."""
    above: Float[Tensor, "n 3"]
    ground: Float[Tensor, "n 3"]
    noise: tuple[Float[Tensor, "n 3 cells cells"], ...]
    """Layers of `_GRIDS`, soft and blocky in turn."""

    def some(self, rows: Int[Tensor, " rows"]) -> Walls:
        """Some of them."""
        return Walls(self.horizon[rows], self.above[rows], self.ground[rows], tuple(grid[rows] for grid in self.noise))

    def pictures(self, size: int) -> Float[Tensor, "n 3 size size"]:
        """Made at half the size: the finest noise is coarser than that."""
        half = (size + 1) // 2
        horizon = self.horizon[:, None] * half
        below = (torch.arange(half) > horizon) & (horizon > 0)  # (n, half)
        # `lerp` by 0 or 1 chooses to the bit, several times as fast as `where`.
        column = self.above[..., None].lerp(self.ground[..., None], below[:, None].float())
        picture = column[..., None].repeat(1, 1, 1, half)
        for number, grid in enumerate(self.noise):
            picture += blocks(grid, half) if number % 2 else interpolate(grid, size=(half, half), mode="bilinear")
        return interpolate(picture.clamp_(0, 1), size=(size, size), mode="bilinear")


def blocks(grid: Float[Tensor, "n 3 cells cells"], size: int) -> Float[Tensor, "n 3 size size"]:
    """Each cell spread over its pixels, as `interpolate` by the nearest cell does, more slowly."""
    cells = grid.shape[-1]
    cell = (torch.arange(size) * torch.tensor(cells / size)).long().clamp(max=cells - 1)
    return grid.index_select(3, cell).index_select(2, cell)


def draw_walls(n: int, generator: torch.Generator) -> Walls:
    """The random part of `n` procedural backgrounds."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator)

    # Most things in photos are rather grey.
    colorful = uniform(1, 1, 1) ** 2

    def colored(noise: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        grey = noise.mean(1, keepdim=True)
        return grey + (noise - grey) * colorful

    horizon = (uniform(1) < 0.5) * (0.25 + 0.5 * uniform(1))
    above, ground = colored(0.05 + 0.9 * uniform(3, 1, 2))[:, :, 0].unbind(-1)
    contrast = uniform(1, 1, 1) ** 1.5
    grids = []
    for number, cells in enumerate(_GRIDS):
        grid = colored(uniform(3, cells, cells) - 0.5) * (contrast * uniform(1, 1, 1) * (1.2 if number < 3 else 0.7))
        if number % 2:  # objects with edges: only where another noise says so
            grid = grid * (uniform(1, cells, cells) < 0.4)
        grids.append(grid)
    return Walls(horizon[:, 0], above, ground, tuple(grids))


def read_backgrounds(folder: str | Path) -> list[UInt8[Tensor, "3 _ _"]]:
    """The pictures of a folder, reduced to `_LONGEST` pixels; those that cannot be read are left out with a warning.

    Raises InputError for a folder without a picture that can be read, or with more than `MOST_BACKGROUNDS`.
    """
    paths = expand_inputs([folder])
    if len(paths) > MOST_BACKGROUNDS:
        raise InputError(
            f"{folder}: has {counted(len(paths), 'picture')}; expected at most {MOST_BACKGROUNDS} backgrounds"
        )
    pictures = []
    for path in paths:
        try:
            loaded = Image.fromarray(load_image(path).rgb)
        except InputError as error:
            logger.warning("no background: %s", error)
            continue
        loaded.thumbnail((_LONGEST, _LONGEST))
        pictures.append(torch.from_numpy(np.array(loaded)).permute(2, 0, 1).contiguous())
    if not pictures:
        raise InputError(f"{folder}: none of its pictures can be read; expected backgrounds")
    return pictures


def cut_from(
    pictures: Sequence[UInt8[Tensor, "3 _ _"]], n: int, size: int, generator: torch.Generator
) -> Float[Tensor, "n 3 size size"]:
    """Random square cuttings of a user's pictures, half of them mirrored; RGB in [0, 1]."""
    cuttings = []
    for _ in range(n):
        picture = pictures[int(torch.randint(len(pictures), (), generator=generator))]
        height, width = picture.shape[1:]
        longest = min(height, width)
        side = int(longest * (0.3 + 0.7 * float(torch.rand((), generator=generator))))
        side = max(1, side)
        top, left = (int(torch.randint(edge - side + 1, (), generator=generator)) for edge in (height, width))
        cutting = picture[None, :, top : top + side, left : left + side].float() / 255
        if float(torch.rand((), generator=generator)) < 0.5:
            cutting = cutting.flip(-1)
        cuttings.append(interpolate(cutting, size=(size, size), mode="bilinear", antialias=True))
    return torch.cat(cuttings)
