"""SynthWild-Images v1: the persons of SynthWild with pictures, drawn on the fly and the same every time.

The persons are those of the split, bit for bit; the picture of each is a function of (version, split, its chunk). What
is on disk is SynthWild alone (`hmralign bench`): persons are drawn once more to know how they were observed (their
bodies are stretched, which the annotation does not say), and are held against the stored ones.

    hmralign evaluate --dataset synthwild-images --data bench --split wild/test --checkpoint pixel
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.data.dataset import DatasetFacts
from hmralign.data.synthetic.generator import SeenBody
from hmralign.data.synthetic.synthwild import (
    CHUNK,
    World,
    chunk_generator,
    chunk_sizes,
    sample_chunk,
    split_of,
)
from hmralign.data.synthwild_folder import BenchmarkSplit
from hmralign.data.synthwild_folder import open_split as open_persons
from hmralign.rendering.scenes.appearance import AppearanceMix
from hmralign.rendering.scenes.camera_effects import EffectMix
from hmralign.rendering.scenes.crops import AT_ONCE, SceneMix, rendered_crops
from hmralign.storage.seeds import seeded
from hmralign.structures import Example, InputError

IMAGES = "synthwild-images-v1"

CROP_SIDE = 160
"""Side of the crops, pixels."""

SCENES: Mapping[World, SceneMix] = {
    "lab": SceneMix(
        AppearanceMix(bare_torso=0.0, cap=0.0, plain=0.8, loose=(0.0, 0.01)),
        EffectMix(blur=0.2, blur_sd=(0.002, 0.004), noise=(0.0, 0.02), gamma=(0.9, 1.2), grey=0.0, jpeg=0.2),
        beside=0.0, thing_in_front=0.0, pixelated_face=0.0,
    ),
    "broad": SceneMix(beside=0.05, thing_in_front=0.05, pixelated_face=0.0),
    "wild": SceneMix(),
}  # fmt: skip
"""How the worlds look: a laboratory with plain, tight clothes and good cameras, and everything else."""


@dataclass(frozen=True)
class ImageSplit:
    """`LabelledPersons` of a split whose observations have crops."""

    persons: BenchmarkSplit
    count: int

    @property
    def name(self) -> str:
        """Name of the split: what is trained on it may not be tested on it, with pictures or without."""
        return self.persons.name

    @property
    def benchmark(self) -> str:
        """Name and version of pictures and persons."""
        return f"{IMAGES} of {self.persons.benchmark}"

    @property
    def sha256(self) -> str:
        """Hash of the persons; pictures follow from the version."""
        return self.persons.sha256

    @property
    def agreement(self) -> str:
        """How the persons compare with the frozen ones."""
        return self.persons.agreement

    @property
    def facts(self) -> DatasetFacts:
        """What the benchmark says of itself."""
        return replace(self.persons.facts, source=f"{IMAGES}, drawn here of the persons of {self.persons.benchmark}")

    @cached_property
    def examples(self) -> Example:
        """All persons in one batch, drawn when they are first asked for. Raises InputError as `drawn_crops`."""
        example = self.persons.first(self.count).examples
        crop = torch.cat(list(drawn_crops(self.persons.name, example)))
        has_crop = torch.ones(self.count, dtype=torch.bool)
        return replace(example, observation=replace(example.observation, crop=crop, has_crop=has_crop))

    def masks(self) -> Mapping[str, Bool[Tensor, " n"]]:
        """The reported slices by name."""
        return self.persons.first(self.count).masks()

    def first(self, persons: int) -> ImageSplit:
        """The first so many, with the hash of all; their pictures are those that they have among all."""
        return ImageSplit(self.persons, persons)

    def batch(self, rows: slice) -> Example:
        """Some of the persons, out of all of them drawn."""
        return self.examples[rows]

    def __len__(self) -> int:
        return self.count


def open_split(folder: str | Path, split: str) -> ImageSplit:
    """Read one split; pictures are drawn later. Raises InputError as the reader of SynthWild, and for real poses."""
    if split_of(split).real_poses:
        raise InputError(f"{split}: its poses come from a user's file, so it has no pictures that are the same for all")
    persons = open_persons(folder, split)
    return ImageSplit(persons, len(persons))


def drawn_crops(split: str, example: Example) -> Iterator[UInt8[Tensor, "n 3 side side"]]:
    """The pictures of the first persons of a split, chunk by chunk.

    Raises InputError where the persons that are drawn again are not those of the example: another version wrote them.
    """
    facts, done, count = split_of(split), 0, len(example.observation.box)
    body = load_free_body("3k5")
    for chunk in range(len(chunk_sizes(facts))):
        if done >= count:
            return
        again, seen = sample_chunk(facts, chunk, chunk_generator(facts, chunk))
        part = slice(done, min(done + CHUNK, count))
        _require_same(split, example[part], again[: part.stop - part.start])
        yield picture_chunk(split, chunk, again, seen, body, part.stop - part.start)
        done = part.stop


def picture_chunk(
    split: str, chunk: int, example: Example, seen: SeenBody, body: BodyModel, count: int
) -> UInt8[Tensor, "n 3 side side"]:
    """Pictures of the first `count` persons of a chunk."""
    facts = split_of(split)
    draw = seeded(facts.seed, IMAGES, split, chunk)
    # Pictures of a block are drawn together, so whole blocks are drawn and the rest is left out.
    blocks = min(-(-count // AT_ONCE) * AT_ONCE, len(example.observation.box))
    return rendered_crops(body, example[:blocks], seen[:blocks], CROP_SIDE, SCENES[facts.world], draw)[:count]


def _require_same(split: str, stored: Example, again: Example) -> None:
    for name in ("keypoints", "confidence", "box"):
        here, there = (getattr(e.observation, name) for e in (stored, again))
        if not torch.allclose(here, there, rtol=1e-4, atol=1e-2):
            raise InputError(
                f"{split}: the stored persons are not those of {split_of(split).version} ({name} differ); "
                "write them again"
            )
