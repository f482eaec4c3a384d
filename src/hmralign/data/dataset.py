"""A data set of annotated persons: what it is to evaluation and to preference groups, and what its author writes.

    files on disk -> `Dataset` (facts, examples) -> `open_dataset` -> `LabelledPersons`

Adding one takes a file with a function `(folder, split) -> Dataset` and its line in `names.DATASETS`; one that reads
labels of a body file, or cuts crops out of photos, also takes `setting`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.data.names import DATASETS, dataset_exists
from hmralign.data.shards import content_hash, shard_tensors
from hmralign.structures import Example, InputError
from hmralign.structures.extensions import load_extension, made_by


@dataclass(frozen=True)
class DatasetFacts:
    """What a data set says of itself; every record of what is measured or made with it repeats the name."""

    name: str
    """Such as `mine/val`: what is trained on it may not be tested on it. `/test` at the end marks persons for tables
    (every reading is logged), `/val` those that a recalibration may be fitted on."""
    source: str
    """Who made it, and where it is to be had."""
    licence: str
    """What may be done with it."""
    frame: str
    """Frame and units of the annotations in its files, before they were brought to `cam` and metres."""
    joints: str = "24 joints of the free body"
    """Whose joints the truth is."""
    keypoints: str = "as its files observe them"
    """Whose keypoints the persons are observed with."""
    body: str = "as its files say"
    """Whose body the annotations pose, and what became of it."""
    crop: str = "box of the observed keypoints"
    """What a person's box is around."""

    def __post_init__(self) -> None:
        """Raise InputError where something is not said."""
        for field in ("name", "source", "licence", "frame", "joints", "keypoints", "body", "crop"):
            if not str(getattr(self, field)).strip():
                raise InputError(f"data set '{self.name}' does not say its {field}")


@dataclass(frozen=True)
class DatasetSetting:
    """What a command wants of a data set; an opener with a parameter `setting` is given it."""

    body: BodyModel | None = None
    """The body that the command works on; the free body where nothing is said."""
    label_body: Path | None = None
    """A file of the body that labels belong to, or a folder with one for each gender."""
    gender: Literal["own", "neutral"] = "own"
    """Whether labels pose the body of each person's gender, where there is one, or the neutral one for all."""
    crop_side: int | None = None
    """Side of the crops that a model looks at, pixels; None where nobody wants pixels."""
    crop: Literal["given", "true_joints"] = "given"
    """Boxes: those of the file, or around the observed keypoints where it has none; or around the true joints in the
    image, as published evaluations have them, which is truth that a model gets to see."""
    crop_scale: float = 1.5
    """With `true_joints`: side of the crop in units of the longer side of the box around them."""
    every: int = 1
    """Only every so manieth record."""

    def __post_init__(self) -> None:
        """Raise InputError for a step or a scale that is none."""
        if self.every < 1:
            raise InputError(f"every is {self.every}; expected at least 1")
        if not 0.5 <= self.crop_scale <= 4:
            raise InputError(f"crop_scale is {self.crop_scale}; expected 0.5 to 4")


@runtime_checkable
class Dataset(Protocol):
    """Annotated persons on disk; what the author of a data set writes."""

    @property
    def facts(self) -> DatasetFacts:
        """Name, source, licence, frame."""
        ...

    def examples(self) -> Iterator[Example]:
        """Batches of persons with annotations (`cam` frame, metres, the free body's skeleton), in a fixed order."""
        ...


@runtime_checkable
class LabelledPersons(Protocol):
    """Annotated persons of any data set, in memory or read when they are asked for.

    `isinstance` would ask for `examples`, and with that read all persons: nothing here does so.
    """

    @property
    def facts(self) -> DatasetFacts:
        """What the data set says of itself."""
        ...

    @property
    def name(self) -> str:
        """Name of the data set's split."""
        ...

    @property
    def benchmark(self) -> str:
        """Name and version of what it is a split of."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the arrays."""
        ...

    @property
    def agreement(self) -> str:
        """How they compare with frozen ones."""
        ...

    @property
    def examples(self) -> Example:
        """All persons in one batch."""
        ...

    def masks(self) -> Mapping[str, Bool[Tensor, " n"]]:
        """Slices that are reported apart, by name."""
        ...

    def first(self, persons: int) -> LabelledPersons:
        """The first so many."""
        ...

    def batch(self, rows: slice) -> Example:
        """Some of the persons, read when they are asked for."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class DatasetPersons:
    """`LabelledPersons` of a `Dataset`: no slices, nothing frozen to compare with."""

    facts: DatasetFacts
    examples: Example
    sha256: str
    agreement: str = "not frozen"

    @property
    def name(self) -> str:
        """As the facts say."""
        return self.facts.name

    @property
    def benchmark(self) -> str:
        """The data set's source."""
        return self.facts.source

    def masks(self) -> Mapping[str, Bool[Tensor, " n"]]:
        """None."""
        return {}

    def first(self, persons: int) -> DatasetPersons:
        """The first so many, with the hash of all: a protocol says the number beside it."""
        return replace(self, examples=self.examples[:persons])

    def batch(self, rows: slice) -> Example:
        """Some of them."""
        return self.examples[rows]

    def __len__(self) -> int:
        return len(self.examples.observation.box)


def open_dataset(dataset: str, folder: Path, split: str, setting: DatasetSetting | None = None) -> LabelledPersons:
    """The persons of a data set's split; `dataset` is one of `DATASETS` or the name of code of the user's own.

    `setting` goes to openers that have a parameter of that name, as those of published data sets do; the others have
    one body and no choice of crops.

    Raises InputError for a label body that the data set does not take, a name that is no data set, code that makes
    none, examples that do not fit, and as the data set's own reader does.
    """
    if not dataset_exists(dataset):
        raise InputError(
            f"there is no data set '{dataset}'; expected one of {', '.join(DATASETS)}, or FILE.py:FUNCTION"
        )
    opener = load_extension("datasets", DATASETS.get(dataset, dataset))
    given: dict[str, Any] = {"folder": folder, "split": split}
    if takes_setting(opener):
        given["setting"] = setting or DatasetSetting()
    elif setting is not None and setting.label_body is not None:
        raise InputError(f"{dataset}: its labels need no body file; leave the label body out")
    made = made_by(dataset, opener, **given)
    if _is_labelled(made):
        return made
    if not isinstance(made, Dataset) or not isinstance(made.facts, DatasetFacts):
        raise InputError(f"{dataset}: made a {type(made).__name__}, which is no data set (see `hmralign.data.dataset`)")
    return _read(made, dataset)


def _is_labelled(made: object) -> TypeGuard[LabelledPersons]:
    """Whether something is `LabelledPersons`. Its type is asked: to ask the instance for `examples` would read them."""
    return all(callable(getattr(type(made), method, None)) for method in ("batch", "first", "masks", "__len__"))


def takes_setting(opener: Callable[..., object]) -> bool:
    """Whether what opens a data set wants to know the body and the crops that a command works with."""
    try:
        return "setting" in inspect.signature(opener).parameters
    except ValueError:
        return False


def _read(dataset: Dataset, where: str) -> DatasetPersons:
    batches = []
    for number, batch in enumerate(dataset.examples()):
        _check(batch, f"{where}: batch {number} of '{dataset.facts.name}'")
        batches.append(replace(batch, landmarks3d=None))
    if not batches:
        raise InputError(f"{where}: '{dataset.facts.name}' has no persons")
    examples = Example.cat(batches)
    return DatasetPersons(dataset.facts, examples, content_hash(shard_tensors(examples)))


_SHAPES = {
    "keypoints": (27, 2), "confidence": (27,), "box": (4,), "K": (3, 3), "knows_camera": (), "mask": (48, 48),
    "has_mask": (), "global_orient": (3, 3), "body_pose": (23, 3, 3), "transl": (3,), "joints": (29, 3),
}  # fmt: skip
"""Joints of one person, as the free body's skeleton has them."""


def _check(batch: Example, where: str) -> None:
    if batch.annotation is None:
        raise InputError(f"{where} has no annotations; expected persons whose bodies are known")
    tensors = batch.observation.tensors() | batch.annotation.body.tensors() | {"joints": batch.annotation.joints}
    persons = len(batch.observation.box)
    for name, shape in _SHAPES.items():
        found = tuple(tensors[name].shape)
        if found != (persons, *shape):
            raise InputError(f"{where}: {name} has the shape {found}, expected {(persons, *shape)}")
        if tensors[name].is_floating_point() and not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{where}: {name} holds values that are not finite")
