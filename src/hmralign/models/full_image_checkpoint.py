"""Checkpoints of the deterministic regressor: safetensors with a JSON header, bound to a body skeleton."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hmralign.models.checkpoint import FORMAT_VERSION, checkpoint_path, opened_weights, require_header, write_weights
from hmralign.models.fitted_weights import read_fitted
from hmralign.models.full_image_regressor import FullImageConfig, FullImageRegressor
from hmralign.models.paper.checkpoint import read_config

KIND = "regressor"


def save_regressor(
    path: str | Path,
    model: FullImageRegressor,
    skeleton_hash: str,
    *,
    half: bool = True,
    sources: tuple[str, ...] = (),
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


def load_regressor(name_or_path: str | Path, skeleton_hash: str) -> FullImageRegressor:
    """Read a model for the given skeleton, in eval mode and float32. Raises InputError as `load_checkpoint`."""
    path = checkpoint_path(name_or_path)
    with opened_weights(path) as handle:
        header = handle.metadata() or {}
        require_header(path, header, KIND, skeleton_hash)
        config = read_config(path, FullImageConfig, header.get("config", ""))
        return read_fitted(path, handle, lambda: FullImageRegressor(config))
