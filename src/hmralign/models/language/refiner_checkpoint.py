"""Checkpoints of refiners: safetensors weights with a JSON header, bound to a body's skeleton."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.checkpoint import config_and_schedule, opened_weights, require_header, write_weights
from hmralign.models.fitted_weights import fitted
from hmralign.models.language.refiner import Refiner, RefinerConfig
from hmralign.models.weight_count import asked_for, count_of, require_weights
from hmralign.structures import InputError
from hmralign.structures.errors import shown

SHIPPED_REFINER = "refiner"
"""Name of the refiner that comes with the package."""

_LARGEST = 4096


def refiner_path(name_or_path: str | Path) -> Path:
    """Where a refiner lies: the shipped one by its name, anything else by path."""
    if str(name_or_path) == SHIPPED_REFINER:
        return Path(str(files("hmralign.models") / "weights" / f"{SHIPPED_REFINER}.safetensors"))
    return Path(name_or_path)


def save_refiner(
    path: str | Path, refiner: Refiner, skeleton_hash: str, *, half: bool = True, sources: tuple[str, ...] = ()
) -> Path:
    """Write atomically; `half` stores fp16. Raises InputError for weights that are not finite as stored."""
    header = {
        "format_version": "1",
        "kind": "refiner",
        "config": json.dumps(asdict(refiner.config)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), refiner.state_dict(), header, half=half)


def load_refiner(name_or_path: str | Path, skeleton_hash: str) -> Refiner:
    """Read a refiner for the given skeleton, in eval mode and float32.

    Raises InputError, naming the file, when it is missing, damaged, of a newer format, of another kind or skeleton, or
    when its weights do not fit or are not finite.
    """
    path = refiner_path(name_or_path)
    with opened_weights(path, (SHIPPED_REFINER,)) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, "refiner", skeleton_hash)
    config = _config(path, header.get("config", ""))
    require_weights(path, count_of(tensors), asked_for(Refiner, config, ("depth", "context_depth")))
    return fitted(path, lambda: Refiner(config), tensors)


def _config(path: Path, text: str) -> RefinerConfig:
    """Configuration of the header. Nothing in it is trusted."""
    values, schedule = config_and_schedule(path, text, RefinerConfig)
    if schedule.get("kind", "cosine") not in ("cosine", "linear"):
        raise InputError(
            f"{path}: configuration says kind = {shown(repr(schedule['kind']))}, expected cosine or linear"
        )
    for name, value in {**values, **{k: v for k, v in schedule.items() if k != "kind"}}.items():
        if not (type(value) is int and 1 <= value <= _LARGEST):
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected 1..{_LARGEST}")
    try:
        return RefinerConfig(**values, schedule=ScheduleConfig(**schedule))
    except InputError as error:
        raise InputError(f"{path}: configuration: {error}") from error
