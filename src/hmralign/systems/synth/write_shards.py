"""`hmralign synth`: annotated synthetic persons with masks, in shards that a killed run continues."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.generator import Generator
from hmralign.structures import Example, InputError
from hmralign.systems.synth.masks import MaskNoise, crop_silhouettes, spoil
from hmralign.training.base import BaseTrainingConfig, make_generator

logger = logging.getLogger("hmralign.synth")


@dataclass(frozen=True)
class SynthConfig:
    """What to write."""

    examples: int = 100_000
    """Number of examples."""
    shard_size: int = 5_000
    """Examples per shard."""
    seed: int = 1_000
    """Seed; shard k is a pure function of (seed, k)."""
    masks: MaskNoise = MaskNoise()
    """How masks are spoilt."""


def masked_examples(source: Generator, n: int, masks: MaskNoise, generator: torch.Generator) -> Example:
    """`n` examples with masks; image sizes are twice the principal point, as the generator makes them."""
    example = source.sample(n, generator)
    parts = []
    for start in range(0, n, 500):  # bounds the memory of the vertices
        part = _slice(example, slice(start, start + 500))
        image_size = 2 * part.observation.K[:, :2, 2] + 1
        mask = spoil(crop_silhouettes(source.model, part), part, image_size, masks, generator)
        parts.append(mask)
    observation = replace(example.observation, mask=torch.cat(parts), has_mask=torch.ones(n, dtype=torch.bool))
    return Example(observation, example.annotation)


def _slice(example: Example, index: slice) -> Example:
    assert example.annotation is not None
    annotation = replace(
        example.annotation, body=example.annotation.body[index], joints=example.annotation.joints[index]
    )
    return Example(example.observation[index], annotation)


def write_synthetic_shards(config: SynthConfig, training: BaseTrainingConfig, folder: Path) -> Path:
    """Write shards and, last, the index. Shards already there from the same configuration are kept."""
    if config.examples < 1 or config.shard_size < 1:
        raise InputError(f"examples and shard size must be positive, got {config.examples} and {config.shard_size}")
    folder.mkdir(parents=True, exist_ok=True)
    facts = json.loads(json.dumps({"synth": asdict(config), "data": asdict(training.data), "poses": asdict(training.poses)}))
    plan = folder / "plan.json"
    if plan.exists() and json.loads(plan.read_text()) != facts:
        raise InputError(f"{folder}: holds shards of another configuration; choose a new folder")
    plan.write_text(json.dumps(facts))
    source = make_generator(training)
    count = -(-config.examples // config.shard_size)
    for k in range(count):
        if (folder / f"shard_{k:05d}.safetensors").exists():
            continue
        size = min(config.shard_size, config.examples - k * config.shard_size)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + k)
        write_shard(folder, k, masked_examples(source, size, config.masks, generator))
        logger.info("shard %d of %d", k + 1, count)
    body = load_free_body("3k5")
    write_index(folder, examples=config.examples, skeleton_hash=body.skeleton_hash, mesh_hash=body.mesh_hash, **facts)
    return folder
