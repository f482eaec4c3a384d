"""A tiny pixel model that does look at its patches, and persons with pictures of nothing in particular."""

from dataclasses import replace
from pathlib import Path

import torch

from hmralign.models.pixel.checkpoint import save_pixel
from hmralign.models.pixel.pixel_model import PixelConfig, PixelModel
from hmralign.policies.pixel import PixelLitePolicy
from hmralign.structures import Observation
from support.synthetic_persons import BODY, TINY, persons, seeded, tiny_model

CONFIG = PixelConfig(lite=TINY, token=8, channels=(4, 4, 4, 4), depth=1, crop_side=32)


def tiny_pixel_model(config: PixelConfig = CONFIG) -> PixelModel:
    """Weights of the tiny lite model, and a reader whose last layer is not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = PixelModel(config)
        model.load_state_dict(tiny_model().state_dict(), strict=False)
        torch.nn.init.normal_(model.encoder.pixels.out.weight, std=0.3)
    return model.eval()


def tiny_pixel_policy() -> PixelLitePolicy:
    return PixelLitePolicy(tiny_pixel_model(), BODY, num_steps=2)


def tiny_pixel_checkpoint(path: Path) -> Path:
    return save_pixel(path, tiny_pixel_model(), BODY.skeleton_hash, half=False, sources=("tiny",))


def pictured(observation: Observation, seed: int = 0, side: int = 32) -> Observation:
    """The same persons with smooth random crops."""
    n = len(observation.box)
    noise = torch.rand(n, 3, side + 4, side + 4, generator=seeded(seed))
    crop = (torch.nn.functional.avg_pool2d(noise, 5, 1) * 255).to(torch.uint8)
    return replace(observation, crop=crop, has_crop=torch.ones(n, dtype=torch.bool))


def pictured_persons(n: int, seed: int = 0) -> Observation:
    return pictured(persons(n).observation, seed)
