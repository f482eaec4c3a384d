"""`hmralign evaluate alignment`: a base and weights that were aligned from it, on the same persons, side by side."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic
from hmralign.data.synthwild_folder import open_split
from hmralign.evaluation.openings import log_opening
from hmralign.evaluation.protocol import may_have_seen, require_unseen
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.policies.catalogue import OpenedPolicy, open_policy
from hmralign.policies.policy import BodyProposer
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.studies.alignment.measure import (
    Columns,
    Kind,
    MeasureConfig,
    Persons,
    measure_persons,
    weighted_column,
)
from hmralign.studies.alignment.report import TITLES, answers_table, details_table
from hmralign.studies.table import Run, row_figures
from hmralign.systems.evaluate.run import EvaluateConfig, first_persons, protocol_of

logger = logging.getLogger("hmralign.evaluate")

FORMAT_VERSION = 1


@dataclass(frozen=True)
class CompareConfig:
    """How aligned weights are compared with their base."""

    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """What is measured."""
    persons: int | None = None
    """Only the first so many persons of the split."""
    forgetting_persons: int = 200
    """The first so many persons of `forgetting_split`; 0 leaves it out."""
    forgetting_split: str = "lab/val"
    """Persons on whom it shows what was forgotten."""


def compare_aligned(
    base: str,
    aligned: Sequence[str],
    data: Path,
    split: str,
    config: CompareConfig,
    scorer: Critic | None = None,
    *,
    log: Path | None = None,
    why: str = "hmralign evaluate alignment",
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Figures of each checkpoint and their paired differences to the base, with protocols, as plain values.

    A test split is opened only after each opening stands in `log` (default: `test_openings.jsonl` in the data folder).

    Raises InputError for no aligned weights, weights of another skeleton, weights that were trained on the split's
    persons, and as `open_split` and the critics do.
    """
    if not aligned:
        raise InputError("no aligned weights are given; expected at least one checkpoint")
    body = load_free_body("3k5")
    models = [open_policy(checkpoint, body.to(device)) for checkpoint in (base, *aligned)]
    for model in models:
        _require_comparable(model, split)
    names = _names([model.name for model in models])
    if split.endswith("/test"):
        for model in models:
            where = log or data / "test_openings.jsonl"
            log_opening(where, split, why, predictor=model.name, sha256=model.sha256)
    persons = Persons.of(first_persons(open_split(data, split), config.persons), body)
    runs, protocols, seconds = {}, {}, {}
    for name, model in zip(names, models, strict=True):
        runs[name], seconds[name] = _measured(model.policy, data, persons, config, scorer)
        protocols[name] = _protocols(model, persons, body, config)
    first = {(0, 0): runs[names[0]]}
    rows = {name: row_figures({(0, 0): run}, first, None) for name, run in runs.items()}
    extra = {"choice": None, "training_cpu_seconds": None}
    return {
        "format_version": FORMAT_VERSION,
        "base": names[0],
        "protocols": protocols,
        "rows": {n: {**row, **extra, "measuring_cpu_seconds": round(seconds[n], 1)} for n, row in rows.items()},
    }


def _require_comparable(model: OpenedPolicy, split: str) -> None:
    sources = model.trained_on
    require_unseen(sources, split)
    if split in sources:
        raise InputError(f"{model.name}: was trained on {split}; its figures on these persons would mean nothing")
    if may_have_seen(sources, split):
        logger.warning("%s does not say what it was trained on; whether it has seen %s is not known", model.name, split)


def _measured(
    policy: BodyProposer, data: Path, persons: Persons, config: CompareConfig, scorer: Critic | None
) -> tuple[Run, float]:
    found, seconds = measure_persons(policy, persons, config.measure, scorer)
    old = {weighted_column(t): "weighted" for t in config.measure.temperatures}
    kinds: dict[Kind, Columns] = {
        kind: {old.get(n, n): v for n, v in columns.items()} for kind, columns in found.items()
    }
    if config.forgetting_persons == 0:
        return Run(kinds, {}), seconds
    others = Persons.of(
        first_persons(open_split(data, config.forgetting_split), config.forgetting_persons), policy.body.to("cpu")
    )
    plain = replace(config.measure, kinds=("raw",), temperatures=())
    columns, more = measure_persons(policy, others, plain)
    return Run(kinds, {}, columns["raw"]), seconds + more


def _protocols(
    model: OpenedPolicy, persons: Persons, body: BodyModel, config: CompareConfig
) -> dict[Kind, dict[str, Any]]:
    """How each kind was measured."""
    predict, found = config.measure.predict, {}
    assert persons.split is not None
    for kind in config.measure.kinds:
        refinement = predict.refinement if kind == "refined" else RefinementConfig(method="none")
        settings = EvaluateConfig(replace(predict, refinement=refinement), config.persons)
        protocol = protocol_of(persons.split, body, settings, model.name, model.sha256, model.trained_on)
        found[kind] = protocol.record()
    return found


def _names(checkpoints: Sequence[str]) -> list[str]:
    """File stems, or the folder's name for `model.safetensors`; numbered where two are alike."""
    paths = [Path(c) for c in checkpoints]
    short = [p.absolute().parent.name if p.stem == "model" else p.stem for p in paths]
    return [s if short.count(s) == 1 else f"{s}_{i}" for i, s in enumerate(short)]


def document_text(document: dict[str, Any]) -> bytes:
    """As JSON."""
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def compared_markdown(document: dict[str, Any]) -> str:
    """The document of `compare_aligned` as Markdown."""
    first = next(iter(document["protocols"][document["base"]].values()))
    heading = (
        f"# {first['benchmark']} {first['split']}: {counted(first['persons'], 'person')}, base {document['base']}\n\n"
        f"M = {first['num_hypotheses']}, {counted(first['sampler_steps'], 'sampling step')}, seed "
        f"{first['seed']}. Millimetres on "
        "the free body; differences are paired over persons, with 95 % bootstrap intervals. `selected` is picked by "
        "reprojection; `min` is an oracle. `lab`: change of `fused` on lab/val, samples as they are."
    )
    parts = [heading]
    rows = document["rows"]
    for kind, title in TITLES.items():
        if kind in rows[document["base"]]:
            parts += [f"## {title}", answers_table(rows, kind), details_table(rows, kind)]
    return "\n\n".join(parts) + "\n"
