"""Where the persons of groups come from: shards of examples, splits of data sets, photos, or the user's own reader."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.data.images import LoadedImage, load_image
from hmralign.data.shards import ShardSet, content_hash, open_shards, read_index, source_of
from hmralign.data.synthwild_folder import read_split, split_facts
from hmralign.detection.detection import Detector
from hmralign.detection.find_people import find_people, tell_whose_sides_are_doubtful
from hmralign.detection.observe import MIN_KEYPOINTS, camera_of, landmarks_of, observe
from hmralign.detection.person_crop import with_crops
from hmralign.overlays.overlay import cut_photo, person_window
from hmralign.structures import Example, InputError, Landmarks3d, Observation
from hmralign.structures.counted import counted

CROP_SIDE = 512
"""Longest side of a stored picture of a person, pixels."""

PHOTOS_OF_A_UNIT = 16
"""Photos that are lost at most when a worker is killed (`engines`)."""


@dataclass(frozen=True)
class SourceBatch:
    """Persons of one shard, or a photo that gives none and why."""

    ids: tuple[str, ...]
    example: Example | None
    crops: tuple[bytes | None, ...] | None = None
    crop_windows: Float[Tensor, "person 4"] | None = None
    skipped: str | None = None


@runtime_checkable
class GroupSource(Protocol):
    """Persons in a fixed order. Implement it to build groups from a dataset of your own."""

    @property
    def name(self) -> str:
        """For the records, such as `wild/train`; what is trained on it may not be tested on it."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the content: a store is continued only with the same one."""
        ...

    @property
    def has_truth(self) -> bool:
        """Whether examples have annotations."""
        ...

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """Persons that are not `done`, at most `size` at once, always cut in the same places."""
        ...


@runtime_checkable
class DividedSource(GroupSource, Protocol):
    """A source whose persons come in units that can be read apart, in any order and by any process."""

    def units(self, size: int) -> list[tuple[str, ...]]:
        """Names of the persons, or of the photos, of each unit, in the order of `batches`."""
        ...

    def unit(self, number: int, size: int) -> Iterator[SourceBatch]:
        """One unit: what `batches` gives of it."""
        ...


@dataclass(frozen=True)
class ShardSource:
    """Examples of a shard folder: a split of SynthWild (`hmralign bench`), or `hmralign synth`."""

    name: str
    sha256: str
    shards: ShardSet
    persons: int

    has_truth = True

    @staticmethod
    def open(folder: Path, persons: int | None = None) -> ShardSource:
        """The first persons of a folder, or all. Raises InputError as `open_shards`, and for a number it has not."""
        facts = read_index(folder)
        if "benchmark" in facts:
            split_name = str(facts.get("split"))
            split = read_split(folder, split_name, split_facts(folder, split_name))
            name, sha256, shards = split.name, split.sha256, split.shards
        else:
            shards = open_shards(folder)
            name, sha256 = source_of(facts), content_hash(shards.tensors)
        if persons is not None and not 1 <= persons <= len(shards):
            raise InputError(f"{folder}: has {counted(len(shards), 'person')}, {persons} were asked for")
        return ShardSource(name, sha256, shards, len(shards) if persons is None else persons)

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """Blocks of `size` by number; ids are `<source>/<number>`.

        Raises InputError where a part of a block is done: its rest would belong to another shard than in a straight
        run.
        """
        for block in whole_blocks(self._names, size, done):
            yield self._of_block(block)

    def units(self, size: int) -> list[tuple[str, ...]]:
        """The blocks."""
        return [tuple(self._names[block]) for block in blocks(self.persons, size)]

    def unit(self, number: int, size: int) -> Iterator[SourceBatch]:
        """One block."""
        yield self._of_block(blocks(self.persons, size)[number])

    @cached_property
    def _names(self) -> list[str]:
        return [f"{self.name}/{i:06d}" for i in range(self.persons)]

    def _of_block(self, block: slice) -> SourceBatch:
        return SourceBatch(tuple(self._names[block]), self.shards[torch.arange(block.start, block.stop)])


@dataclass(frozen=True)
class DatasetSource:
    """Persons of a data set (`data.dataset`), the first so many or all."""

    labelled: LabelledPersons

    has_truth = True

    @staticmethod
    def open(
        dataset: str, folder: Path, split: str, persons: int | None = None, setting: DatasetSetting | None = None
    ) -> DatasetSource:
        """A split of a data set. Raises InputError as `open_dataset`, and for a number of persons it has not."""
        labelled = open_dataset(dataset, folder, split, setting)
        if persons is not None and not 1 <= persons <= len(labelled):
            raise InputError(f"{folder}: has {counted(len(labelled), 'person')}, {persons} were asked for")
        return DatasetSource(labelled if persons is None else labelled.first(persons))

    @property
    def name(self) -> str:
        """Name of the split."""
        return self.labelled.name

    @property
    def sha256(self) -> str:
        """Hash of all persons of the split."""
        return self.labelled.sha256

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """Blocks of `size` by number; ids are `<name>/<number>`. Raises InputError as `ShardSource.batches`."""
        for block in whole_blocks(self._names, size, done):
            yield self._of_block(block)

    def units(self, size: int) -> list[tuple[str, ...]]:
        """The blocks."""
        return [tuple(self._names[block]) for block in blocks(len(self.labelled), size)]

    def unit(self, number: int, size: int) -> Iterator[SourceBatch]:
        """One block."""
        yield self._of_block(blocks(len(self.labelled), size)[number])

    @cached_property
    def _names(self) -> list[str]:
        return [f"{self.name}/{i:06d}" for i in range(len(self.labelled))]

    def _of_block(self, block: slice) -> SourceBatch:
        return SourceBatch(tuple(self._names[block]), self.labelled.batch(block))


@dataclass(frozen=True)
class PhotoSource:
    """People in photos, found by a detector; a photo that cannot be read or shows nobody is skipped, with the reason.

    Crops of the people are kept in the store, on this machine, for whoever looks at the groups.
    """

    photos: Sequence[Path]
    detector: Detector
    name: str = "photos"
    crop_side: int | None = None
    """Side of the crops that the policy looks at (`policies.policy.crop_side`)."""

    has_truth = False

    @property
    def sha256(self) -> str:
        """Hash of names and sizes of the files. Raises InputError for one that is not there."""
        try:
            sizes = [p.stat().st_size for p in self.photos]
        except OSError as error:
            raise InputError(f"'{error.filename}' cannot be read ({error.strerror}); expected a photo") from error
        text = "\n".join(f"{name} {size}" for name, size in zip(self._names, sizes, strict=True))
        return hashlib.sha256(os.fsencode(text)).hexdigest()

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """One photo at a time, so that no more than one is detected again after a kill; `size` bounds its people."""
        for photo, name in zip(self.photos, self._names, strict=True):
            if not is_done(name, done):
                yield self._of_photo(photo, name, size)

    def units(self, size: int) -> list[tuple[str, ...]]:
        """So many photos at a time that a unit is worth its files; `size` does not count."""
        return [tuple(self._names[block]) for block in blocks(len(self.photos), PHOTOS_OF_A_UNIT)]

    def unit(self, number: int, size: int) -> Iterator[SourceBatch]:
        """The photos of a unit, one at a time."""
        block = blocks(len(self.photos), PHOTOS_OF_A_UNIT)[number]
        for photo, name in zip(self.photos[block], self._names[block], strict=True):
            yield self._of_photo(photo, name, size)

    @cached_property
    def _names(self) -> list[str]:
        return unique_names(self.photos)

    def _of_photo(self, photo: Path, name: str, size: int) -> SourceBatch:
        try:
            image = load_image(photo)
            camera = camera_of(image)
            found = find_people(image, self.detector)
            tell_whose_sides_are_doubtful(image, found)
            people = [p for p in found if (p.confidence > 0).sum() >= MIN_KEYPOINTS][:size]
            if not people:
                return SourceBatch((name,), None, skipped=f"nobody with at least {MIN_KEYPOINTS} keypoints was found")
            seen = with_crops(Observation.stack([observe(p, camera) for p in people]), image.rgb, self.crop_side)
        except InputError as error:
            return SourceBatch((name,), None, skipped=str(error))
        windows = [person_window(box) for box in seen.box]
        return SourceBatch(
            tuple(f"{name}#{n}" for n in range(len(people))),
            Example(seen, None, Landmarks3d.stack([landmarks_of(p) for p in people])),
            tuple(_jpeg(image, window) for window in windows),
            torch.tensor(windows, dtype=torch.float32),
        )


def blocks(number: int, size: int) -> list[slice]:
    """So many persons cut into blocks, always in the same places."""
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


def is_done(name: str, done: Set[str]) -> bool:
    """Whether a person is among those done, or a photo with its people."""
    return name in done or f"{name}#0" in done


def whole_blocks(names: Sequence[str], size: int, done: Set[str]) -> Iterator[slice]:
    """Blocks of `size` persons that are not done, always cut in the same places.

    Raises InputError where a part of a block is done: its rest would belong to another shard than in a straight run.
    """
    for block in blocks(len(names), size):
        ids = names[block]
        there = sum(id_ in done for id_ in ids)
        if 0 < there < len(ids):
            raise InputError(
                f"of '{ids[0]}' to '{ids[-1]}' the store has {there}: it was built with another number of persons; "
                "give that number, or use another folder"
            )
        if not there:
            yield block


def as_stored(observation: Observation) -> Observation:
    """With the mask rounded to bytes, as the store keeps it: what is sampled from is what is trained on."""
    mask = (observation.mask * 255).round() / 255
    return replace(observation, mask=mask)


def unique_names(photos: Sequence[Path]) -> list[str]:
    """File names, with as many parent folders as tell them apart. Raises InputError for a photo given twice."""
    for depth in range(1, max((len(p.parts) for p in photos), default=1) + 1):
        names = ["/".join(p.parts[-depth:]) for p in photos]
        if len(set(names)) == len(names):
            return names
    twice = next(p for n, p in enumerate(photos) if p in photos[:n])
    raise InputError(f"the photo '{twice}' is given twice")


def _jpeg(image: LoadedImage, window: tuple[int, int, int, int]) -> bytes:
    picture, _ = cut_photo(image.rgb, window, max_side=CROP_SIDE)
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()
