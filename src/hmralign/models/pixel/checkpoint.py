"""Checkpoints of the pixel model: as the lite model's, with the reader's sizes in a header of their own."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hmralign.models.checkpoint import (
    FORMAT_VERSION,
    checkpoint_path,
    lite_config,
    opened_weights,
    require_header,
    require_known_fields,
    write_weights,
)
from hmralign.models.denoiser import LiteConfig
from hmralign.models.fitted_weights import fitted
from hmralign.models.pixel.pixel_model import PixelConfig, PixelModel
from hmralign.models.weight_count import asked_for, count_of, require_weights
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.structures import InputError
from hmralign.structures.errors import shown

KIND = "pixel"

_LARGEST = 1024
"""No layer of the reader is larger; bounds what a forged header can make us build."""


def save_pixel(
    path: str | Path, model: PixelModel, skeleton_hash: str, *, half: bool = True, sources: tuple[str, ...] = ()
) -> Path:
    """Write a model atomically; `half` stores fp16, `sources` say what it was trained on.

    Raises InputError for weights that are not finite as stored.
    """
    config = asdict(model.pixel_config)
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": KIND,
        "config": json.dumps(config.pop("lite")),
        "pixels": json.dumps(config),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), model.state_dict(), header, half=half)


def load_pixel(name_or_path: str | Path, skeleton_hash: str) -> PixelModel:
    """Read a model for the given skeleton, in eval mode and float32. Raises InputError as `load_checkpoint`."""
    path = checkpoint_path(name_or_path)
    with opened_weights(path) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, KIND, skeleton_hash)
    config = _config(path, lite_config(path, header.get("config", "")), header.get("pixels", ""))
    require_weights(path, count_of(tensors), asked_for(PixelModel, config, ("depth",)))
    return fitted(path, lambda: PixelModel(config), tensors)


def _config(path: Path, lite: LiteConfig, text: str) -> PixelConfig:
    """Sizes of the reader. Nothing in them is trusted."""
    try:
        values = parse_json(text, HEADER)
    except JsonError as error:
        raise InputError(f"{path}: the sizes of its pixel reader are not JSON ({error})") from error
    if not isinstance(values, dict) or "lite" in values:
        raise InputError(f"{path}: the sizes of its pixel reader are no mapping of fields to values")
    require_known_fields(path, PixelConfig, values)
    for name, value in values.items():
        numbers = value if name == "channels" else [value]
        if not isinstance(numbers, list) or not all(type(n) is int and 1 <= n <= _LARGEST for n in numbers):
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected 1..{_LARGEST}")
    if "channels" in values:
        values["channels"] = tuple(values["channels"])
    try:
        return PixelConfig(lite, **values)
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error
