"""Checkpoints of scorers: safetensors weights with a JSON header, bound to a skeleton like those of base models."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

from hmralign.models.checkpoint import (
    FORMAT_VERSION,
    opened_weights,
    require_header,
    require_known_fields,
    sources_of,
    write_weights,
)
from hmralign.models.fitted_weights import fitted
from hmralign.models.scorer import Scorer, ScorerConfig
from hmralign.models.scorer_calibration import Calibration
from hmralign.models.weight_count import WeightCount, asked_for, count_of, require_weights
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.structures import InputError
from hmralign.structures.errors import shown

SHIPPED_SCORERS = ("scorer", "scorer-lab")
"""Names of the scorers that come with the package: of photos, and of experiments on SynthWild's lab."""

_LARGEST = 4096
_MOST_MEMBERS = 64


@dataclass(frozen=True)
class CalibratedScorer:
    """A scorer, what its outputs mean, and what it was trained on."""

    scorer: Scorer
    calibration: Calibration
    trained_on: tuple[str, ...] = ()


def scorer_for(checkpoint: str) -> str:
    """The shipped scorer that was trained on what shipped weights were trained on; for all others that for photos."""
    return "scorer-lab" if checkpoint == "lite-lab" else "scorer"


def save_scorer(path: str | Path, scored: CalibratedScorer, skeleton_hash: str, *, half: bool = True) -> Path:
    """Write atomically. Raises InputError for weights that are not finite as stored."""
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": "scorer",
        "config": json.dumps({**asdict(scored.scorer.config), "members": len(scored.scorer.members)}),
        "calibration": json.dumps(asdict(scored.calibration)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(scored.trained_on)),
    }
    return write_weights(Path(path), scored.scorer.state_dict(), header, half=half)


def scorer_path(name_or_path: str | Path) -> Path:
    """Where a scorer lies: shipped ones by name, anything else by path."""
    if str(name_or_path) in SHIPPED_SCORERS:
        return Path(str(files("hmralign.models") / "weights" / f"{name_or_path}.safetensors"))
    return Path(name_or_path)


def load_scorer(name_or_path: str | Path, skeleton_hash: str) -> CalibratedScorer:
    """Read a scorer for the given skeleton, in eval mode and float32.

    Raises InputError, naming the file, when it is missing, damaged, of a newer format, of another kind, made for
    another skeleton, or when its weights do not fit or are not finite.
    """
    path = scorer_path(name_or_path)
    with opened_weights(path, SHIPPED_SCORERS) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, "scorer", skeleton_hash)
    config, members = _config(path, header.get("config", ""))
    of_one = asked_for(Scorer, config, ("depth", "context_depth"))
    require_weights(path, count_of(tensors), WeightCount(members * of_one.tensors, members * of_one.numbers))
    scorer = fitted(path, lambda: Scorer(config, members), tensors)
    return CalibratedScorer(scorer, _calibration(path, header), sources_of(path, header))


def _config(path: Path, text: str) -> tuple[ScorerConfig, int]:
    """Configuration and number of members. Nothing in the header is trusted."""
    values = _json(path, text, "configuration")
    if not isinstance(values, dict):
        raise InputError(f"{path}: its configuration is no mapping of fields to values")
    members = values.pop("members", 1)
    require_known_fields(path, ScorerConfig, values)
    hints = get_type_hints(ScorerConfig)
    for name, value in {**values, "members": members}.items():
        said = f"{path}: configuration says {name} = {shown(repr(value))}"
        if hints.get(name) is bool:
            if type(value) is not bool:
                raise InputError(f"{said}, expected true or false")
            continue
        choices = get_args(hints[name]) if name in hints else ()
        largest = _MOST_MEMBERS if name == "members" else _LARGEST
        if choices and not (isinstance(value, str) and value in choices):
            raise InputError(f"{said}, expected {' or '.join(choices)}")
        if not choices and not (type(value) is int and 1 <= value <= largest):
            raise InputError(f"{said}, expected a whole number in 1..{largest}")
    try:
        return ScorerConfig(**values), members
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error


def _calibration(path: Path, header: dict[str, str]) -> Calibration:
    values = _json(path, header.get("calibration", ""), "calibration")
    try:
        outputs, scores = (tuple(float(v) for v in values[name]) for name in ("outputs", "scores"))
        if not all(math.isfinite(v) for v in (*outputs, *scores)):
            raise ValueError("a knot is not finite")
        return Calibration(outputs, scores)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: its calibration is no use ({error})") from error


def _json(path: Path, text: str, what: str):
    try:
        return parse_json(text, HEADER, nan=True)
    except JsonError as error:
        raise InputError(f"{path}: its {what} is not JSON ({error})") from error
