"""What cameras and files do to a picture: exposure, colour, blur, noise, JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from hmralign.structures import TensorRecord


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


@dataclass(frozen=True)
class Effects(TensorRecord):
    """What one camera and file do to each of `n` pictures, drawn before there is a picture."""

    blur_sd: Float[Tensor, " n"]
    """Pixels; 0 for none."""
    gamma: Float[Tensor, " n"]
    gain: Float[Tensor, " n"]
    grey: Bool[Tensor, " n"]
    noise: Float[Tensor, "n 3 size size"]
    quality: Int[Tensor, " n"]
    """Quality of the JPEG file; 0 for no such file."""

    def applied(self, picture: Float[Tensor, "n 3 size size"]) -> UInt8[Tensor, "n 3 size size"]:
        """Pictures as they come out; `picture` is changed."""
        if len(blurred := self.blur_sd.nonzero()[:, 0]):
            picture[blurred] = _blurred(picture[blurred], self.blur_sd[blurred])
        picture.clamp_(1e-3, 1).pow_(_spread(self.gamma)).mul_(_spread(self.gain))
        grey = self.grey.nonzero()[:, 0]
        picture[grey] = picture[grey].mean(1, keepdim=True)
        picture.add_(self.noise)
        stored = picture.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        for index in self.quality.nonzero()[:, 0].tolist():
            stored[index] = _through_jpeg(stored[index], int(self.quality[index]))
        return stored


def _spread(value: Float[Tensor, " n"]) -> Float[Tensor, "n 1 1 1"]:
    return value[:, None, None, None]


def draw_effects(n: int, size: int, mix: EffectMix, generator: torch.Generator) -> Effects:
    """Effects on `n` pictures of that side."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    sd = size * uniform(*mix.blur_sd)
    sd = sd * (uniform(0.0, 1.0) < mix.blur)
    gamma, gain = uniform(*mix.gamma), uniform(0.7, 1.2)
    grey = uniform(0.0, 1.0) < mix.grey
    strength = _spread(uniform(*mix.noise))
    noise = torch.randn(n, 3, size, size, generator=generator).mul_(strength)
    compressed = torch.rand(n, generator=generator) < mix.jpeg
    quality = torch.randint(*mix.jpeg_quality, (n,), generator=generator) * compressed
    return Effects(sd, gamma, gain, grey, noise, quality)


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
