"""Checkpoints of HypoNet with its image encoder: safetensors with a JSON header, bound to a body skeleton.

    encoder.*, denoiser.*   weights (fp16 or fp32) under the names of published tensors
    metadata                format version, kind "hyponet", config, skeleton hash, what it was trained on

Nothing in a checkpoint is executed: the file is read by safetensors, the configuration by JSON into a dataclass.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from torch import nn

from hmralign.models.checkpoint import (
    FORMAT_VERSION,
    opened_weights,
    require_header,
    require_known_fields,
    write_weights,
)
from hmralign.models.fitted_weights import read_fitted
from hmralign.models.paper.config import PaperConfig
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.structures import InputError
from hmralign.structures.errors import shown

KIND = "hyponet"

_LARGEST = 4096
"""No layer or schedule of a checkpoint is larger; bounds what a forged header can make us build."""
_MOST_BLOCKS = 32
"""No network of a checkpoint has more blocks in a row."""
_DEPTHS = ("modules", "blocks", "stem_blocks", "hops", "depth", "decoder_depth")

Config = TypeVar("Config")


class PaperModel(nn.Module):
    """Image encoder and denoiser: everything a checkpoint holds."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config)
        self.denoiser = HypoNet(config)


def save_hyponet(
    path: str | Path, model: PaperModel, skeleton_hash: str, *, half: bool = False, sources: tuple[str, ...] = ()
) -> Path:
    """Write a model atomically; `half` stores fp16, `sources` say what it was trained on.

    Raises InputError for weights that are not finite as stored.
    """
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": KIND,
        "config": json.dumps(asdict(model.config)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), model.state_dict(), header, half=half)


def load_hyponet(path: str | Path, skeleton_hash: str) -> PaperModel:
    """Read a model for the given skeleton, in eval mode and float32; masked weights are zero.

    Raises InputError, naming the file, when it is missing, damaged, of a newer format, of another kind, made for
    another skeleton, when its weights do not fit its configuration, or are not finite.
    """
    path = Path(path)
    with opened_weights(path) as handle:
        header = handle.metadata() or {}
        require_header(path, header, KIND, skeleton_hash)
        config = read_config(path, PaperConfig, header.get("config", ""))
        model = read_fitted(path, handle, lambda: PaperModel(config))
    model.denoiser.clear_masked()
    return model


def read_config(path: Path, kind: type[Config], text: str) -> Config:
    """Configuration of a header; fields it does not name keep their defaults. Nothing in it is trusted.

    Raises InputError, naming the file, for text that is no JSON, and fields that are unknown or out of range.
    """
    try:
        values = parse_json(text, HEADER)
    except JsonError as error:
        raise InputError(f"{path}: its configuration is not JSON ({error})") from error
    return _checked(path, kind, values)


def _checked(path: Path, kind: type, values: Any) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{path}: its configuration is no mapping of fields to values")
    require_known_fields(path, kind, values)
    defaults = {field.name: getattr(kind(), field.name) for field in fields(kind)}
    made = {
        name: _checked(path, type(defaults[name]), value)
        if is_dataclass(defaults[name])
        else _checked_value(path, kind, name, value, defaults[name])
        for name, value in values.items()
    }
    try:
        return kind(**made)
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error


def _checked_value(path: Path, kind: type, name: str, value: Any, default: Any) -> Any:
    """A value of the kind that its default is."""
    most = _MOST_BLOCKS if name in _DEPTHS else _LARGEST
    if isinstance(default, bool):
        good, expected = type(value) is bool, "true or false"
    elif isinstance(default, str):
        choices = get_args(get_type_hints(kind)[name])
        good, expected = isinstance(value, str) and value in choices, " or ".join(choices)
    elif isinstance(default, float):
        good, expected = type(value) in (int, float) and 0 <= value < 1 and math.isfinite(value), "a number in 0..1"
    elif isinstance(default, tuple):
        length = len(default)
        right = isinstance(value, list) and (0 < len(value) <= _MOST_BLOCKS if name == "hops" else len(value) == length)
        good = right and all(type(number) is int and 1 <= number <= most for number in value)
        expected = f"a list of whole numbers in 1..{most}"
        value = tuple(value) if good else value
    else:
        good, expected = type(value) is int and 1 <= value <= most, f"a whole number in 1..{most}"
    if not good:
        raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected {expected}")
    return value
