"""`hmralign synth`: annotated synthetic persons with masks, in shards that a killed run continues."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from hmralign.data.shards import content_hash, write_index, write_shard
from hmralign.data.synthetic.generator import Generator
from hmralign.detection.person_crop import LARGEST_CROP
from hmralign.rendering.scenes.background import read_backgrounds
from hmralign.rendering.scenes.crops import SceneMix, rendered_crops
from hmralign.storage.json_file import read_json
from hmralign.storage.run_record import plain, require_same_run
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import remove_parts, write_whole
from hmralign.structures import Example, InputError
from hmralign.systems.synth.masks import MaskNoise, drawn_masks
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import make_generator

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
    masks: MaskNoise = field(default_factory=MaskNoise)
    """How masks are spoilt."""
    pictures: int | None = None
    """Side of the pictures that are drawn of the persons, pixels; None for no pictures."""
    scene: SceneMix = field(default_factory=SceneMix)
    """What the pictures are like."""
    backgrounds: str | None = None
    """Folder of the user's own pictures, which stand behind a share of the persons (`scene.own_backgrounds`)."""


def observed_examples(
    source: Generator,
    n: int,
    config: SynthConfig,
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    backgrounds: Sequence[UInt8[Tensor, "3 _ _"]] = (),
) -> Example:
    """`n` examples with masks, and with pictures where they are asked for."""
    example, seen = source.sample_seen(n, generator)
    mask = drawn_masks(source.model, example, seen, config.masks, generator, device)
    all_have = torch.ones(n, dtype=torch.bool)
    observation = replace(example.observation, mask=mask, has_mask=all_have)
    if config.pictures is not None:
        crop = rendered_crops(source.model, example, seen, config.pictures, config.scene, generator, backgrounds)
        observation = replace(observation, crop=crop, has_crop=all_have.clone())
    return Example(observation, example.annotation)


def write_synthetic_shards(
    config: SynthConfig, training: BaseTrainingConfig, folder: Path, device: str | torch.device = "cpu"
) -> Path:
    """Write shards and, last, the index. Shards already there from the same configuration are kept.

    Raises InputError for sizes below 1 and for a folder that holds shards of another configuration, pose file or body.
    """
    if config.examples < 1 or config.shard_size < 1:
        raise InputError(f"examples and shard size must be positive, got {config.examples} and {config.shard_size}")
    if config.backgrounds is not None and config.pictures is None:
        raise InputError("backgrounds are given, but no pictures are drawn")
    if config.pictures is not None and not 16 <= config.pictures <= LARGEST_CROP:
        raise InputError(f"pictures of {config.pictures} pixels; expected 16 to {LARGEST_CROP}")
    source = make_generator(training)
    behind = [] if config.backgrounds is None else read_backgrounds(config.backgrounds)
    facts = _facts(config, training, source, behind)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, facts)
    remove_parts(folder)
    count = -(-config.examples // config.shard_size)
    for k in range(count):
        if (folder / f"shard_{k:05d}.safetensors").exists():
            continue
        size = min(config.shard_size, config.examples - k * config.shard_size)
        # Persons are drawn many at once, for speed, so they are of a shard of that size; `facts` record both.
        generator = seeded(config.seed, "shard", k)
        write_shard(folder, k, observed_examples(source, size, config, generator, device, behind))
        logger.info("shard %d of %d", k + 1, count)
    write_index(folder, examples=config.examples, **facts)
    return folder


def _facts(config: SynthConfig, training: BaseTrainingConfig, source: Generator, behind: Sequence[Tensor]) -> dict:
    """Everything that the bytes of the shards depend on."""
    synth = asdict(config)
    if config.pictures is None:  # as shards without pictures always said
        synth = {name: value for name, value in synth.items() if name not in ("pictures", "scene", "backgrounds")}
    elif behind:  # the pictures count, not where they lie
        synth["backgrounds"] = content_hash({f"{number:05d}": picture for number, picture in enumerate(behind)})
    facts = {
        "skeleton_hash": source.model.skeleton_hash,
        "mesh_hash": source.model.mesh_hash,
        "pose_file_sha256": None if source.poses.poses is None else source.poses.poses.sha256,
        "measured_noise": training.measured_noise,
        "synth": synth,
        "data": asdict(training.data),
        "poses": asdict(training.poses),
    }
    return plain(facts)


def _claim(folder: Path, facts: dict) -> None:
    """Write the plan of a new folder; an old folder must have the same."""
    plan = folder / "plan.json"
    if plan.exists():
        try:
            there = read_json(plan, "the plan of a shard folder")
        except InputError as error:
            raise InputError(f"{error}; choose a new folder") from error
        require_same_run(folder, there, facts)
    else:
        write_whole(plan, json.dumps(facts))
