"""Checkpoints of the deterministic regressor: safetensors with a JSON header, bound to a body skeleton."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from hmralign.models.checkpoint import (
    FORMAT_VERSION,
    checkpoint_path,
    opened_weights,
    require_finite,
    require_header,
    write_weights,
)
from hmralign.models.full_image_regressor import FullImageConfig, FullImageRegressor
from hmralign.models.paper.checkpoint import read_config
from hmralign.structures import InputError
from hmralign.structures.errors import shown

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
        with torch.device("meta"):  # nothing is allocated for a configuration that its weights do not fit
            expected = {name: tensor.shape for name, tensor in FullImageRegressor(config).state_dict().items()}
        found = {name: torch.Size(handle.get_slice(name).get_shape()) for name in handle.keys()}
        if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
            raise InputError(
                f"{path}: weights do not fit the model ({len(wrong)} of them differ, such as '{shown(wrong[0])}')"
            )
        tensors = {name: handle.get_tensor(name).float() for name in expected}
    require_finite(path, tensors)
    model = FullImageRegressor(config)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)
