"""Crops and their labels changed together: zoom, turn, mirror image, occlusion, colour.

    crop (S x S), sample over it -> draws -> crop (I x I), sample over that, which joints are in the picture

What moves pixels moves labels by the same affine; depths, twists and shape do not change but for mirroring.

Source: the recipe of ScoreHypo (Xu et al. 2024), base model of ADHMR: zoom N(1, 0.3), clipped; a turn of up to 30
degrees; a rectangle of noise; mirror images; colour. How far a zoom goes, and how large a rectangle is, is ours. Beyond
the crop that is given everything is black, also where the photo went on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from hmralign.geometry.cameras import apply_affine
from hmralign.models.paper.uvd import mirrored_sample, pack_uvd, unpack_uvd
from hmralign.structures import InputError, TensorRecord


@dataclass(frozen=True)
class CropAugmentation:
    """What is drawn for each crop; `NO_AUGMENTATION` changes nothing."""

    zoom_std: float = 0.3
    """Standard deviation of the factor on the crop's side, about 1; clipped to one of it."""
    turn_degrees: float = 30.0
    """Standard deviation of turns in the picture's plane; clipped to twice that."""
    turn_share: float = 0.6
    """Share of crops that are turned."""
    occlusion_share: float = 0.8
    """Share of crops with a rectangle of noise."""
    occlusion_side: float = 0.5
    """Longest side of a rectangle, of the crop's."""
    mirror_share: float = 0.5
    """Share of mirror images."""
    colour: float = 0.2
    """Each channel is multiplied by 1 plus or minus up to this."""

    def __post_init__(self) -> None:
        """Raise InputError for shares outside of 0 to 1, and zooms and turns without meaning."""
        for name in ("turn_share", "occlusion_share", "mirror_share", "occlusion_side", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augmentation: {name} is {getattr(self, name)}; expected 0 to 1")
        if not 0 <= self.zoom_std < 1 or not 0 <= self.turn_degrees <= 90:
            raise InputError("augmentation: expected a zoom_std from 0 to 1 (excluded), turn_degrees from 0 to 90")


NO_AUGMENTATION = CropAugmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CropDraws(TensorRecord):
    """What happens to each crop; `occluded` is x0, y0, x1, y1 as shares of the side, equal where nothing is hidden."""

    zoom: Float[Tensor, " n"]
    """Factor on the side of what is seen: above 1 the person is smaller."""
    turn: Float[Tensor, " n"]
    """Radians, from x to y."""
    mirrored: Bool[Tensor, " n"]
    occluded: Float[Tensor, "n 4"]
    colour: Float[Tensor, "n 3"]


@dataclass(frozen=True)
class AugmentedCrops(TensorRecord):
    """Pictures of 0 to 1, samples over them, and which joints are inside."""

    image: Float[Tensor, "n 3 side side"]
    x_0: Float[Tensor, "n 133"]
    inside: Bool[Tensor, "n 29"]


def draw_crops(n: int, config: CropAugmentation, generator: torch.Generator) -> CropDraws:
    """Draws of n crops; the same generator state gives the same draws."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator)

    zoom = 1 + (config.zoom_std * torch.randn(n, generator=generator)).clamp(-config.zoom_std, config.zoom_std)
    spread = math.radians(config.turn_degrees)
    turn = (spread * torch.randn(n, generator=generator)).clamp(-2 * spread, 2 * spread)
    turn = torch.where(uniform() < config.turn_share, turn, 0.0)
    side = config.occlusion_side * uniform(2)
    start = uniform(2) * (1 - side)
    hidden = uniform() < config.occlusion_share
    occluded = torch.where(hidden[:, None], torch.cat([start, start + side], dim=-1), 0.0)
    mirrored = uniform() < config.mirror_share
    return CropDraws(zoom, turn, mirrored, occluded, 1 + config.colour * (2 * uniform(3) - 1))


def crop_to_picture(draws: CropDraws, side: int, size: int) -> Float[Tensor, "n 2 3"]:
    """Pixels of the crop to pixels of the picture, before it is mirrored: the middle stays in the middle."""
    scale = size / side / draws.zoom
    c, s = scale * draws.turn.cos(), scale * draws.turn.sin()
    linear = torch.stack([torch.stack([c, -s], dim=-1), torch.stack([s, c], dim=-1)], dim=-2)  # (n, 2, 2)
    middle = torch.full((len(scale), 2, 1), (side - 1) / 2, device=scale.device)
    return torch.cat([linear, (size - 1) / 2 - linear @ middle], dim=-1)


def augmented(
    crop: UInt8[Tensor, "n 3 side side"],
    x_0: Float[Tensor, "n 133"],
    draws: CropDraws,
    size: int,
    generator: torch.Generator,
) -> AugmentedCrops:
    """Pictures of that size and samples over them; `x_0` are samples over the crops at their own size.

    `generator` draws the noise of rectangles, on the CPU.
    """
    side = crop.shape[-1]
    A = crop_to_picture(draws, side, size)
    image = _warped(crop.float() / 255, A, size)
    uv, depth, twist = unpack_uvd(x_0, side)
    sample = pack_uvd(apply_affine(A, uv), depth, twist, size)
    mirrored = draws.mirrored
    image = torch.where(mirrored[:, None, None, None], image.flip(-1), image)
    sample = torch.where(mirrored[:, None], mirrored_sample(sample, size), sample)
    image = (image * draws.colour[..., None, None]).clamp(0, 1)
    image = _occluded(image, draws.occluded, generator)
    seen = unpack_uvd(sample, size)[0]
    inside = ((seen >= -0.5) & (seen <= size - 0.5)).all(-1)
    return AugmentedCrops(image, sample, inside)


def _warped(image: Float[Tensor, "n 3 side side"], A: Float[Tensor, "n 2 3"], size: int) -> Tensor:
    """Bilinear; black outside."""
    side = image.shape[-1]
    back = torch.linalg.inv(A[:, :, :2])
    axis = torch.arange(size, dtype=image.dtype, device=image.device)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(1, -1, 2)
    source = (pixels - A[:, None, :, 2]) @ back.mT  # (n, size * size, 2)
    grid = ((2 * source + 1) / side - 1).view(len(image), size, size, 2)
    return nn.functional.grid_sample(image, grid, align_corners=False)


def _occluded(image: Tensor, box: Float[Tensor, "n 4"], generator: torch.Generator) -> Tensor:
    size = image.shape[-1]
    middle = (torch.arange(size, device=image.device) + 0.5) / size
    x0, y0, x1, y1 = (edge[:, None] for edge in box.unbind(-1))
    columns, rows = (middle >= x0) & (middle < x1), (middle >= y0) & (middle < y1)
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]  # (n, 1, size, size)
    noise = torch.rand(image.shape, generator=generator).to(image.device)
    return torch.where(hidden, noise, image)
