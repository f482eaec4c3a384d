"""Labels to be judged: the annotations of a shard folder, or the bodies of a prediction file.

A label becomes a group of hypotheses beside what was observed of the person, as critics take them. Nothing else of the
source is shown to a critic: the annotation is what is judged, never what is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.adapters.persons import AdaptedPersons
from hmralign.adapters.predictions.opened import open_predictions
from hmralign.body.inverse_kinematics import joints_twists_to_pose, twists
from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.data.prediction_file import PredictionFile
from hmralign.data.shards import ShardSet, read_index
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.predictions import carried_over, how_carried_over
from hmralign.structures import Annotation, BodyParams, Example, Hypotheses, TensorRecord

HypothesisChoice = Literal["first", "best"]

AGREEMENT = 0.005
"""Metres, pelvis-relative, up to which annotated joints are those of the annotated body: stored numbers are rounded."""


@dataclass(frozen=True)
class LabelBatch(TensorRecord):
    """Labels of some items as hypotheses (one each, or several to choose from), and the observations."""

    hypotheses: Hypotheses
    example: Example


@runtime_checkable
class LabelSource(Protocol):
    """Labelled persons in a fixed order. Implement it to clean a data set of your own."""

    @property
    def name(self) -> str:
        """For the records, such as `lab/train`."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the content: a run is continued only with the same."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the items, no two the same."""
        ...

    @property
    def detector(self) -> str:
        """Whose keypoints the observations hold."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What else is worth saying of the labels, in the summary; it may not change with anything but the content."""
        ...

    def labels(self, items: slice) -> LabelBatch:
        """Some of the items."""
        ...


@dataclass(frozen=True)
class ShardLabels:
    """The annotations of a shard folder (`hmralign synth`, a split of `hmralign bench`, a cleaned copy)."""

    folder: Path
    source: ShardSource
    body: BodyModel
    detector: str
    ids: tuple[str, ...]
    """`<name>/<number>`."""
    labels_by_joints: int
    """Labels whose joints are not those of their body (`label_body`)."""

    @staticmethod
    def open(folder: Path, body: BodyModel, detector: str = "mediapipe") -> ShardLabels:
        """Read a finished folder. Raises InputError as `ShardSource.open`."""
        source = ShardSource.open(folder)
        ids = tuple(f"{source.name}/{number:06d}" for number in range(len(source.shards)))
        apart = 0
        for items in torch.arange(len(source.shards)).split(4096):
            annotation = source.shards[items].annotation
            assert annotation is not None
            apart += int(joints_apart(annotation, body).sum())
        return ShardLabels(folder, source, body, detector, ids, apart)

    @property
    def name(self) -> str:
        """Name of the split, or `shards:train`."""
        return self.source.name

    @property
    def sha256(self) -> str:
        """Hash of the arrays."""
        return self.source.sha256

    @property
    def shards(self) -> ShardSet:
        """All persons."""
        return self.source.shards

    @property
    def index(self) -> dict[str, Any]:
        """What the folder says of itself."""
        return read_index(self.folder)

    @property
    def facts(self) -> dict[str, Any]:
        """How many labels have joints of their own."""
        return {"kind": "shards", "labels_by_joints": self.labels_by_joints}

    def labels(self, items: slice) -> LabelBatch:
        """One hypothesis each: what a model would be trained on."""
        example = self.shards[torch.arange(len(self.shards))[items]]
        assert example.annotation is not None
        one = label_body(example.annotation, self.body)[:, None]
        return LabelBatch(Hypotheses(one, posed_joints(self.body, one)), Example(example.observation))


@dataclass(frozen=True)
class DatasetLabels:
    """The annotations of a data set (`data.dataset`), read as they are judged; they are never written."""

    labelled: LabelledPersons
    body: BodyModel
    detector: str
    ids: tuple[str, ...]
    """The records' own names, where the data set has them; else `<name>/<number>`."""
    dataset: str = ""
    folder: Path = Path()
    split: str = ""

    @staticmethod
    def open(
        dataset: str, folder: Path, split: str, body: BodyModel, setting: DatasetSetting, detector: str = "mediapipe"
    ) -> DatasetLabels:
        """A split of a data set. Raises InputError as `open_dataset`."""
        labelled = open_dataset(dataset, folder, split, setting)
        if isinstance(labelled, AdaptedPersons):
            ids = tuple(labelled.labels.name.tolist())
        else:
            ids = tuple(f"{labelled.name}/{n:06d}" for n in range(len(labelled)))
        return DatasetLabels(labelled, body, detector, ids, dataset, folder, split)

    @property
    def name(self) -> str:
        """Name of the split."""
        return self.labelled.name

    @property
    def sha256(self) -> str:
        """Hash of the annotations."""
        return self.labelled.sha256

    @property
    def facts(self) -> dict[str, Any]:
        """What the data set says of its labels."""
        facts = self.labelled.facts
        left = self.labelled.faults.record() if isinstance(self.labelled, AdaptedPersons) else {}
        return {
            "kind": "data set", "labels": facts.body, "keypoints": facts.keypoints, "joints": facts.joints,
            "left_out": left,
        }  # fmt: skip

    def labels(self, items: slice) -> LabelBatch:
        """One hypothesis each: the annotated body."""
        example = self.labelled.batch(items)
        assert example.annotation is not None
        one = label_body(example.annotation, self.body)[:, None]
        return LabelBatch(Hypotheses(one, posed_joints(self.body, one)), Example(example.observation))


@dataclass(frozen=True)
class PredictionLabels:
    """What another system predicted (`data.prediction_file`), carried over to the free body as groups of it are."""

    predictions: PredictionFile
    body: BodyModel
    hypothesis: HypothesisChoice = "first"

    @staticmethod
    def open(path: Path, body: BodyModel, hypothesis: HypothesisChoice = "first") -> PredictionLabels:
        """Read a file. Raises InputError as `open_predictions`."""
        return PredictionLabels(open_predictions([path]), body, hypothesis)

    @property
    def name(self) -> str:
        """After the file."""
        return f"predictions:{self.predictions.path.stem}"

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return self.predictions.sha256

    @property
    def ids(self) -> tuple[str, ...]:
        """Those of the file."""
        return self.predictions.ids

    @property
    def detector(self) -> str:
        """As the file says."""
        return self.predictions.detector

    @property
    def facts(self) -> dict[str, Any]:
        """How the bodies were carried over."""
        return {
            "kind": "predictions",
            "hypotheses": self.predictions.num_hypotheses,
            "hypothesis": self.hypothesis,
            "retargeted": self.predictions.skeleton != "free",
            **how_carried_over(self.predictions),
        }

    def labels(self, items: slice) -> LabelBatch:
        """The first hypothesis of each person, or all of them to choose from."""
        some = self.predictions[items]
        with torch.no_grad():
            hypotheses = carried_over(some, self.body)
        if self.hypothesis == "first":
            hypotheses = hypotheses[:, :1]
        return LabelBatch(hypotheses, Example(some.observation))


def joints_apart(annotation: Annotation, model: BodyModel) -> Bool[Tensor, " person"]:
    """Persons whose annotated joints are not those of the annotated body, wherever either stands."""
    own = posed_joints(model, annotation.body)
    difference = (annotation.joints - annotation.joints[:, :1]) - (own - own[:, :1])
    return difference.norm(dim=-1).amax(-1) > AGREEMENT


def label_body(annotation: Annotation, model: BodyModel) -> BodyParams:
    """The body that an annotation stands for in training, which takes its joints, its twists and its shape.

    Where joints are those of the annotated body, that body. Where they are not (labels whose joints were triangulated,
    or are noisy), the body whose bones point along the joints with the annotated twists, placed on the joints by least
    squares: judging the annotated body instead would judge what no model ever sees.
    """
    apart, body = joints_apart(annotation, model), annotation.body
    if not bool(apart.any()):
        return body
    rest = rest_joints(model, body.betas)
    rotmats = joints_twists_to_pose(annotation.joints, twists(body.body_pose, rest), rest)
    along = BodyParams(rotmats[:, 0], rotmats[:, 1:], body.betas, torch.zeros_like(body.transl))
    along = along.with_transl((annotation.joints - posed_joints(model, along)).mean(-2))
    return along.where(apart, body)
