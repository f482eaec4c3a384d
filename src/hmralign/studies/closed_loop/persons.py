"""Wild persons for the closed loop, drawn on the spot: other seeds than any split of SynthWild, no masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass

import torch

from hmralign.data.synthetic.pose_prior import PriorName
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.preferences.person_source import SourceBatch
from hmralign.structures import Example

TRAIN_SEED, TEST_SEED = 710_001, 730_001
"""Seeds of persons the model learns from, poses of the training prior, and of those it is measured on, poses of the
held-out prior."""


def drawn_persons(count: int, seed: int, prior: PriorName) -> Example:
    """Persons of the wild world with their truth."""
    return world_generator("wild", prior).sample(count, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class DrawnSource:
    """A `GroupSource` of persons in memory. Their truth is not handed on: alignment has no labels."""

    example: Example
    name: str = "drawn:wild"

    has_truth = False

    @property
    def sha256(self) -> str:
        """Hash of the keypoints."""
        return hashlib.sha256(self.example.observation.keypoints.contiguous().numpy().tobytes()).hexdigest()

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """Blocks of `size`."""
        total = len(self.example.observation.box)
        for start in range(0, total, size):
            index = torch.arange(start, min(start + size, total))
            ids = tuple(f"{self.name}/{i:06d}" for i in index.tolist())
            if ids[0] not in done:
                yield SourceBatch(ids, Example(self.example.observation[index]))
