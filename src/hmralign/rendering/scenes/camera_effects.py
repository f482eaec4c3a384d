"""What cameras and files do to a picture: exposure, colour, blur, noise, JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad


@dataclass(frozen=True)
class EffectMix:
    """Shares are probabilities."""

    blur: float = 0.6
    blur_sd: tuple[float, float] = (0.002, 0.009)
    """Standard deviation of the blur, in sides of the crop."""
    noise: tuple[float, float] = (0.0, 0.05)
    """Standard deviation of sensor noise, RGB in [0, 1]."""
    gamma: tuple[float, float] = (0.7, 1.5)
    grey: float = 0.05
    """Pictures without colour."""
    jpeg: float = 0.6
    jpeg_quality: tuple[int, int] = (30, 90)


def with_effects(
    picture: Float[Tensor, "n 3 size size"], mix: EffectMix, generator: torch.Generator
) -> UInt8[Tensor, "n 3 size size"]:
    """Pictures as they come out of a camera and a file."""
    n = len(picture)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(n, generator=generator))[:, None, None, None]

    blurred = _blurred(picture, picture.shape[-1] * uniform(*mix.blur_sd).flatten())
    picture = torch.where(uniform(0.0, 1.0) < mix.blur, blurred, picture)
    picture = (picture.clamp(1e-3, 1) ** uniform(*mix.gamma)) * uniform(0.7, 1.2)
    picture = torch.where(uniform(0.0, 1.0) < mix.grey, picture.mean(1, keepdim=True), picture)
    picture = picture + uniform(*mix.noise) * torch.randn(picture.shape, generator=generator)
    stored = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    compressed = (torch.rand(n, generator=generator) < mix.jpeg).nonzero()[:, 0].tolist()
    quality = torch.randint(*mix.jpeg_quality, (n,), generator=generator).tolist()
    for index in compressed:
        stored[index] = _through_jpeg(stored[index], quality[index])
    return stored


def _blurred(picture: Float[Tensor, "n 3 h w"], sd: Float[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
    """Gaussian blur, each picture by its own width; the kernel reaches 3 pixels."""
    n, channels, height, width = picture.shape
    offset = torch.arange(-3, 4)
    kernel = torch.exp(-0.5 * (offset / sd[:, None]).square())
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(channels, 0)  # (n * 3, 7)
    flat = pad(picture.reshape(1, n * channels, height, width), (3, 3, 3, 3), mode="replicate")
    across = conv2d(flat, kernel[:, None, None, :], groups=n * channels)
    return conv2d(across, kernel[:, None, :, None], groups=n * channels).view_as(picture)


def _through_jpeg(picture: UInt8[Tensor, "3 h w"], quality: int) -> UInt8[Tensor, "3 h w"]:
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
