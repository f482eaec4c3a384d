"""`hmralign synth`: annotated synthetic persons with masks, in shards that a killed run continues.

Persons are observed with the noise of their configuration, or by a detector that looks at their pictures (`detected`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from hmralign.data.shards import content_hash, shard_length, write_index, write_shard
from hmralign.data.synthetic.generator import Generator
from hmralign.detection.catalogue import DetectorSetting, running_detector
from hmralign.detection.detection import Detector
from hmralign.detection.person_crop import LARGEST_CROP
from hmralign.rendering.scenes.background import read_backgrounds
from hmralign.rendering.scenes.crops import SceneMix, rendered_crops
from hmralign.storage.json_file import read_json
from hmralign.storage.run_record import plain, require_same_run
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import remove_parts, write_whole
from hmralign.structures import Example, InputError
from hmralign.structures.counted import counted
from hmralign.systems.synth.detected import Looking, detected_examples
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
    detector: str | None = None
    """Detector that reads the persons off their pictures; None for keypoints with the noise of the configuration."""
    detector_folder: str | None = None
    """Folder of its models, for those that have one."""
    detector_side: int = 320
    """Side of the pictures that it looks at, pixels; the crops that are kept are cut out of them."""


def observed_examples(
    source: Generator,
    n: int,
    config: SynthConfig,
    generator: torch.Generator,
    device: str | torch.device = "cpu",
    backgrounds: Sequence[UInt8[Tensor, "3 _ _"]] = (),
    detector: Detector | None = None,
) -> Example:
    """`n` examples with masks, and with pictures where they are asked for; fewer where a detector does not find all."""
    example, seen = source.sample_seen(n, generator)
    if detector is not None and config.pictures is not None:
        looking = Looking(detector, config.detector_side, config.pictures)
        return detected_examples(source.model, example, seen, looking, config.scene, generator, backgrounds)[0]
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

    Whom a detector does not find is left out; the index says how many they were (`not_found`).

    Raises InputError for sizes below 1, for a folder that holds shards of another configuration, pose file or body, for
    a detector that is not there (`make_detector`) or that finds nobody at all.
    """
    _check(config)
    source = make_generator(training)
    behind = [] if config.backgrounds is None else read_backgrounds(config.backgrounds)
    with _detector_of(config, device) as detector:
        facts = _facts(config, training, source, behind, detector)
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
            write_shard(folder, k, observed_examples(source, size, config, generator, device, behind, detector))
            logger.info("shard %d of %d", k + 1, count)
    if config.detector is None:
        write_index(folder, examples=config.examples, **facts)
        return folder
    found = sum(map(shard_length, folder.glob("shard_*.safetensors")))
    if found == 0:
        raise InputError(f"{folder}: the detector found none of {counted(config.examples, 'rendered person')}")
    write_index(folder, examples=found, not_found=config.examples - found, **facts)
    return folder


def _check(config: SynthConfig) -> None:
    """Raises InputError for numbers and choices that do not fit together."""
    if config.examples < 1 or config.shard_size < 1:
        raise InputError(f"examples and shard size must be positive, got {config.examples} and {config.shard_size}")
    if config.backgrounds is not None and config.pictures is None:
        raise InputError("backgrounds are given, but no pictures are drawn")
    if config.detector is not None and config.pictures is None:
        raise InputError("a detector is given, but no pictures are drawn that it could look at")
    if config.detector is None and config.detector_folder is not None:
        raise InputError("a detector folder is given, but no detector")
    for side, what in ((config.pictures, "pictures"), (config.detector_side, "pictures for the detector")):
        if side is not None and not 16 <= side <= LARGEST_CROP:
            raise InputError(f"{what} of {side} pixels; expected 16 to {LARGEST_CROP}")


def _detector_of(config: SynthConfig, device: str | torch.device) -> AbstractContextManager[Detector | None]:
    """The detector of a configuration, which ends with the block; raises InputError as `make_detector`."""
    if config.detector is None:
        return nullcontext()
    where = None if config.detector_folder is None else Path(config.detector_folder)
    return running_detector(config.detector, DetectorSetting(where, device, one_person=True))


def _facts(
    config: SynthConfig,
    training: BaseTrainingConfig,
    source: Generator,
    behind: Sequence[Tensor],
    detector: Detector | None,
) -> dict:
    """Everything that the bytes of the shards depend on."""
    synth = asdict(config)
    unused = set() if config.pictures is not None else {"pictures", "scene", "backgrounds"}
    if config.detector is None:
        unused |= {"detector", "detector_folder", "detector_side"}
    # As shards without pictures, or without a detector, always said.
    synth = {name: value for name, value in synth.items() if name not in unused}
    if behind:  # the pictures count, not where they lie
        synth["backgrounds"] = content_hash({f"{number:05d}": picture for number, picture in enumerate(behind)})
    if detector is not None:
        synth["detector_versions"] = dict(getattr(detector, "versions", {}))
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
