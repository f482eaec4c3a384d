"""`hmralign evaluate --predictions`: what another system predicted, measured as a checkpoint is.

    files -> persons (`adapters.predictions`) -> the record each is of -> its body on ours -> errors under a protocol

Records without a prediction are in no mean, their number stands above the table, and no published figure below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.adapters.persons import AdaptedPersons, cameras
from hmralign.adapters.predictions.opened import open_predictions
from hmralign.body.body_file import BodyFamily, load_body_and_family
from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.data.prediction_file import PredictionFile
from hmralign.evaluation.benchmarks.errors import regressor_of
from hmralign.evaluation.benchmarks.protocol import BenchmarkProtocol, find_protocol
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.prediction_matching import Persons, matched
from hmralign.geometry.cameras import project
from hmralign.preferences.predictions import carried_over, how_carried_over
from hmralign.structures import Hypotheses, InputError
from hmralign.structures.counted import counted
from hmralign.systems.evaluate.benchmark import (
    BenchmarkConfig,
    benchmark_document,
    body_errors,
    why_not_comparable,
    write_benchmark,
)

_ROWS_AT_ONCE, _CARRIED_AT_ONCE = 64, 1024


@dataclass(frozen=True)
class PredictedConfig:
    """What is measured, and on which bodies."""

    split: str = "test"
    """Used where no protocol says it, or one leaves it open."""
    every: int = 1
    """Only every so manieth record, where no protocol says it."""
    body: Path | None = None
    """Body file that errors are measured on; the free body without it."""
    label_body: Path | None = None
    """Body of the labels; `body` where nothing is said."""
    prediction_body: Path | None = None
    """Body file that was predicted; `body` where it is of that family."""
    regressor: Path | None = None
    """J_regressor_h36m.npy, for protocols that need it."""
    persons: int | None = None
    """Only the first so many records; published figures are then not shown."""


def evaluate_predictions(
    paths: Sequence[Path], data: Path, dataset: str, protocol: str | None, config: PredictedConfig, out: Path, *,
    predicted_by: str = "", log: Path | None = None, why: str = "hmralign evaluate --predictions",
) -> dict[str, Any]:  # fmt: skip
    """Measure, and write `benchmark.json` and `benchmark.md`; returns the document.

    Without a protocol 24 joints are measured with the pelvis at the origin. Raises InputError as `open_predictions`,
    `open_dataset` and `matched`, and for a protocol that gives a model what is true.
    """
    asked = _protocol(protocol, dataset, config)
    predictions = open_predictions(paths)
    body, family = _body(config)
    regressor = regressor_of(asked, config.regressor, config.body, body.num_vertices)
    setting = DatasetSetting(
        body=body, label_body=config.label_body or config.body, gender=asked.gender, every=asked.every,
        crop="given" if asked.crop_scale is None else "true_joints", crop_scale=asked.crop_scale or 1.5,
    )  # fmt: skip
    name = predicted_by or predictions.format
    if asked.split.endswith("test"):
        log_opening(log or data / "test_openings.jsonl", f"{dataset}/{asked.split}", why, predictor=name,
                    sha256=predictions.sha256)  # fmt: skip
    persons = open_dataset(dataset, data, asked.split, setting)
    persons = persons if config.persons is None else persons.first(config.persons)
    own_body = _own_body(predictions, config, body, family)
    hypotheses = _carried(predictions, body, own_body)
    found = matched(_records(persons), _predicted(predictions, hypotheses))
    columns = _columns(asked, persons, found, hypotheses, body, regressor)
    predictor = {
        "name": name, "sha256": predictions.sha256, "format": predictions.format, "files": len(paths),
        "predictions": len(predictions), "without": int((found < 0).sum()), "assumed": list(predictions.assumed),
        "bodies": _how(predictions, own_body, body),
    }  # fmt: skip
    why_not = _why_not(body, own_body, config, predictor)
    sampled = {"num_hypotheses": predictions.num_hypotheses}
    document = benchmark_document(asked, predictor, sampled, persons, body, why_not, columns)
    write_benchmark(out, document)
    return document


def _protocol(protocol: str | None, dataset: str, config: PredictedConfig) -> BenchmarkProtocol:
    if protocol is None:
        return BenchmarkProtocol(
            "24-joints", (dataset,), config.split, "smpl24", "smpl24", every=config.every,
            why="no published protocol: the 24 joints of SMPL, pelvis at the origin",
        )  # fmt: skip
    asked = find_protocol(protocol, dataset, config.split)
    if asked.true_depth or asked.candidates != "m":
        raise InputError(
            f"protocol {protocol} averages samples of a HypoNet and gives it the true root depth, which predictions of "
            "a file cannot be; expected another protocol, such as 'clean'"
        )
    return asked


def _body(config: PredictedConfig) -> tuple[BodyModel, BodyFamily]:
    return (load_free_body("3k5"), "free") if config.body is None else load_body_and_family(config.body)


def _own_body(
    predictions: PredictionFile, config: PredictedConfig, body: BodyModel, family: BodyFamily
) -> BodyModel | None:
    """The body that was predicted, where its file is at hand."""
    if config.prediction_body is not None:
        own, found = load_body_and_family(config.prediction_body)
        if found not in (predictions.skeleton, "free"):
            raise InputError(
                f"{config.prediction_body}: is a body of {found}, the predictions are of {predictions.skeleton}"
            )
        return own
    if family == predictions.skeleton:
        return body
    if config.label_body is not None and config.label_body.is_file():
        own, found = load_body_and_family(config.label_body)
        return own if found == predictions.skeleton else None
    return None


@torch.no_grad()
def _carried(predictions: PredictionFile, body: BodyModel, own_body: BodyModel | None) -> Hypotheses:
    parts = [
        carried_over(predictions[slice(first, first + _CARRIED_AT_ONCE)], body, own_body)
        for first in range(0, len(predictions), _CARRIED_AT_ONCE)
    ]
    return Hypotheses.cat(parts)


def _records(persons: LabelledPersons) -> Persons:
    """Boxes are those of the files, else around the true joints in the image."""
    if isinstance(persons, AdaptedPersons):
        boxes = persons.labels.box.copy()
        for first in range(0, len(persons), _CARRIED_AT_ONCE):
            rows = slice(first, first + _CARRIED_AT_ONCE)
            some = persons.labels[rows]
            joints = persons.placed(some, persons.transl[rows]).joints[:, :NUM_JOINTS]
            around = _around(project(joints, cameras(some)[0])).numpy()
            boxes[rows] = np.where(np.isfinite(boxes[rows]), boxes[rows], around)
        return Persons(persons.labels.name.tolist(), persons.labels.image.tolist(), boxes)
    names = [f"{persons.name}/{number:06d}" for number in range(len(persons))]
    return Persons(names, [""] * len(names), np.full((len(names), 4), np.nan))


def _predicted(predictions: PredictionFile, hypotheses: Hypotheses) -> Persons:
    """Boxes are those of the file, else those of the first body's joints in the image where the camera is known."""
    seen = predictions.observation
    around = _around(project(hypotheses.joints[:, 0, :NUM_JOINTS], seen.K))
    boxes = torch.where(torch.isfinite(seen.box), seen.box, around).numpy()
    images = predictions.images or ("",) * len(predictions)
    return Persons(predictions.ids, images, boxes)


def _around(pixels: Float[Tensor, "n joint 2"]) -> Float[Tensor, "n 4"]:
    return torch.cat([pixels.amin(1), pixels.amax(1)], dim=1)


@torch.no_grad()
def _columns(
    asked: BenchmarkProtocol, persons: LabelledPersons, found: np.ndarray, hypotheses: Hypotheses, body: BodyModel,
    regressor: Tensor | None,
) -> dict[str, dict[str, Tensor]]:  # fmt: skip
    """Answer -> metric -> metres of the records that have a prediction."""
    parts: list[dict[str, Tensor]] = []
    size = hypotheses.joints.shape[1]
    at_once = max(1, _ROWS_AT_ONCE // size)  # each hypothesis has a mesh
    for first in range(0, len(persons), at_once):
        rows = np.arange(first, min(first + at_once, len(persons)))
        there = torch.from_numpy(np.flatnonzero(found[rows] >= 0))
        if len(there) == 0:
            continue
        example = persons.batch(slice(int(rows[0]), int(rows[-1]) + 1))
        assert example.annotation is not None
        some = hypotheses[torch.from_numpy(found[rows])[there]]
        parts.append(body_errors(asked, some.body, some.joints, example.annotation[there], body, regressor))
    errors = {metric: torch.cat([part[metric] for part in parts]) for metric in asked.metrics}
    if size == 1:
        return {"prediction": {metric: values[:, 0] for metric, values in errors.items()}}
    return {
        f"min of {size}": {metric: values.amin(1) for metric, values in errors.items()},
        "single (mean error)": {metric: values.mean(1) for metric, values in errors.items()},
        "hypothesis 0": {metric: values[:, 0] for metric, values in errors.items()},
    }


def _how(predictions: PredictionFile, own_body: BodyModel | None, body: BodyModel) -> str:
    if own_body is not None and own_body.skeleton_hash == body.skeleton_hash:
        return f"Bodies are {body.name} as predicted"
    if own_body is not None:
        return f"Bodies of {own_body.name} were carried over to {body.name} (retargeted); joints are their own"
    said = how_carried_over(predictions)
    parts = "; ".join(f"{key} {said[key]}" for key in ("rotations", "betas", "place", "joints"))
    return f"Bodies of {said['skeleton']} were carried over to {body.name} (retargeted): {parts}"


def _why_not(
    body: BodyModel, own_body: BodyModel | None, config: PredictedConfig, predictor: dict[str, Any]
) -> str | None:
    reason = why_not_comparable(body, BenchmarkConfig(persons=config.persons))
    if reason is None and (own_body is None or own_body.skeleton_hash != body.skeleton_hash):
        reason = "the predicted bodies are not of the body that is measured"
    if reason is None and predictor["without"]:
        reason = f"{counted(predictor['without'], 'record')} has no prediction, and its error counts nowhere"
    return reason
