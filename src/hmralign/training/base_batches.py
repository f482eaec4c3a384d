"""Batches of a base model: annotated examples as network input and targets, a pure function of (seed, batch number)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from hmralign.body.inverse_kinematics import twists
from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.data.shards import ShardSet
from hmralign.data.synthetic.generator import Generator
from hmralign.models.context import KeypointFeatures, keypoint_features
from hmralign.models.person_frame import person_frame
from hmralign.models.pose_vector import mirror, pack
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, TensorRecord
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import make_generator, open_all_shards

CODEC_EXAMPLES = 20_000
"""Persons on whom the statistics of pose vectors are measured."""


@dataclass(frozen=True)
class TrainingBatch(TensorRecord):
    """Network input and targets of observations in their person frame."""

    features: KeypointFeatures
    pose_vector: Float[Tensor, "n 130"]
    betas: Float[Tensor, "n betas"]


def training_batch(example: Example, model: BodyModel, mirrored: Bool[Tensor, " n"] | None = None) -> TrainingBatch:
    """Turn annotated examples into input and raw pose vectors (not yet standardised), some of them mirrored."""
    if example.annotation is None:
        raise ValueError("training needs annotated examples")
    frame = person_frame(example.observation)
    body = example.annotation.body
    joints = example.annotation.joints @ frame.R_person_cam.mT
    twist = twists(body.body_pose, rest_joints(model, body.betas))
    features, vector = keypoint_features(example.observation, frame), pack(joints, twist)
    if mirrored is not None:
        features = keypoint_features(example.observation, frame, mirrored=True).where(mirrored, features)
        vector = torch.where(mirrored[:, None], mirror(vector), vector)
    return TrainingBatch(features, vector, body.betas)


class SyntheticBatches(IterableDataset):
    """Endless batches, a pure function of (seed, batch number): resuming at a number gives the same data."""

    BLOCK = 16
    """Batches drawn at once: larger draws cost less per example."""

    def __init__(self, config: BaseTrainingConfig, first_batch: int = 0) -> None:
        self.config = config
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[TrainingBatch]:
        if get_worker_info() is not None:
            torch.set_num_threads(1)
        generator = make_generator(self.config)
        shards = open_all_shards(self.config)
        block, skip = divmod(self.first_batch, self.BLOCK)
        while True:
            yield from self._block(generator, shards, block)[skip:]
            block, skip = block + 1, 0

    def _block(self, generator: Generator, shards: ShardSet | None, block: int) -> list[TrainingBatch]:
        c = self.config
        draw = seeded(c.seed, "batches", block)
        from_shards = round(c.batch_size * c.shard_share) if shards is not None else 0
        parts = []
        if from_shards < c.batch_size:
            fresh = generator.sample((c.batch_size - from_shards) * self.BLOCK, draw)
            parts.append(_split(training_batch(fresh, generator.model), self.BLOCK))
        if shards is not None:
            stored = shards.draw(from_shards * self.BLOCK, draw)
            flip = torch.rand(from_shards * self.BLOCK, generator=draw) < c.mirror_share if c.mirror_share else None
            parts.append(_split(training_batch(stored, generator.model, flip), self.BLOCK))
        return [TrainingBatch.cat(pieces) for pieces in zip(*parts, strict=True)]


def _split(batch: TrainingBatch, parts: int) -> list[TrainingBatch]:
    size = len(batch.betas) // parts
    return [batch[k * size : (k + 1) * size] for k in range(parts)]


def codec_examples(config: BaseTrainingConfig, shards: ShardSet | None) -> Float[Tensor, "n 130"]:
    """Pose vectors on which the codec's statistics are measured: of the generator, or of shards where all is shards."""
    draw = seeded(config.seed, "codec")
    source = make_generator(config)
    if shards is not None and config.shard_share == 1:
        examples = shards.draw(CODEC_EXAMPLES, draw)
    else:
        examples = source.sample(CODEC_EXAMPLES, draw)
    return training_batch(examples, source.model).pose_vector
