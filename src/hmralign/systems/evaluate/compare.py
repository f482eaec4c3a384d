"""Several checkpoints on the same persons: one JSON document, one Markdown table, one plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hmralign.evaluation.calibration_plot import draw_calibration
from hmralign.evaluation.markdown import evaluation_markdown
from hmralign.evaluation.summary import differences, read_recalibration, recalibration_record
from hmralign.storage.json_file import read_json
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.systems.evaluate.run import (
    EvaluateConfig,
    Measured,
    evaluate_policy,
    recalibrate,
    write_columns,
)

COMPARED = ("single", "selected", "fused", "fused_pa", "fused_pve")
"""Columns of which paired differences are given."""


def compare_checkpoints(
    checkpoints: Sequence[str],
    data: Path,
    split: str,
    config: EvaluateConfig,
    out: Path,
    *,
    recalibrations: Sequence[Path] = (),
    log: Path | None = None,
    why: str = "hmralign evaluate",
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Evaluate, compare with the first, and write `metrics.json`, `metrics.md`, `calibration.png`, `persons_*.npz`.

    On a validation split each model's recalibration is fitted and written, for use on other persons.

    Raises InputError as `evaluate_policy`, and for a recalibration file that is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    given = [_read(path) for path in recalibrations] or [None] * len(checkpoints)
    names = _names(checkpoints)
    measured: dict[str, Measured] = {}
    for name, checkpoint, recalibration in zip(names, checkpoints, given, strict=True):
        found = evaluate_policy(
            checkpoint, data, split, config, recalibration=recalibration, log=log, why=why, device=device
        )
        if found.evaluation.protocol.split.endswith("/val") and found.gaussians is not None:
            record = recalibration_record(recalibrate(found), found.evaluation.protocol)
            write_whole(out / f"recalibration_{name}.json", _text(record))
        write_columns(out / f"persons_{name}.npz", found.evaluation)
        measured[name] = found
    first = measured[names[0]].evaluation
    document = {
        "predictors": {name: found.evaluation.record() for name, found in measured.items()},
        f"differences to {names[0]}": {
            name: differences(found.evaluation, first, COMPARED) for name, found in list(measured.items())[1:]
        },
    }
    write_whole(out / "metrics.json", _text(document))
    write_whole(out / "metrics.md", evaluation_markdown(document))
    draw_calibration({n: m.evaluation.calibration for n, m in measured.items()}, out / "calibration.png")
    return document


def _names(checkpoints: Sequence[str]) -> list[str]:
    """Short names: file stems, numbered where two are alike."""
    stems = [Path(c).stem for c in checkpoints]
    return [s if stems.count(s) == 1 else f"{s}_{i}" for i, s in enumerate(stems)]


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    record = read_json(path, "a recalibration")
    try:
        read_recalibration(record)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return record
