"""The papers' classes at tiny size, with random weights that say something, and persons with pixels."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from hmralign.models.paper.checkpoint import PaperModel
from hmralign.models.paper.config import OWN, HrnetConfig, PaperConfig, Quirks
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.structures import Example, Observation
from support.synthetic_persons import BODY, persons, seeded

TINY_HRNET = HrnetConfig(
    stem=8, stem_blocks=1, channels=(8, 8, 8, 8), modules=(1, 1, 1), blocks=1, head_channels=(8, 8, 8, 8),
    shape_width=16,
)  # fmt: skip
TINY_PAPER = PaperConfig(
    width=64, heads=4, feedforward=64, hops=(3, 1), score_width=128, image_size=64, encoder=TINY_HRNET
)
SIDE = 40
"""Pixels of a crop; not the encoder's size, so that it is resized."""


def speaking(module: Any, *picture: int, seed: int = 0) -> Any:
    """Weights of which none is zero or one, in eval mode; norms have the statistics of random pictures of that size."""
    draw = seeded(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=draw)
            if name.endswith("running_var"):
                value.copy_(0.2 + 0.2 * noise.square())
            elif value.ndim > 1:
                value.copy_(noise * (2 / max(1, value.numel() // max(1, len(value)))) ** 0.5)
            elif name.endswith("weight"):
                value.copy_(1 + 0.1 * noise)
            else:
                value.copy_(0.1 * noise)
        if picture:
            _calibrate(module, torch.randn(8, 3, *picture, generator=draw))
    return module.eval().requires_grad_(False)


def _calibrate(encoder: ImageEncoder, pictures: torch.Tensor) -> None:
    """Statistics of these pictures; heatmaps soft enough that the mean of a softmax says more than its peak."""
    norms = [norm for norm in encoder.modules() if isinstance(norm, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    encoder.train()(pictures)
    for norm in norms:
        norm.momentum = 0.1
    encoder.hmap_layer.weight.mul_(0.15)


@lru_cache(maxsize=4)
def tiny_paper(config: PaperConfig = TINY_PAPER) -> PaperModel:
    """Do not write into the result."""
    model = PaperModel(config)
    speaking(model.encoder, 64, 64)
    speaking(model.denoiser)
    model.eval().requires_grad_(False)
    model.denoiser.clear_masked()
    return model


def with_quirks(**changes) -> PaperConfig:
    return replace(TINY_PAPER, quirks=replace(Quirks(), **changes))


def own_config() -> PaperConfig:
    return replace(TINY_PAPER, quirks=OWN)


def tiny_hyponet(config: PaperConfig = TINY_PAPER, **options) -> HypoNetPolicy:
    return HypoNetPolicy(tiny_paper(config), BODY, **options).eval()


def crops(n: int, seed: int = 0, side: int = SIDE) -> torch.Tensor:
    """Smooth random pictures, so that resizing keeps what is in them."""
    coarse = torch.rand(n, 3, 5, 5, generator=seeded(seed))
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return (smooth * 255).round().to(torch.uint8)


def with_pixels(observation: Observation, seed: int = 0) -> Observation:
    n = len(observation.box)
    return replace(observation, crop=crops(n, seed), has_crop=torch.ones(n, dtype=torch.bool))


@lru_cache
def seen_persons(n: int = 4, known: float = 0.5) -> Example:
    """Do not write into the result."""
    example = persons(n, known=known)
    return replace(example, observation=with_pixels(example.observation))
