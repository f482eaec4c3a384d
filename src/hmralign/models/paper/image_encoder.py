"""The papers' image encoder: HRNet with a coarse map for the whole picture, a fine one for joints, and a shape.

    crop -> HRNet -> coarse map (width x S/32 x S/32) -> global tokens
                  -> fine map (width/2 x S/4 x S/4)   -> heatmaps -> joints in the picture -> features at joints
                  -> pooled feature                   -> betas

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2; HRNet: Wang et al. 2020. Module
names are those of published tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_BETAS
from hmralign.models.paper.config import PaperConfig
from hmralign.models.paper.hrnet import (
    EXPANSION,
    Bottleneck,
    convolution,
    first_transition,
    next_transition,
    stage,
    stem_layers,
)
from hmralign.models.paper.local_features import sample_map, soft_argmax, token_points
from hmralign.structures import TensorRecord


@dataclass(frozen=True)
class ImageFeatures(TensorRecord):
    """What the encoder sees in pictures; `joints` are -1 to 1 over the picture, `betas` None without a shape head."""

    coarse: Float[Tensor, "person width rows columns"]
    fine: Float[Tensor, "person channels fine_rows fine_columns"]
    joints: Float[Tensor, "person 29 2"]
    betas: Float[Tensor, "person betas"] | None


@dataclass(frozen=True)
class PaperContext(TensorRecord):
    """All that HypoNet's denoiser sees of persons: tokens of the picture, and a feature for each joint and twist."""

    global_tokens: Float[Tensor, "person cell width"]
    local: Float[Tensor, "person 52 channels"]
    betas: Float[Tensor, "person betas"]


class ImageEncoder(nn.Module):
    """HRNet with the heads of HypoNet; ScoreNet's own one has no shape head."""

    init_shape: Tensor

    def __init__(self, config: PaperConfig, *, shape_head: bool = True) -> None:
        super().__init__()
        size, self.quirks = config.encoder, config.quirks
        if shape_head:
            self.register_buffer("init_shape", torch.zeros(NUM_BETAS))
        self.conv1 = convolution(3, size.stem, size=3, stride=2)
        self.bn1 = nn.BatchNorm2d(size.stem)
        self.conv2 = convolution(size.stem, size.stem, size=3, stride=2)
        self.bn2 = nn.BatchNorm2d(size.stem)
        self.layer1 = stem_layers(size)
        self.transition1 = first_transition(size)
        self.stage2 = stage(size, 2)
        self.transition2 = next_transition(size, 2)
        self.stage3 = stage(size, 3)
        self.transition3 = next_transition(size, 3)
        self.stage4 = stage(size, 4)
        wide = [EXPANSION * channels for channels in size.head_channels]
        heads = zip(size.channels, size.head_channels, strict=True)
        self.incre_modules = nn.ModuleList(nn.Sequential(Bottleneck(a, b)) for a, b in heads)
        self.downsamp_modules = nn.ModuleList(_halving(a, b) for a, b in pairwise(wide))
        self.final_feat_layer = nn.Sequential(
            nn.Conv2d(wide[-1], size.shape_width, 1), nn.BatchNorm2d(size.shape_width), nn.ReLU(inplace=True)
        )
        self.pred_beta = nn.Linear(size.shape_width, NUM_BETAS) if shape_head else None
        self.fmap_layer = nn.Conv2d(wide[-1], config.width, 1)
        self.fmap_layer_local = nn.Conv2d(size.channels[0], config.local_width, 1)
        self.hmap_layer = nn.Conv2d(config.local_width, NUM_ALL_JOINTS, 1)

    def forward(self, image: Float[Tensor, "person 3 side side"]) -> ImageFeatures:
        """Features of standardised pictures (`image_input.encoder_input`)."""
        maps = self._branches(image)
        fine = self.fmap_layer_local(maps[0])
        coarse = self._coarse(maps)
        joints = soft_argmax(self.hmap_layer(fine), corner=self.quirks.corner_heatmap)
        return ImageFeatures(self.fmap_layer(coarse), fine, joints, self._betas(coarse))

    def _branches(self, image: Tensor) -> list[Tensor]:
        """Maps of the four branches, the finest first."""
        x = self.bn1(self.conv1(image)).relu_()
        x = self.layer1(self.bn2(self.conv2(x)).relu_())
        maps = self.stage2([way(x) for way in self.transition1])
        maps = self.stage3(_one_more(self.transition2, maps))
        return self.stage4(_one_more(self.transition3, maps))

    def _coarse(self, maps: list[Tensor]) -> Tensor:
        x = self.incre_modules[0](maps[0])
        for widen, halve, finer in zip(self.incre_modules[1:], self.downsamp_modules, maps[1:], strict=True):
            x = widen(finer) + halve(x)
        return x

    def _betas(self, coarse: Tensor) -> Tensor | None:
        if self.pred_beta is None:
            return None
        return self.pred_beta(self.final_feat_layer(coarse).mean((-2, -1))) + self.init_shape

    def context(self, image: Float[Tensor, "person 3 side side"]) -> PaperContext:
        """What the denoiser sees; features of joints are read where the heatmaps say they are."""
        found = self(image)
        assert found.betas is not None
        points = token_points(found.joints, swapped=self.quirks.swapped_midpoints)
        return PaperContext(found.coarse.flatten(2).mT, sample_map(found.fine, points), found.betas)


def _halving(inside: int, outside: int) -> nn.Sequential:
    """3 x 3 convolution with bias to half the resolution, norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inside, outside, 3, 2, 1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


def _one_more(transition: nn.ModuleList, maps: list[Tensor]) -> list[Tensor]:
    """The maps with one more, made from the coarsest."""
    return [way(x) for way, x in zip(transition, [*maps, maps[-1]], strict=True)]
