"""HRNet: parallel branches of different resolution that exchange what they see.

Source: Wang et al. 2020 (HRNet), described in its sec. 3; blocks: He et al. 2016, fig. 5. How modules are nested here
is decided by the names of published tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.paper.config import HrnetConfig

EXPANSION = 4
"""Channels that leave a bottleneck, per channel inside it."""


def convolution(inside: int, outside: int, *, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the picture's edges, without bias."""
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


def norm_relu(inside: int, outside: int, *, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, norm, ReLU."""
    return nn.Sequential(
        convolution(inside, outside, size=3, stride=stride), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels, channels, size=3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, size=3)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The block's output."""
        hidden = self.bn1(self.conv1(x)).relu_()
        return (self.bn2(self.conv2(hidden)) + x).relu_()


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside an identity, which is projected where channels change."""

    def __init__(self, inside: int, channels: int) -> None:
        super().__init__()
        outside = EXPANSION * channels
        self.conv1 = convolution(inside, channels, size=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = convolution(channels, channels, size=3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = convolution(channels, outside, size=1)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = None
        if inside != outside:
            self.downsample = nn.Sequential(convolution(inside, outside, size=1), nn.BatchNorm2d(outside))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The block's output."""
        hidden = self.bn1(self.conv1(x)).relu_()
        hidden = self.bn2(self.conv2(hidden)).relu_()
        beside = x if self.downsample is None else self.downsample(x)
        return (self.bn3(self.conv3(hidden)) + beside).relu_()


class Exchange(nn.Module):
    """Blocks on each branch, then every branch adds what all others see at its resolution."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c) for _ in range(blocks))) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_way(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the branches, the finest first."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fused(ways, maps, target) for target, ways in enumerate(self.fuse_layers)]

    @staticmethod
    def _fused(ways: nn.Module, maps: list[Tensor], target: int) -> Tensor:
        assert isinstance(ways, nn.ModuleList)
        parts = [way(x) for way, x in zip(ways, maps, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.relu()


def _way(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch to another: halved step by step towards coarse ones, magnified without filter to fine ones."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            convolution(channels[source], channels[target], size=1),
            nn.BatchNorm2d(channels[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    steps: list[nn.Module] = [
        norm_relu(channels[source], channels[source], stride=2) for _ in range(source + 1, target)
    ]
    last = convolution(channels[source], channels[target], size=3, stride=2)
    return nn.Sequential(*steps, nn.Sequential(last, nn.BatchNorm2d(channels[target])))


def stem_layers(config: HrnetConfig) -> nn.Sequential:
    """Bottlenecks before the branches."""
    wide = EXPANSION * config.stem
    return nn.Sequential(*(Bottleneck(wide if n else config.stem, config.stem) for n in range(config.stem_blocks)))


def first_transition(config: HrnetConfig) -> nn.ModuleList:
    """From the stem to two branches."""
    wide, (fine, coarse) = EXPANSION * config.stem, config.channels[:2]
    return nn.ModuleList([norm_relu(wide, fine), nn.Sequential(norm_relu(wide, coarse, stride=2))])


def next_transition(config: HrnetConfig, branches: int) -> nn.ModuleList:
    """One more branch than there are, from the coarsest; the others pass."""
    new = nn.Sequential(norm_relu(config.channels[branches - 1], config.channels[branches], stride=2))
    return nn.ModuleList([*(nn.Identity() for _ in range(branches)), new])


def stage(config: HrnetConfig, branches: int) -> nn.Sequential:
    """Exchanges between so many branches."""
    channels = config.channels[:branches]
    return nn.Sequential(*(Exchange(channels, config.blocks) for _ in range(config.modules[branches - 2])))
