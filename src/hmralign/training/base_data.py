"""Where the examples of a base model come from: the generator, shards on disk, and what they are called."""

from __future__ import annotations

from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import load_pose_file
from hmralign.data.shards import ShardSet, open_shards, read_index, source_of
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.models.checkpoint import trained_on
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.pose_draws import pose_sources


def shard_folders(config: BaseTrainingConfig) -> tuple[str, ...]:
    """Folders of shards, none or several."""
    if not config.shards:
        return ()
    return (config.shards,) if isinstance(config.shards, str) else config.shards


def open_all_shards(config: BaseTrainingConfig) -> ShardSet | None:
    """All shards of a configuration as one set; None without any. Raises InputError as `open_shards`."""
    sets = [open_shards(folder) for folder in shard_folders(config)]
    if not sets:
        return None
    return ShardSet({name: torch.cat([s.tensors[name] for s in sets]) for name in sets[0].tensors})


def training_sources(config: BaseTrainingConfig) -> tuple[str, ...]:
    """What weights of this configuration are trained on, for `save_checkpoint`."""
    sources = []
    if not config.shards or config.shard_share < 1:
        sources += pose_sources(config.pose_file)
    for folder in shard_folders(config):
        sources.append(source_of(read_index(Path(folder))))
    if config.start_from and Path(config.start_from).suffix == ".safetensors":
        sources += trained_on(config.start_from)
    return tuple(dict.fromkeys(sources))


def make_generator(config: BaseTrainingConfig) -> Generator:
    """The on-the-fly source of a configuration, on the fast free body."""
    poses = load_pose_file(config.pose_file, "train") if config.pose_file else None
    noise = load_measured_noise(config.measured_noise) if config.measured_noise else None
    source = PoseSource(load_pose_prior("train"), config.poses, poses)
    return Generator(load_free_body("3k5"), source, config.data, noise)
