"""The skeleton network: views of a body -> maps of its bones, and the features in which maps are compared.

Source: DrPose reads skeleton maps off multi-view latents with a U-Net (g_skel); here off pixels. Each view is read by
itself, so that what one view lacks cannot be made up for by another.

`MapFeatures` is the network of the perceptual term. LPIPS weights (Zhang et al. 2018) are for colour pictures and not
ours to ship, and a map of 23 bones is no colour picture; so the features are those of a small network that reads joints
off maps, trained beside the skeleton network: what it looks at in a map is what matters for where joints are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.models.multiview.skeleton_maps import NUM_BONES
from hmralign.structures import InputError
from hmralign.structures.multi_views import VIEW_CHANNELS


@dataclass(frozen=True)
class SkeletonNetworkConfig:
    """Sizes of the two networks."""

    width: int = 16
    """Channels at full resolution; twice and four times as many at half and at a quarter."""
    feature_width: int = 24
    """Channels of the perceptual features at half resolution; twice as many at a quarter."""

    def __post_init__(self) -> None:
        """Raise InputError for widths that cannot be normalised in groups of 8 channels."""
        if self.width % 8 or self.feature_width % 8 or min(self.width, self.feature_width) < 8:
            raise InputError("skeleton network: width and feature_width must be multiples of 8")


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(width // 8, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "n width h w"]) -> Float[Tensor, "n width h w"]:
        """The same size."""
        inside = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            inside = conv(nn.functional.silu(norm(inside)))
        return x + inside


class SkeletonNetwork(nn.Module):
    """g_skel: a small U-Net of three resolutions, one view at a time."""

    def __init__(self, config: SkeletonNetworkConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.stem = nn.Conv2d(VIEW_CHANNELS, w, 3, padding=1)
        self.down_1 = nn.Conv2d(w, 2 * w, 4, stride=2, padding=1)
        self.at_half = ConvBlock(2 * w)
        self.down_2 = nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1)
        self.at_quarter = nn.Sequential(ConvBlock(4 * w), ConvBlock(4 * w))
        self.up_2 = nn.Conv2d(4 * w, 2 * w, 1)
        self.again_half = ConvBlock(2 * w)
        self.up_1 = nn.Conv2d(2 * w, w, 1)
        self.out = nn.Sequential(nn.SiLU(), nn.Conv2d(w, w, 3, padding=1), nn.SiLU(), nn.Conv2d(w, NUM_BONES, 1))
        final = self.out[-1]
        assert isinstance(final, nn.Conv2d) and final.bias is not None
        nn.init.constant_(final.bias, -4.0)  # most of a map is empty

    def forward(self, views: Float[Tensor, "*batch 4 h w"]) -> Float[Tensor, "*batch 23 h w"]:
        """Logits of maps; height and width must be multiples of 4."""
        x = views.reshape(-1, *views.shape[-3:])
        full = self.stem(x)
        half = self.at_half(self.down_1(nn.functional.silu(full)))
        quarter = self.at_quarter(self.down_2(nn.functional.silu(half)))
        half = self.again_half(half + self.up_2(_twice(quarter)))
        logits = self.out(full + self.up_1(_twice(half)))
        return logits.reshape(*views.shape[:-3], *logits.shape[1:])


def _twice(x: Float[Tensor, "n c h w"]) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class MapFeatures(nn.Module):
    """Features of maps at half and at a quarter of their resolution; `joints` is what they were trained for."""

    def __init__(self, config: SkeletonNetworkConfig) -> None:
        super().__init__()
        self.config = config
        w = config.feature_width
        self.fine = nn.Sequential(
            nn.Conv2d(NUM_BONES, w, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(w, w, 3, padding=1)
        )
        self.coarse = nn.Sequential(
            nn.SiLU(), nn.Conv2d(w, 2 * w, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(2 * w, 2 * w, 3, padding=1)
        )
        self.heat = nn.Conv2d(2 * w, NUM_JOINTS, 1)

    def forward(self, maps: Float[Tensor, "*batch 23 h w"]) -> list[Float[Tensor, "n c h2 w2"]]:
        """Features, all batch axes in one."""
        fine = self.fine(maps.reshape(-1, *maps.shape[-3:]))
        return [fine, self.coarse(fine)]

    def joints(self, maps: Float[Tensor, "*batch 23 h w"]) -> Float[Tensor, "*batch 24 2"]:
        """Where joints are, in pixels of the maps, by the mean of a softmax over the coarse features."""
        heat = self.heat(nn.functional.silu(self(maps)[-1]))  # (n, 24, h / 4, w / 4)
        return soft_argmax(heat, 4.0).reshape(*maps.shape[:-3], NUM_JOINTS, 2)


def soft_argmax(heat: Float[Tensor, "n joint h w"], stride: float) -> Float[Tensor, "n joint 2"]:
    """Mean place (x, y) under the softmax of each map, in pixels of a picture `stride` times as fine."""
    height, width = heat.shape[-2:]
    share = heat.flatten(-2).softmax(-1).unflatten(-1, (height, width))
    across, down = (torch.arange(n, dtype=heat.dtype, device=heat.device) for n in (width, height))
    place = torch.stack([(share.sum(-2) * across).sum(-1), (share.sum(-1) * down).sum(-1)], -1)
    return place * stride + (stride - 1) / 2
