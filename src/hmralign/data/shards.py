"""Shards of examples on disk: observations with low-resolution masks, if asked for with pictures, and annotations.

    folder/
      index.json            format version, body hashes, seed, number of examples per shard
      shard_00000.safetensors ...

Masks are stored as bytes (0..255 for a share of 0..1). Written by `hmralign synth`; read whole, since a shard set for
training fits in memory.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from hmralign.storage.json_file import read_record
from hmralign.storage.whole_file import write_whole
from hmralign.structures import Annotation, BodyParams, Example, InputError, Observation
from hmralign.structures.counted import counted

FORMAT_VERSION = 1
_OBSERVATION = ("keypoints", "confidence", "box", "K", "knows_camera", "mask", "has_mask")
_BODY = ("global_orient", "body_pose", "betas", "transl")
_TENSORS = (*_OBSERVATION, *_BODY, "joints")
_PIXELS = ("crop", "has_crop")
"""In shards with pictures, beside the others."""


def shard_tensors(example: Example) -> dict[str, Tensor]:
    """Flat tensors of a batch of annotated examples."""
    if example.annotation is None:
        raise ValueError("shards hold annotated examples")
    tensors = example.observation.tensors() | example.annotation.body.tensors()
    tensors["mask"] = (tensors["mask"] * 255).round().to(torch.uint8)
    tensors["joints"] = example.annotation.joints
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def content_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of arrays by name, type, shape and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_shard(folder: Path, number: int, example: Example) -> Path:
    """Write one shard atomically."""
    path = folder / f"shard_{number:05d}.safetensors"
    save_whole(shard_tensors(example), path)
    return path


def save_whole(tensors: dict[str, Tensor], path: Path) -> None:
    """Write arrays so that a kill leaves the whole file or none."""
    write_whole(path, save(tensors))  # its own `save_file` leaves a file of another name behind when it is killed


def write_index(folder: Path, **facts) -> None:
    """Write the index last: a folder without one is unfinished."""
    write_whole(folder / "index.json", json.dumps({"format_version": FORMAT_VERSION, **facts}, indent=2))


@dataclass(frozen=True)
class ShardSet:
    """All examples of a folder, in memory."""

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.tensors["box"])

    def __getitem__(self, index: Int[Tensor, " n"]) -> Example:
        """Examples by number, batched."""
        t = {name: tensor[index] for name, tensor in self.tensors.items()}
        t["mask"] = t["mask"].float() / 255
        body = BodyParams(*(t[name] for name in _BODY))
        observation = Observation(*(t[name] for name in _OBSERVATION), *(t.get(name) for name in _PIXELS))
        return Example(observation, Annotation(body, t["joints"]))

    def draw(self, n: int, generator: torch.Generator) -> Example:
        """`n` examples with replacement."""
        return self[torch.randint(len(self), (n,), generator=generator)]


def open_shards(folder: str | Path) -> ShardSet:
    """Read a finished shard folder. Raises InputError naming the file that is missing, newer or damaged."""
    folder = Path(folder)
    examples = read_index(folder).get("examples")
    shards = read_shards(folder)
    if len(shards) != examples:
        raise InputError(
            f"{folder}: shards hold {counted(len(shards), 'example')}, the index says {examples}; a shard is missing"
        )
    return shards


def read_shards(folder: Path) -> ShardSet:
    """All shards that lie in a folder, finished or not. Raises InputError where there are none or one is damaged."""
    files = sorted(folder.glob("shard_*.safetensors"))
    if not files:
        raise InputError(f"{folder}: has no shards")
    parts = [read_shard(path) for path in files]
    if len({frozenset(part) for part in parts}) > 1:
        raise InputError(f"{folder}: some of its shards have pictures and others have none")
    return ShardSet({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def read_index(folder: Path) -> dict:
    """The index of a finished shard folder. Raises InputError where it is missing, newer or damaged."""
    index = folder / "index.json"
    if not index.is_file():
        raise InputError(f"{folder}: no index.json, so this is not a finished shard folder")
    return read_record(index, "the index of a shard folder", FORMAT_VERSION)


def source_of(facts: dict) -> str:
    """Where the persons of a shard folder come from, by its index: a split, also through cleaned copies, or drawn ones.

    What is trained on them must not be tested on that split.
    """
    if "benchmark" in facts:
        return str(facts["split"])
    cleaned_from = facts.get("cleaned_from")
    return str(cleaned_from.get("source", "shards:train")) if isinstance(cleaned_from, dict) else "shards:train"


def shard_length(path: Path) -> int:
    """Examples, or groups, in a shard, by its header alone. Raises InputError for a file that has none."""
    try:
        with safe_open(path, framework="pt") as handle:
            return handle.get_slice("box").get_shape()[0]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a shard ({error})") from error


def read_shard(path: Path) -> dict[str, Tensor]:
    """The arrays of one shard. Raises InputError where it is missing, damaged or has other arrays."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged shard ({error})") from error
    if set(tensors) not in (set(_TENSORS), {*_TENSORS, *_PIXELS}):
        raise InputError(f"{path}: damaged shard (its arrays are {sorted(tensors)}, expected {sorted(_TENSORS)})")
    return tensors
