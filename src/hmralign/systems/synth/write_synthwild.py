"""`hmralign bench`: write the splits of SynthWild, with masks, and hold them against the frozen hashes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import PoseSet, load_pose_file
from hmralign.data.shards import read_shards, write_index, write_shard
from hmralign.data.synthetic.generator import SeenBody
from hmralign.data.synthetic.synthwild import (
    VERSION,
    Slices,
    Split,
    chunk_sizes,
    sample_chunk,
    slices_of,
    split_of,
)
from hmralign.data.synthwild_folder import (
    Agreement,
    agreement_with,
    content_hash,
    folder_name,
    frozen_splits,
    open_split,
    read_slices,
    slice_tensors,
    write_slices,
)
from hmralign.structures import Example, InputError
from hmralign.systems.synth.masks import MaskNoise, drawn_masks

logger = logging.getLogger("hmralign.synth")


def write_benchmark(folder: Path, splits: Sequence[str], poses: Path | None = None) -> dict[str, Agreement]:
    """Write splits that are not there yet; returns how each agrees with the frozen benchmark.

    A killed run continues with the chunk it was at. Raises InputError for an unknown split, a `mocap` split without a
    pose file, and a split that is not the frozen one.
    """
    plans = {name: split_of(name) for name in splits}
    if poses is None and (real := [name for name, split in plans.items() if split.real_poses]):
        raise InputError(f"split {real[0]} takes its poses from a pose file; give one with --poses")
    unseen = load_pose_file(poses, "test") if poses is not None else None
    return {name: _write_split(folder, name, split, unseen) for name, split in plans.items()}


def _write_split(folder: Path, name: str, split: Split, unseen: PoseSet | None) -> Agreement:
    path = folder / folder_name(name)
    if (path / "index.json").exists():
        return open_split(folder, name).agreement
    path.mkdir(parents=True, exist_ok=True)
    chunks = len(chunk_sizes(split))
    for chunk in range(chunks):
        if not (path / f"slices_{chunk:05d}.safetensors").exists():
            example, slices = masked_chunk(split, chunk, unseen)
            write_shard(path, chunk, example)
            write_slices(path, chunk, slices)  # last: a chunk without it is drawn again
            logger.info("%s: chunk %d of %d", name, chunk + 1, chunks)
    shards = read_shards(path)
    tensors = shards.tensors | slice_tensors(read_slices(path, name, len(shards)))
    sha256 = content_hash(tensors)
    agreement = agreement_with(frozen_splits(), name, sha256, tensors)
    source = {"pose_file_sha256": unseen.sha256} if split.real_poses and unseen is not None else {}
    write_index(
        path,
        benchmark=VERSION,
        split=name,
        examples=split.size,
        sha256=sha256,
        skeleton_hash=load_free_body("3k5").skeleton_hash,
        **source,
    )
    return agreement


def masked_chunk(split: Split, chunk: int, unseen: PoseSet | None = None) -> tuple[Example, Slices]:
    """One chunk with masks: a pure function of (version, split, chunk), on one thread for the same rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(split.seed * 1_000_003 + chunk)
        example, seen = sample_chunk(split, chunk, generator, unseen)
        return with_masks(example, seen, split.mask_share, generator), slices_of(example, seen)
    finally:
        torch.set_num_threads(threads)


def with_masks(example: Example, seen: SeenBody, share: float, generator: torch.Generator) -> Example:
    """Spoilt masks for a share of the persons, of the bodies as they were observed."""
    observation = example.observation
    has_mask = torch.rand(len(observation.box), generator=generator) < share
    mask = observation.mask.clone()
    if bool(has_mask.any()):
        chosen = has_mask.nonzero()[:, 0]
        mask[chosen] = drawn_masks(load_free_body("3k5"), example[chosen], seen[chosen], MaskNoise(), generator)
    # Stored as bytes: what is returned is what is read back.
    mask = (mask * 255).round() / 255
    return replace(example, observation=replace(observation, mask=mask, has_mask=has_mask))
