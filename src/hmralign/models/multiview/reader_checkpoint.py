"""Checkpoints of the networks that read views: the judge, and the skeleton network with its features."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from hmralign.models.checkpoint import (
    header_values,
    opened_weights,
    require_header,
    require_known_fields,
    write_weights,
)
from hmralign.models.fitted_weights import fitted
from hmralign.models.multiview.judge import JudgeConfig, ViewReader
from hmralign.models.multiview.skeleton_network import MapFeatures, SkeletonNetwork, SkeletonNetworkConfig
from hmralign.structures import InputError
from hmralign.structures.errors import shown

SHIPPED_READERS = ("multiview-judge", "multiview-skeleton")
"""Names of the ones that come with the package."""
_LARGEST = 4096
Config = TypeVar("Config", JudgeConfig, SkeletonNetworkConfig)


def save_judge(path: str | Path, reader: ViewReader, skeleton_hash: str, sources: tuple[str, ...] = ()) -> Path:
    """Write a judge's network atomically, in half precision. Raises InputError for weights that are not finite."""
    return _save(Path(path), "multiview_judge", reader, asdict(reader.config), skeleton_hash, sources)


def save_skeleton(
    path: str | Path,
    network: SkeletonNetwork,
    features: MapFeatures,
    skeleton_hash: str,
    sources: tuple[str, ...] = (),
) -> Path:
    """Write the networks of PoseScore atomically, in half precision. Raises InputError for weights not finite."""
    both = nn.ModuleDict({"network": network, "features": features})
    return _save(Path(path), "multiview_skeleton", both, asdict(network.config), skeleton_hash, sources)


def _save(path: Path, kind: str, module: nn.Module, config: dict, skeleton_hash: str, sources: tuple[str, ...]) -> Path:
    header = {
        "format_version": "1",
        "kind": kind,
        "config": json.dumps(config),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(path, module.state_dict(), header, half=True)


def load_judge(name_or_path: str | Path, skeleton_hash: str) -> ViewReader:
    """Read a judge's network in eval mode and float32; shipped ones by name.

    Raises InputError, naming the file, when it is missing, damaged, of another kind or skeleton, or does not fit.
    """
    path = reader_path(name_or_path)
    config, tensors = _read(path, "multiview_judge", JudgeConfig, skeleton_hash)
    return fitted(path, lambda: ViewReader(config), tensors)


def load_skeleton(name_or_path: str | Path, skeleton_hash: str) -> tuple[SkeletonNetwork, MapFeatures]:
    """Read the networks of PoseScore; shipped ones by name. Errors as `load_judge`."""
    path = reader_path(name_or_path)
    config, tensors = _read(path, "multiview_skeleton", SkeletonNetworkConfig, skeleton_hash)
    both = fitted(
        path, lambda: nn.ModuleDict({"network": SkeletonNetwork(config), "features": MapFeatures(config)}), tensors
    )
    network, features = both["network"], both["features"]
    assert isinstance(network, SkeletonNetwork) and isinstance(features, MapFeatures)
    return network, features


def reader_path(name_or_path: str | Path) -> Path:
    """Where a network lies: shipped ones by name, anything else by path."""
    if str(name_or_path) in SHIPPED_READERS:
        return Path(str(files("hmralign.models") / "weights" / f"{name_or_path}.safetensors"))
    return Path(name_or_path)


def _read(path: Path, kind: str, config: type[Config], skeleton_hash: str) -> tuple[Config, dict[str, torch.Tensor]]:
    """Configuration and float32 weights. Nothing in the header is trusted."""
    with opened_weights(path, SHIPPED_READERS) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    require_header(path, header, kind, skeleton_hash)
    values = header_values(path, header.get("config", ""))
    require_known_fields(path, config, values)
    for name in (f.name for f in fields(config) if f.name in values):
        if not (type(values[name]) is int and 1 <= values[name] <= _LARGEST):
            raise InputError(f"{path}: configuration says {name} = {shown(repr(values[name]))}, expected 1..{_LARGEST}")
    return config(**values), tensors
