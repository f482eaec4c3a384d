"""The pixel model: `lite`'s encoder with a reader of body-part patches in it.

    patches -> small CNNs -> one token per part, each told what the keypoints say -> added to the keypoints' embedding

Without pixels it is the lite model, weight for weight: what the reader adds starts at zero, and is zero for a person
without a crop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.context import Context, KeypointEncoder, KeypointFeatures, ResidualMlp, keypoint_features
from hmralign.models.denoiser import LiteConfig
from hmralign.models.lite import LiteModel
from hmralign.models.person_frame import PersonFrame
from hmralign.models.pixel.part_patches import (
    GEOMETRY,
    LIMB_SHAPE,
    NUM_LIMBS,
    NUM_PARTS,
    TRUNK_SHAPE,
    PartPatches,
    mirrored_patches,
    part_patches,
)
from hmralign.structures import InputError, Observation, TensorRecord


@dataclass(frozen=True)
class PixelConfig:
    """Size of the pixel model."""

    lite: LiteConfig = field(default_factory=LiteConfig)
    """The part that sees keypoints, and the denoiser."""
    token: int = 64
    """Channels of a part's token."""
    channels: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of the convolutions."""
    depth: int = 2
    """Residual blocks over all parts together."""
    crop_side: int = 160
    """Side of the crops it looks at, pixels."""

    def __post_init__(self) -> None:
        """Raise InputError for a denoiser that needs one token per joint, and for other than four convolutions."""
        if self.lite.architecture != "mlp":
            raise InputError("the pixel model's denoiser is the residual MLP; expected architecture 'mlp'")
        if len(self.channels) != 4:
            raise InputError(f"the pixel reader has four convolutions; got channels of {len(self.channels)}")


@dataclass(frozen=True)
class PixelFeatures(TensorRecord):
    """Network input of the pixel encoder."""

    keypoints: KeypointFeatures
    patches: PartPatches


class _PatchReader(nn.Module):
    """Patches of one shape, one token each. Contrast is evened out: light and cloth say little of the pose."""

    def __init__(self, shape: tuple[int, int], channels: tuple[int, ...], token: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for number, outside in enumerate(channels):
            layers += [nn.Conv2d(inside, outside, 3, stride=2 if number else 1, padding=1), nn.ReLU()]
            inside = outside
        cells = (shape[0] // 8) * (shape[1] // 8)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inside * cells, token), nn.ReLU())

    def forward(self, patches: Tensor) -> Float[Tensor, "*batch part token"]:
        flat = patches.reshape(-1, *patches.shape[-3:]).float() / 255
        mean = flat.mean((1, 2, 3), keepdim=True)
        spread = flat.std((1, 2, 3), keepdim=True)
        even = ((flat - mean) / (spread + 0.05)).contiguous(memory_format=torch.channels_last)
        # Half precision pays where the processor has it; training alone is long enough to tell.
        with torch.autocast(even.device.type, torch.bfloat16, enabled=self.training):
            read = self.layers(even)
        return read.float().view(*patches.shape[:-3], -1)


class PixelReader(nn.Module):
    """What patches add to the embedding of the keypoints, and the tilt of each limb that they show."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        width, token = config.lite.context_width, config.token
        self.limbs = _PatchReader(LIMB_SHAPE, config.channels, token)
        self.trunk = _PatchReader(TRUNK_SHAPE, config.channels, token)
        self.part = nn.Parameter(0.1 * torch.randn(NUM_PARTS, token))
        self.expected = nn.Linear(width, NUM_PARTS * token)
        self.token = nn.Sequential(nn.Linear(3 * token + GEOMETRY, 2 * token), nn.SiLU(), nn.Linear(2 * token, token))
        self.join = nn.Linear(NUM_PARTS * token, width)
        self.blocks = nn.Sequential(*(ResidualMlp(width, 2 * width) for _ in range(config.depth)))
        self.out = nn.Linear(width, width)
        self.tilt = nn.Linear(width, NUM_LIMBS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, patches: PartPatches, x: Float[Tensor, "*batch width"]
    ) -> tuple[Float[Tensor, "*batch width"], Float[Tensor, "*batch limbs"]]:
        """`(what is added to x, tilt of each limb)`; `x` is the embedding of the keypoints. Zeros without a crop."""
        read = torch.cat([self.limbs(patches.limbs), self.trunk(patches.trunk)], dim=-2)  # (*B, 10, T)
        expected = self.expected(nn.functional.silu(x)).unflatten(-1, (NUM_PARTS, -1))  # (*B, 10, T)
        part = self.part.expand_as(read)
        tokens = self.token(torch.cat([read, expected, part, patches.geometry], dim=-1))  # (*B, 10, T)
        joined = self.blocks(self.join(tokens.flatten(-2)) + x.detach())  # (*B, W)
        there = patches.has_crop[..., None]
        return self.out(joined) * there, self.tilt(joined) * there


class PixelEncoder(KeypointEncoder):
    """Keypoints, mask and patches of body parts -> one global token and the shape coefficients."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__(config.lite.context_width, config.lite.context_depth)
        self.pixels = PixelReader(config)

    def read(self, features: PixelFeatures) -> tuple[Context, Float[Tensor, "*batch limbs"]]:
        """The context, and the tilt of each limb that the pixels show: sine of its angle away from the camera."""
        x = self.embedded(features.keypoints)
        added, tilt = self.pixels(features.patches, x)
        return self.encoded(x + added, features.keypoints), tilt

    def without_pixels(self, features: KeypointFeatures) -> Context:
        """Persons without a picture: the reader adds nothing, so it is not asked."""
        return super().forward(features)

    def forward(self, features: PixelFeatures) -> Context:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Encode persons; any leading axes."""
        return self.read(features)[0]


class PixelModel(LiteModel):
    """Encoder with pixels, the lite denoiser, pose statistics."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__(config.lite)
        self.pixel_config = config
        self.encoder = PixelEncoder(config)

    def features(self, observation: Observation, frame: PersonFrame, *, mirrored: bool = False) -> PixelFeatures:
        """What is seen of persons. Raises InputError for observations without pixels."""
        patches = part_patches(observation)
        keypoints = keypoint_features(observation, frame, mirrored=mirrored)
        return PixelFeatures(keypoints, mirrored_patches(patches) if mirrored else patches)

    def context(self, features: PixelFeatures) -> Context:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Encode persons."""
        return self.encoder(features)
