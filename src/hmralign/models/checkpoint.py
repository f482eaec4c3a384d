"""Checkpoints of our own models: safetensors weights with a JSON header, bound to a body skeleton.

    lite.safetensors   weights (fp16 or fp32); metadata: format version, kind, config, skeleton hash
    lite.json          the model card's figures (free form, not needed to load)

Nothing in a checkpoint is executed: the file is read by safetensors, the configuration by JSON into a dataclass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.fitted_weights import fitted, require_finite
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.shipped import SHIPPED, no_such_checkpoint
from hmralign.models.weight_count import asked_for, count_of, require_weights
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.structures.errors import shown

FORMAT_VERSION = 1
_LARGEST = 16384
"""No layer, depth or schedule of a checkpoint is larger; bounds what a forged header can make us build."""

_CHOICES = {
    "kind": get_args(get_type_hints(ScheduleConfig)["kind"]),
    "architecture": get_args(get_type_hints(LiteConfig)["architecture"]),
    "prediction": get_args(get_type_hints(LiteConfig)["prediction"]),
}
"""Fields of a configuration whose value is one of a few words."""


def save_checkpoint(
    path: str | Path, model: LiteModel, skeleton_hash: str, *, half: bool = True, sources: tuple[str, ...] = ()
) -> Path:
    """Write a model atomically; `half` stores fp16, `sources` say what it was trained on (`trained_on`).

    Raises InputError for weights that are not finite as stored.
    """
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": "lite",
        "config": json.dumps(asdict(model.config)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), model.state_dict(), header, half=half)


def write_weights(path: Path, state: dict[str, torch.Tensor], header: dict[str, str], *, half: bool) -> Path:
    """Write weights and their header atomically. Raises InputError for weights that are not finite as stored."""
    tensors = {k: (v.half() if half and v.is_floating_point() else v).contiguous() for k, v in state.items()}
    require_finite(path, tensors)
    return write_whole(path, save(tensors, header))


def checkpoint_path(name_or_path: str | Path) -> Path:
    """Where a checkpoint lies: shipped weights by name, anything else by path."""
    if str(name_or_path) in SHIPPED:
        return Path(str(files("hmralign.models") / "weights" / f"{name_or_path}.safetensors"))
    return Path(name_or_path)


def checkpoint_hash(name_or_path: str | Path) -> str:
    """SHA-256 of the file, for run records."""
    return hashlib.sha256(checkpoint_path(name_or_path).read_bytes()).hexdigest()


def checkpoint_skeleton(name_or_path: str | Path) -> str | None:
    """Hash of the skeleton that a checkpoint is bound to; None where it does not say. Errors as `load_checkpoint`."""
    with opened_weights(checkpoint_path(name_or_path)) as handle:
        return (handle.metadata() or {}).get("skeleton_hash")


def checkpoint_kind(name_or_path: str | Path) -> str:
    """What kind of model a checkpoint says it holds. Errors as `load_checkpoint`."""
    with opened_weights(checkpoint_path(name_or_path)) as handle:
        return (handle.metadata() or {}).get("kind", "none")


def trained_on(name_or_path: str | Path) -> tuple[str, ...]:
    """What a checkpoint says it was trained on; empty where it does not say. Errors as `load_checkpoint`.

    Sources are written like `prior:train`, `pose_file:<hash>:train`, `lab/train`.
    """
    path = checkpoint_path(name_or_path)
    with opened_weights(path) as handle:
        return sources_of(path, handle.metadata() or {})


def sources_of(path: Path, header: dict[str, str]) -> tuple[str, ...]:
    """What a header says its weights were trained on; empty where it does not say. Raises InputError for no list."""
    try:
        sources = parse_json(header.get("trained_on", "[]"), HEADER)
    except JsonError as error:
        raise InputError(f"{path}: what it was trained on is not JSON ({error})") from error
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise InputError(f"{path}: what it was trained on is no list of names")
    return tuple(sources)


def load_checkpoint(name_or_path: str | Path, skeleton_hash: str) -> LiteModel:
    """Read a model for the given skeleton, in eval mode and float32.

    Raises InputError, naming the file, when it is missing, damaged, not safetensors (a pickle is refused unread), of a
    newer format, of another kind, made for another skeleton, or when it holds values that are not finite.
    """
    path = checkpoint_path(name_or_path)
    config, tensors = read_weights(path, skeleton_hash)
    require_weights(path, count_of(tensors), asked_for(LiteModel, config, ("depth", "context_depth")))
    return fitted(path, lambda: LiteModel(config), tensors)


def read_weights(name_or_path: str | Path, skeleton_hash: str) -> tuple[LiteConfig, dict[str, torch.Tensor]]:
    """Configuration and float32 weights of a checkpoint; whether they fit a model is not looked at.

    Raises InputError as `load_checkpoint`.
    """
    path = checkpoint_path(name_or_path)
    with opened_weights(path) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, "lite", skeleton_hash)
    require_finite(path, tensors)
    return lite_config(path, header.get("config", "")), tensors


@contextmanager
def opened_weights(path: Path, shipped: Sequence[str] = SHIPPED) -> Iterator[Any]:
    """A safetensors file, opened; what is wrong with it becomes an InputError that names it.

    `shipped` are the names that would have done instead: those of the same kind of model.
    """
    if not path.is_file():
        raise InputError(no_such_checkpoint(path, shipped))
    try:
        with safe_open(path, framework="pt") as handle:
            yield handle
    except InputError:
        raise  # says already what is wrong
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file, so it was not loaded ({error})") from error


def require_header(path: Path, header: dict[str, str], kind: str, skeleton_hash: str) -> None:
    """Raise InputError for a header of another format, kind of model or skeleton."""
    version = header.get("format_version", "none")
    if version != str(FORMAT_VERSION):
        raise InputError(f"{path}: checkpoint format {shown(version)}, this program reads {FORMAT_VERSION}")
    if header.get("kind") != kind:
        raise InputError(f"{path}: holds a model of kind '{shown(header.get('kind'))}', expected '{kind}'")
    if header.get("skeleton_hash") != skeleton_hash:
        found = shown(header.get("skeleton_hash", "none")[:12])
        raise InputError(f"{path}: is bound to another skeleton ({found}..., this body is {skeleton_hash[:12]}...)")


def header_values(path: Path, text: str, what: str = "configuration") -> dict[str, Any]:
    """A mapping of a header; `what` is its name in errors. Raises InputError for text that is none."""
    try:
        values = parse_json(text, HEADER, nan=True)
    except JsonError as error:
        raise InputError(f"{path}: its {what} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: its {what} is no mapping of fields to values")
    return values


def config_and_schedule(path: Path, text: str, kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a configuration of that kind, and of the schedule inside it; their values are not looked at.

    Raises InputError as `header_values`, and for fields that are unknown.
    """
    values = header_values(path, text)
    schedule = values.pop("schedule", {})
    if not isinstance(schedule, dict):
        raise InputError(f"{path}: its configuration is no mapping of fields to values")
    require_known_fields(path, kind, values)
    require_known_fields(path, ScheduleConfig, schedule)
    return values, schedule


def lite_config(path: Path, text: str) -> LiteConfig:
    """Configuration of a header; fields it does not name keep their defaults. Nothing in it is trusted."""
    values, schedule = config_and_schedule(path, text, LiteConfig)
    for name, value in {**values, **schedule}.items():
        if name in _CHOICES:
            good, expected = isinstance(value, str) and value in _CHOICES[name], " or ".join(_CHOICES[name])
        elif name == "clamp":
            good, expected = type(value) in (int, float) and 0 < value < math.inf, "a positive number"
        else:
            good, expected = type(value) is int and 1 <= value <= _LARGEST, f"a whole number in 1..{_LARGEST}"
        if not good:
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected {expected}")
    try:
        return LiteConfig(**values, schedule=ScheduleConfig(**schedule))
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error


def require_known_fields(path: Path, kind: type, values: dict) -> None:
    """Raise InputError for fields that a configuration class does not have."""
    if unknown := set(values) - {f.name for f in fields(kind)}:
        raise InputError(f"{path}: configuration has unknown fields {shown(sorted(unknown))}; a newer version wrote it")
