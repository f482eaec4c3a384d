"""From the pixels of a crop to what the papers' image encoders take.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2 and 4.2: HypoNet and ScoreNet take
256 x 256 with channels standardised, HMR-Scorer 256 x 192 with channels of 0 to 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hmralign.structures import InputError, Observation

MEAN_RGB = (0.480, 0.457, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet, as HybrIK writes them (0.480 and 0.457, not 0.485 and 0.456)."""


def require_crops(observation: Observation) -> UInt8[Tensor, "*batch 3 side side"]:
    """Pixels of the observed persons. Raises InputError where somebody has none."""
    if observation.crop is None or observation.has_crop is None or not bool(observation.has_crop.all()):
        raise InputError(
            "the model looks at pixels, and these persons have none; expected observations with crops, as photos give "
            "them"
        )
    return observation.crop


def encoder_input(
    crop: UInt8[Tensor, "person 3 side side"], size: int, *, bgr_constants: bool
) -> Float[Tensor, "person 3 size size"]:
    """RGB crops as the encoder of HypoNet or ScoreNet takes them."""
    return standardised(resized(crop, size), bgr_constants=bgr_constants)


def standardised(
    image: Float[Tensor, "person 3 size size"], *, bgr_constants: bool
) -> Float[Tensor, "person 3 size size"]:
    """Channels of 0 to 1 by ImageNet's statistics (`Quirks.bgr_constants`)."""
    mean, std = (torch.tensor(v[::-1] if bgr_constants else v, device=image.device) for v in (MEAN_RGB, STD_RGB))
    return (image - mean[:, None, None]) / std[:, None, None]


def resized(crop: UInt8[Tensor, "person 3 side side"], size: int) -> Float[Tensor, "person 3 size size"]:
    """Channels of 0 to 1 at another size, bilinear, filtered where it shrinks; the outer edges stay the same."""
    image = crop.float() / 255
    if crop.shape[-1] == size:
        return image
    return nn.functional.interpolate(image, (size, size), mode="bilinear", antialias=True).clamp(0, 1)
