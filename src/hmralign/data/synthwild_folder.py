"""SynthWild on disk: one shard folder per split, its slices beside it, its hash held against the frozen one.

    folder/lab_test/index.json, shard_00000.safetensors ...     examples (`data.shards`)
                    slices_00000.safetensors ...                properties that hard cases are sorted by

A frozen file for each version (`synthetic/assets/synthwild_v2.json`) holds, for every split, the hash of its bytes and
the mean and spread of each array. Another processor may round otherwise, so that the hash differs while all means
agree; that is told apart from another benchmark.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hmralign.data.dataset import DatasetFacts
from hmralign.data.shards import ShardSet, content_hash, open_shards, read_index, read_shard, save_whole
from hmralign.data.synthetic.synthwild import SPLITS, VERSIONS, Slices, Split, chunk_sizes, split_of
from hmralign.storage.json_file import parse_json
from hmralign.structures import Example, InputError
from hmralign.structures.counted import counted

Agreement = Literal["identical", "equal up to rounding", "not frozen"]

_TOLERANCE = 2e-4
"""Relative to an array's spread: more than rounding moves a mean, less than any change of the generator does."""

_FLIPS = 2
"""Flags and counts (are legs confident, how many limbs are steep) that may fall on the other side of their threshold
because what is compared with it was rounded otherwise. One of them among 500 persons, the smallest split, moves a share
by 0.002, twenty times what `_TOLERANCE` leaves it. A change of the generator moves many persons, and moves positions,
confidences and rotations too, which are no flags and are allowed nothing but rounding."""


def folder_name(split: str) -> str:
    """`lab/test` -> `lab_test`."""
    return split.replace("/", "_")


def slice_tensors(slices: Slices) -> dict[str, Tensor]:
    """Slices as arrays of their own names."""
    return {name: tensor.contiguous() for name, tensor in slices.tensors().items()}


def write_slices(folder: Path, chunk: int, slices: Slices) -> None:
    """Write one chunk's slices atomically."""
    save_whole(slice_tensors(slices), folder / f"slices_{chunk:05d}.safetensors")


@dataclass(frozen=True)
class BenchmarkSplit:
    """A split in memory; `LabelledPersons` of the data set `synthwild`."""

    name: str
    shards: ShardSet
    slices: Slices
    sha256: str
    agreement: Agreement

    @property
    def examples(self) -> Example:
        """All persons in one batch."""
        return self.shards[torch.arange(len(self.shards))]

    @property
    def facts(self) -> DatasetFacts:
        """What the benchmark says of itself."""
        return DatasetFacts(
            self.name,
            f"{self.benchmark}, made by `hmralign bench`",
            "made here, of poses under free licences (NOTICE)",
            "cam, metres",
        )

    @property
    def benchmark(self) -> str:
        """Name and version."""
        return split_of(self.name).version

    def masks(self) -> dict[str, Tensor]:
        """The reported slices by name."""
        return self.slices.masks()

    def first(self, persons: int) -> BenchmarkSplit:
        """The first so many, with the hash of all."""
        tensors = {name: tensor[:persons] for name, tensor in self.shards.tensors.items()}
        return replace(self, shards=replace(self.shards, tensors=tensors), slices=self.slices[:persons])

    def batch(self, rows: slice) -> Example:
        """Some of the persons."""
        return self.shards[torch.arange(len(self.shards))[rows]]

    def __len__(self) -> int:
        return len(self.shards)


def fingerprint(tensors: dict[str, Tensor]) -> dict[str, list[float]]:
    """Mean and standard deviation of each array."""
    return {k: [float(v.double().mean()), float(v.double().std())] for k, v in sorted(tensors.items())}


def frozen_splits() -> dict[str, dict]:
    """What the frozen file says of each split."""
    assets = files("hmralign.data.synthetic") / "assets"
    parts = (parse_json((assets / f"{version.replace('-', '_')}.json").read_bytes()) for version in VERSIONS)
    return {name: facts for part in parts for name, facts in part["splits"].items()}


def agreement_with(frozen: dict[str, dict], split: str, sha256: str, tensors: dict[str, Tensor]) -> Agreement:
    """How arrays compare with the frozen ones. Raises InputError where they are of another benchmark."""
    if split not in frozen:
        return "not frozen"
    if frozen[split]["sha256"] == sha256:
        return "identical"
    here = fingerprint(tensors)
    for name, (mean, spread) in frozen[split]["fingerprint"].items():
        if name not in here or not _is_rounding(here[name], (mean, spread), tensors[name]):
            found = here.get(name, [float("nan")])[0]
            raise InputError(
                f"split {split}: '{name}' is not that of {split_of(split).version} "
                f"(mean {found:.6g}, frozen {mean:.6g}); it was made by another version of the generator"
            )
    return "equal up to rounding"


def _is_rounding(here: list[float], frozen: tuple[float, float], values: Tensor) -> bool:
    """Whether mean and spread differ from the frozen ones by no more than rounding explains; never where one is NaN."""
    mean, spread = frozen
    near = _TOLERANCE * max(spread, 1e-6)
    moved, widened = abs(here[0] - mean), abs(here[1] - spread)
    if not _is_whole(values):
        return moved <= near and widened <= near
    # A flip changes one value by one: the mean by 1 / n, the sum of squares by at most twice the range plus one.
    flips, n = _FLIPS, max(values.numel() - 1, 1)
    reach = float(values.double().max() - values.double().min()) + 1
    steps = abs(here[1] ** 2 - spread**2) * n / (2 * reach + 1)
    return moved <= max(near, flips / n) and (widened <= near or steps <= flips)


def _is_whole(values: Tensor) -> bool:
    """Whether an array holds flags or counts."""
    return not values.is_floating_point() or bool((values == values.round()).all())


def open_split(folder: str | Path, split: str) -> BenchmarkSplit:
    """Read one split. Raises InputError naming what is missing, damaged, or of another benchmark, and what helps."""
    poses = " --poses FILE" if split_of(split).real_poses else ""
    command = f"`hmralign bench --out {shlex.quote(str(folder))} --splits {split}{poses}`"
    path = Path(folder) / folder_name(split)
    if not path.is_dir():
        raise InputError(f"{path}: no such split; write it with {command}")
    if not (path / "index.json").is_file():
        raise InputError(f"{path}: no index.json, so this is not a finished split; finish it with {command}")
    facts = split_facts(path, split)
    try:
        return read_split(path, split, facts)
    except InputError as error:
        raise InputError(f"{error}; repair it with {command}") from error


def split_facts(path: Path, split: str) -> dict:
    """The index of a finished split. Raises InputError where it is damaged or the folder holds something else."""
    try:
        facts = read_index(path)
    except InputError as error:
        raise InputError(f"{error}; remove the folder {path}, or use another one") from error
    known = SPLITS.get(split)
    if known is None or facts.get("benchmark") != known.version or facts.get("split") != split:
        expected = "a split of SynthWild" if known is None else f"{split} of {known.version}"
        raise InputError(
            f"{path}: holds {facts.get('split')} of {facts.get('benchmark')}, expected {expected}; "
            "remove this folder, or use another one"
        )
    return facts


def read_split(path: Path, split: str, facts: dict) -> BenchmarkSplit:
    """The split in a folder whose index says `facts`. Raises InputError where the arrays are not what it says."""
    shards = open_shards(path)
    slices = read_slices(path, split, len(shards))
    tensors = shards.tensors | slice_tensors(slices)
    sha256 = content_hash(tensors)
    if sha256 != facts.get("sha256"):
        raise InputError(f"{path}: its arrays are not those it was written with")
    return BenchmarkSplit(split, shards, slices, sha256, agreement_with(frozen_splits(), split, sha256, tensors))


def read_slices(path: Path, split: str, expected: int) -> Slices:
    """Slices of a split's folder. Raises InputError where a file is missing, damaged or of another number."""
    parts = []
    for chunk in range(len(chunk_sizes(split_of(split)))):
        parts.append(_read_chunk_slices(path / f"slices_{chunk:05d}.safetensors"))
    try:
        slices = Slices.cat([Slices(**{f.name: part[f.name] for f in fields(Slices)}) for part in parts])
    except KeyError as error:
        raise InputError(f"{path}: slices lack the array {error}") from error
    if len(slices.pitch) != expected:
        raise InputError(f"{path}: {counted(len(slices.pitch), 'slice')} for {counted(expected, 'example')}")
    return slices


def _read_chunk_slices(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{file}: slices are missing or damaged ({error})") from error


def holds_chunk(path: Path, split: Split, chunk: int) -> bool:
    """Whether examples and slices of a chunk are there, can be read, and are of its number."""
    if not (path / f"slices_{chunk:05d}.safetensors").exists():
        return False
    try:
        persons = len(read_shard(path / f"shard_{chunk:05d}.safetensors")["box"])
        slices = _read_chunk_slices(path / f"slices_{chunk:05d}.safetensors")
    except InputError:
        return False
    expected = chunk_sizes(split)[chunk]
    return persons == expected and all(f.name in slices and len(slices[f.name]) == expected for f in fields(Slices))
