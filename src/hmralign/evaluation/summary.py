"""From per-person columns to a table with intervals, by slice, with calibration: plain values, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.evaluation.person_errors import FAILURE_ERROR
from hmralign.evaluation.protocol import FORMAT_VERSION, Protocol
from hmralign.metrics.intervals import Interval, bootstrap_mean, paired_difference
from hmralign.metrics.uncertainty import (
    JointGaussians,
    Recalibration,
    Reliability,
    fit_recalibration,
    joint_gaussians,
    relative_truth,
    reliability,
)
from hmralign.storage.run_record import plain
from hmralign.structures import InputError

CALIBRATED_JOINTS = JOINT_NAMES[1:NUM_JOINTS]
"""Joints of a recalibration, in order: the 24 without the pelvis."""


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one predictor on one split."""

    protocol: Protocol
    columns: dict[str, Float[np.ndarray, " persons"]]
    """Metres per person, see `person_errors`."""
    slices: dict[str, Bool[np.ndarray, " persons"]]
    calibration: dict[str, Reliability]
    """`as predicted`, and `recalibrated` where a recalibration was given; empty for groups of one."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON: the protocol, means with intervals in mm, slices, calibration. No times, no paths."""
        everybody = np.ones(self.protocol.persons, bool)
        return {
            "format_version": FORMAT_VERSION,
            "protocol": self.protocol.record(),
            "failures": int(self.columns["failed"].sum()),
            "failure_counts_as_mm": FAILURE_ERROR * 1000,
            "all": _table(self.columns, everybody),
            "slices": {
                name: {"persons": int(mask.sum())} | (_table(self.columns, mask) if mask.any() else {})
                for name, mask in self.slices.items()
            },
            "calibration": {name: calibration_record(seen) for name, seen in self.calibration.items()},
        }


def _table(columns: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, list[float]]:
    return {
        f"{name}_mm": interval_mm(bootstrap_mean(values[mask])) for name, values in columns.items() if name != "failed"
    }


def interval_mm(interval: Interval) -> list[float]:
    """Mean, low and high in millimetres, one decimal."""
    in_mm = interval.scaled(1000.0)
    return [round(in_mm.mean, 1), round(in_mm.low, 1), round(in_mm.high, 1)]


def calibration_record(seen: Reliability) -> dict[str, Any]:
    """Plain values of a reliability."""
    return {
        "expected_calibration_error_mm": round(1000 * seen.expected_calibration_error, 1),
        "coverage": {f"{p:.0%}": round(value, 3) for p, value in seen.coverage.items()},
        "predicted_rms_mm": [round(1000 * float(v), 1) for v in seen.predicted],
        "actual_rms_mm": [round(1000 * float(v), 1) for v in seen.actual],
    }


def differences(evaluation: Evaluation, reference: Evaluation, names: tuple[str, ...]) -> dict[str, list[float]]:
    """Paired differences to another predictor on the same persons, mm with intervals.

    Raises InputError where the persons are not the same ones or a column is missing on one side.
    """
    if evaluation.protocol.split_sha256 != reference.protocol.split_sha256:
        raise InputError("the two evaluations are of other persons; their differences would not be paired")
    missing = [n for n in names if n not in evaluation.columns or n not in reference.columns]
    if missing:
        raise InputError(f"column '{missing[0]}' was not measured of both predictors")
    return {f"{n}_mm": interval_mm(paired_difference(evaluation.columns[n], reference.columns[n])) for n in names}


def gaussians_of(joints: Float[Tensor, "person hyp joints 3"]) -> JointGaussians:
    """Predicted Gaussians of the 23 joints other than the pelvis."""
    return joint_gaussians(joints[..., :NUM_JOINTS, :])


def centred_on(predicted: JointGaussians, answer: Float[Tensor, "person joints 3"]) -> JointGaussians:
    """The group's covariances about the one answer that is handed out instead of about the group's mean."""
    return JointGaussians(relative_truth(answer[..., :NUM_JOINTS, :]), predicted.covariance)


def calibration_of(
    predicted: JointGaussians, truth: Float[Tensor, "person joints 3"], recalibration: Recalibration | None
) -> dict[str, Reliability]:
    """Reliability before and, where there is one, after recalibration."""
    target = relative_truth(truth[..., :NUM_JOINTS, :])
    seen = {"as predicted": reliability(predicted, target)}
    if recalibration is not None:
        seen["recalibrated"] = reliability(recalibration(predicted), target)
    return seen


def fit_on(predicted: JointGaussians, truth: Float[Tensor, "person joints 3"]) -> Recalibration:
    """Recalibration fitted on validation persons."""
    return fit_recalibration(predicted, relative_truth(truth[..., :NUM_JOINTS, :]))


def recalibration_record(recalibration: Recalibration, protocol: Protocol) -> dict[str, Any]:
    """Plain values of a recalibration and where it was fitted."""
    return {
        "format_version": FORMAT_VERSION,
        "fitted_on": protocol.split,
        "checkpoint_sha256": protocol.predictor_sha256,
        "refinement": protocol.refinement,
        "joints": {
            name: {"scale": round(float(s), 4), "floor_m": round(float(f), 5)}
            for name, s, f in zip(CALIBRATED_JOINTS, recalibration.scale, recalibration.floor, strict=True)
        },
    }


def fitted_with_another(record: dict[str, Any], checkpoint_sha256: str, refinement: dict[str, Any]) -> str | None:
    """What a recalibration was fitted with that is not in use: "checkpoint" or "refinement"; None where it fits."""
    if record.get("checkpoint_sha256") != checkpoint_sha256:
        return "checkpoint"
    # Through JSON, as the record was: tuples have become lists there.
    return "refinement" if record.get("refinement") != plain(refinement) else None


def require_recalibration_of(record: dict[str, Any], protocol: Protocol) -> None:
    """Raise InputError where a recalibration was fitted on other weights or other settings than it is used on."""
    if other := fitted_with_another(record, protocol.predictor_sha256, protocol.refinement):
        raise InputError(f"the recalibration was fitted with another {other} than is evaluated")


def read_recalibration(record: Any) -> Recalibration:
    """The recalibration of `recalibration_record`. Raises InputError for another format or missing or bad numbers."""
    if not isinstance(record, dict):
        raise InputError("a recalibration is a mapping; this is none")
    if record.get("format_version") != FORMAT_VERSION:
        raise InputError(f"recalibration format {record.get('format_version')}, this program reads {FORMAT_VERSION}")
    try:
        rows = [record["joints"][name] for name in CALIBRATED_JOINTS]
        scale = torch.tensor([float(r["scale"]) for r in rows])
        floor = torch.tensor([float(r["floor_m"]) for r in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the recalibration lacks a joint or a number ({error})") from error
    if not bool((torch.isfinite(scale) & torch.isfinite(floor) & (scale >= 0) & (floor >= 0)).all()):
        raise InputError("the recalibration has a scale or a floor that is negative or not finite")
    return Recalibration(scale, floor)
