"""What a critic is made for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hmralign.body.model import BodyModel
from hmralign.fitting.evidence import KeypointNoise


@dataclass(frozen=True)
class CriticSetting:
    """The hypotheses' body, the keypoints' noise, and what some critics need besides."""

    body: BodyModel
    """Of the hypotheses."""
    noise: KeypointNoise
    """Of the keypoints and landmarks, with the detector's offsets."""
    seed: int = 0
    """Of critics that draw."""
    correlation: float = 0.5
    """Quality of `oracle-noisy`: Spearman, on average over groups."""
    image_size: tuple[int, int] | None = None
    """Width and height in pixels where they are everybody's, for silhouettes."""

    def generator(self) -> torch.Generator:
        """A new generator of the seed."""
        return torch.Generator().manual_seed(self.seed)
