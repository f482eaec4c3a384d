"""`hmralign bench`: write the splits of SynthWild, with masks, and hold them against the frozen hashes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from hmralign import __version__
from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import PoseSet, load_pose_file
from hmralign.data.shards import read_shards, write_index, write_shard
from hmralign.data.synthetic.generator import SeenBody
from hmralign.data.synthetic.synthwild import (
    V1,
    Slices,
    Split,
    chunk_generator,
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
    holds_chunk,
    read_slices,
    read_split,
    slice_tensors,
    split_facts,
    write_slices,
)
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import remove_parts, write_whole
from hmralign.structures import Example, InputError
from hmralign.systems.synth.masks import MaskNoise, drawn_masks

logger = logging.getLogger("hmralign.synth")


def write_benchmark(folder: Path, splits: Sequence[str], poses: Path | None = None) -> dict[str, Agreement]:
    """Write splits that are not there yet; returns how each agrees with the frozen benchmark.

    A killed run continues with the chunk it was at. What is there and is damaged, or was drawn by another program, is
    drawn again, and a warning tells of it.

    Raises InputError for an unknown split, a `mocap` split without a pose file or made from another one, a folder that
    holds something else, and persons that are not the frozen ones though all of them were drawn now.
    """
    plans = {name: split_of(name) for name in splits}
    if poses is None and (real := [name for name, split in plans.items() if split.real_poses]):
        raise InputError(f"split {real[0]} takes its poses from a pose file; give one with --poses")
    unseen = load_pose_file(poses, "test") if poses is not None else None
    return {name: _write_split(folder, name, split, unseen) for name, split in plans.items()}


def _write_split(folder: Path, name: str, split: Split, unseen: PoseSet | None) -> Agreement:
    path = folder / folder_name(name)
    source = {"pose_file_sha256": unseen.sha256} if split.real_poses and unseen is not None else {}
    plan = {"benchmark": split.version, "split": name, "hmralign": __version__, **source}
    if (path / "index.json").exists():
        facts = split_facts(path, name)
        _require_same_poses(path, facts, plan)
        try:
            return read_split(path, name, facts).agreement
        except InputError as error:
            _start_over(path, f"{error}")
    _claim(path, plan)
    kept = _draw_chunks(path, name, split, unseen)
    try:
        return _finish(path, name, split, source)
    except InputError as error:
        if not kept:
            raise
        # Not to be told by its file: a chunk that another version of the generator had left.
        _start_over(path, f"with {kept} chunks of an earlier run, {error}")
    _claim(path, plan)
    _draw_chunks(path, name, split, unseen)
    return _finish(path, name, split, source)


def _require_same_poses(path: Path, earlier: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    key = "pose_file_sha256"
    if earlier.get(key) != plan.get(key):
        raise InputError(
            f"{path}: was made from another pose file ({str(earlier.get(key))[:12]}..., given is "
            f"{str(plan.get(key))[:12]}...); remove this folder, or use another one"
        )


def _claim(path: Path, plan: dict[str, Any]) -> None:
    """Write the plan of an unfinished folder; chunks of another program are removed, other folders are refused."""
    file = path / "plan.json"
    if file.exists():
        try:
            earlier = read_json(file, "the plan of a split")
        except InputError as error:
            raise InputError(f"{error}; remove the folder {path}") from error
        if not isinstance(earlier, dict) or any(earlier.get(key) != plan[key] for key in ("benchmark", "split")):
            raise InputError(f"{path}: holds something else than {plan['split']}; remove it, or use another folder")
        _require_same_poses(path, earlier, plan)
        if earlier == plan:
            remove_parts(path)
            return
    if path.is_dir() and any(path.glob("shard_*.safetensors")):
        _start_over(path, f"{path}: was started by another version of hmralign")
    remove_parts(path)
    write_whole(file, json.dumps(plan))


def _start_over(path: Path, reason: str) -> None:
    """Remove the files of a split. The plan goes first: without it no chunk that is left is taken for a good one."""
    logger.warning("%s: all of it is drawn again", reason)
    for pattern in ("plan.json", "index.json", "slices_*.safetensors", "shard_*.safetensors"):
        for file in path.glob(pattern):
            file.unlink()


def _draw_chunks(path: Path, name: str, split: Split, unseen: PoseSet | None) -> int:
    """Draw the chunks that are not there, or cannot be read; returns how many were kept."""
    chunks = len(chunk_sizes(split))
    missing = [chunk for chunk in range(chunks) if not holds_chunk(path, split, chunk)]
    for chunk in missing:
        example, slices = masked_chunk(split, chunk, unseen)
        write_shard(path, chunk, example)
        write_slices(path, chunk, slices)  # last: a chunk without it is drawn again
        logger.info("%s: chunk %d of %d", name, chunk + 1, chunks)
    return chunks - len(missing)


def _finish(path: Path, name: str, split: Split, source: dict[str, str]) -> Agreement:
    """Hold the chunks against the frozen file and write the index. Raises InputError where they are others."""
    shards = read_shards(path)
    tensors = shards.tensors | slice_tensors(read_slices(path, name, len(shards)))
    sha256 = content_hash(tensors)
    agreement = agreement_with(frozen_splits(), name, sha256, tensors)
    write_index(
        path,
        benchmark=split.version,
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
        generator = chunk_generator(split, chunk)
        example, seen = sample_chunk(split, chunk, generator, unseen)
        holes = "annotated" if split.version == V1 else "observed"
        return with_masks(example, seen, split.mask_share, generator, holes), slices_of(example, seen)
    finally:
        torch.set_num_threads(threads)


def with_masks(
    example: Example, seen: SeenBody, share: float, generator: torch.Generator, holes: Literal["annotated", "observed"]
) -> Example:
    """Spoilt masks for a share of the persons, of the bodies as they were observed."""
    observation = example.observation
    has_mask = torch.rand(len(observation.box), generator=generator) < share
    mask = observation.mask.clone()
    if bool(has_mask.any()):
        chosen = has_mask.nonzero()[:, 0]
        mask[chosen] = drawn_masks(
            load_free_body("3k5"), example[chosen], seen[chosen], MaskNoise(), generator, holes=holes
        )
    # Stored as bytes: what is returned is what is read back.
    mask = (mask * 255).round() / 255
    return replace(example, observation=replace(observation, mask=mask, has_mask=has_mask))
