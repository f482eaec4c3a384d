"""Checkpoints of the multi-view denoiser: weights in half precision with a JSON header, nothing in them is executed."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.checkpoint import config_and_schedule, opened_weights, write_weights
from hmralign.models.fitted_weights import fitted
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.models.weight_count import asked_for, count_of, require_weights
from hmralign.structures import InputError
from hmralign.structures.errors import shown

KIND = "multiview"
SHIPPED_BASE = "multiview-base"
"""Name of the one that comes with the package."""
_LARGEST = 4096


def save_view_transformer(path: str | Path, network: ViewTransformer, sources: tuple[str, ...] = ()) -> Path:
    """Write atomically, in half precision. Raises InputError for weights that are not finite as stored."""
    header = {
        "format_version": "1",
        "kind": KIND,
        "config": json.dumps(asdict(network.config)),
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(Path(path), network.state_dict(), header, half=True)


def load_view_transformer(name_or_path: str | Path) -> ViewTransformer:
    """Read in eval mode and float32; the shipped one by name.

    Raises InputError, naming the file, for one that is missing or does not fit.
    """
    path = view_transformer_path(name_or_path)
    with opened_weights(path, (SHIPPED_BASE,)) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    if header.get("format_version") != "1" or header.get("kind") != KIND:
        raise InputError(f"{path}: holds a model of kind '{shown(header.get('kind'))}', expected '{KIND}'")
    config = _config(path, header.get("config", ""))
    require_weights(path, count_of(tensors), asked_for(ViewTransformer, config, ("depth",)))
    return fitted(path, lambda: ViewTransformer(config), tensors)


def view_transformer_path(name_or_path: str | Path) -> Path:
    """File of a base; the shipped one by name."""
    if str(name_or_path) == SHIPPED_BASE:
        return Path(str(files("hmralign.models") / "weights" / f"{SHIPPED_BASE}.safetensors"))
    return Path(name_or_path)


def _config(path: Path, text: str) -> ViewTransformerConfig:
    """Configuration of a header. Nothing in it is trusted."""
    values, schedule = config_and_schedule(path, text, ViewTransformerConfig)
    for name, value in {**values, **schedule}.items():
        good = (
            value in ("cosine", "linear")
            if name == "kind"
            else type(value) is int and (name not in ("shows_front", "front_reader")) <= value <= _LARGEST
        )
        if not good:
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, which cannot be")
    return ViewTransformerConfig(**values, schedule=ScheduleConfig(**schedule))
