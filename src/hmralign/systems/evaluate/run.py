"""`hmralign evaluate`: a checkpoint on a split of a data set -> columns per person, slices, calibration, protocol."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.body.npz_file import write_npz
from hmralign.data.dataset import DatasetSetting, LabelledPersons, open_dataset
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.person_errors import MIN_OF, Predicted, Truth, failed, person_errors
from hmralign.evaluation.protocol import Protocol, known_sources, may_have_seen, require_unseen
from hmralign.evaluation.summary import (
    Evaluation,
    calibration_of,
    centred_on,
    fit_on,
    gaussians_of,
    read_recalibration,
    require_recalibration_of,
)
from hmralign.metrics.uncertainty import JointGaussians, Recalibration
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import BodyProposer, crop_side
from hmralign.structures import InputError
from hmralign.systems.evaluate.predict import PredictConfig, predict_in_batches

logger = logging.getLogger("hmralign.evaluate")


@dataclass(frozen=True)
class Measured:
    """An evaluation and what recalibration is fitted on."""

    evaluation: Evaluation
    gaussians: JointGaussians | None
    """Per person and joint about the fused answer; None for groups of one."""
    truth: torch.Tensor
    """True joints of the persons in `gaussians`."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How a checkpoint is evaluated."""

    predict: PredictConfig = field(default_factory=PredictConfig)
    persons: int | None = None
    """Only the first so many persons of the split; the protocol says so."""
    dataset: str = "synthwild"
    """What the data folder holds: one of `data.names.DATASETS`, or the name of code of the user's own."""
    body: Path | None = None
    """Body file that the weights are bound to; the free body where nothing is said."""
    setting: DatasetSetting = field(default_factory=DatasetSetting)
    """Body, gender, boxes and records of a published data set; its `body` and `crop_side` follow from the policy."""


def evaluate_policy(
    policy: str | Path | BodyProposer,
    data: Path,
    split: str,
    config: EvaluateConfig | None = None,
    *,
    recalibration: dict[str, Any] | None = None,
    log: Path | None = None,
    why: str = "hmralign evaluate",
    device: str | torch.device = "cpu",
) -> Measured:
    """Evaluate a policy, or that of a checkpoint, which is opened on `device`, on one split.

    A warning tells of weights whose test figures may be of persons they have seen.

    A test split is opened only after its opening stands in `log` (default: `test_openings.jsonl` in the data folder).
    `recalibration` is a record of `recalibration_record`, of these weights and settings.

    Raises InputError for weights of another skeleton, weights trained on what the split is made of, a split that is
    missing, damaged or not the frozen one.
    """
    config = config or EvaluateConfig()
    predict = config.predict
    body = load_free_body("3k5") if config.body is None else load_body(config.body)
    opened = open_policy(policy, body.to(device), num_steps=predict.sampler.num_steps, detector=predict.detector)
    name, sources = opened.name, opened.trained_on
    require_unseen(sources, split)
    if may_have_seen(sources, split):
        logger.warning(
            "%s does not say what it was trained on; whether the persons of %s were new to it is not known",
            name, split,
        )  # fmt: skip
    if split.endswith("/test") or split == "test":
        log_opening(log or data / "test_openings.jsonl", split, why, predictor=name, sha256=opened.sha256)
    setting = replace(config.setting, body=body, crop_side=crop_side(opened.policy))
    persons = first_persons(open_dataset(config.dataset, data, split, setting), config.persons)
    require_unseen(sources, persons.name)
    protocol = protocol_of(persons, body, config, name, opened.sha256, sources)
    wider = None
    if recalibration is not None:
        wider = read_recalibration(recalibration)
        require_recalibration_of(recalibration, protocol)
    predictions = predict_in_batches(opened.policy, persons.examples.observation, predict)
    return measure(predictions, persons, body, protocol, wider)


Some = TypeVar("Some", bound=LabelledPersons)


def first_persons(split: Some, persons: int | None) -> Some:
    """The split cut to its first persons. Raises InputError for a number it does not have."""
    if persons is None:
        return split
    if not 1 <= persons <= len(split):
        raise InputError(f"persons is {persons}; {split.name} has 1 to {len(split)}")
    return split.first(persons)  # pyright: ignore[reportReturnType] : the same kind, cut


def protocol_of(
    split: LabelledPersons,
    body: BodyModel,
    config: EvaluateConfig,
    predictor: str,
    sha256: str,
    sources: tuple[str, ...],
) -> Protocol:
    """The protocol of a model's evaluation."""
    predict = config.predict
    return Protocol(
        benchmark=split.benchmark,
        split=split.name,
        split_sha256=split.sha256,
        agreement=split.agreement,
        persons=len(split),
        predictor=predictor,
        predictor_sha256=sha256,
        trained_on=known_sources(sources),
        skeleton_hash=body.skeleton_hash,
        mesh_hash=body.mesh_hash,
        num_hypotheses=predict.sampler.num_hypotheses,
        sampler_steps=predict.sampler.num_steps,
        detector=predict.detector,
        refinement=asdict(predict.refinement),
        critics=asdict(predict.selection),
        seed=predict.seed,
        joints=split.facts.joints,
        crop=split.facts.crop,
        keypoints=split.facts.keypoints,
        labels=f"{split.facts.body}; {split.facts.source}",
    )


def measure(
    predictions: Iterator[tuple[slice, Predicted]],
    split: LabelledPersons,
    body: BodyModel,
    protocol: Protocol,
    recalibration: Recalibration | None = None,
) -> Measured:
    """Errors of predictions on a split, whoever made them."""
    examples = split.examples
    assert examples.annotation is not None
    min_of = tuple(m for m in MIN_OF if m <= protocol.num_hypotheses)
    parts, means, covariances, targets = [], [], [], []
    for part, predicted in predictions:
        annotation = examples.annotation
        truth = Truth(annotation.joints[part], vertices(body, annotation.body[part]))
        parts.append(person_errors(predicted, truth, min_of))
        if protocol.num_hypotheses > 1:
            whole = ~failed(predicted)  # failures have no spread; they are counted in the errors
            seen = centred_on(gaussians_of(predicted.joints[whole]), predicted.fused[whole])
            means.append(seen.mean)
            covariances.append(seen.covariance)
            targets.append(annotation.joints[part][whole])
        logger.info("%s: %d of %d persons", split.name, part.stop, len(split))
    columns = {name: torch.cat([p[name] for p in parts]).double().numpy() for name in parts[0]}
    gaussians = JointGaussians(torch.cat(means), torch.cat(covariances)) if means else None
    joints = torch.cat(targets) if targets else examples.annotation.joints
    calibration = {} if gaussians is None else calibration_of(gaussians, joints, recalibration)
    slices = {name: mask.numpy() for name, mask in split.masks().items()}
    return Measured(Evaluation(protocol, columns, slices, calibration), gaussians, joints)


def recalibrate(measured: Measured) -> Recalibration:
    """Fit a recalibration on an evaluation. Raises InputError on a test split and on groups of one."""
    protocol = measured.evaluation.protocol
    if not protocol.split.endswith("/val"):
        raise InputError(f"recalibration is fitted on validation persons, not on {protocol.split}")
    if measured.gaussians is None:
        raise InputError("a group of one hypothesis has no spread to recalibrate")
    return fit_on(measured.gaussians, measured.truth)


def write_columns(path: Path, evaluation: Evaluation) -> None:
    """Per-person columns (metres) as npz, for paired comparisons later."""
    arrays: dict[str, Any] = {name: values.astype(np.float32) for name, values in evaluation.columns.items()}
    arrays["protocol"] = np.array(json.dumps(evaluation.protocol.record()))
    write_npz(path, arrays)
