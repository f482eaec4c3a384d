"""Snapshots in the layout of the published ones, of the papers' models at tiny size."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from hmralign.models.paper.hmr_scorer import HmrScorerConfig
from hmralign.models.paper.vit import VitConfig
from hmralign.models.published.layouts import Kind, Layout, Part, hmr_scorer_layout, hyponet_layout, scorenet_layout
from support.tiny_paper import TINY_PAPER, tiny_paper

TINY_SCORER = HmrScorerConfig(
    encoder=VitConfig(height=16, image_width=16, patch=8, channels=8, depth=2, heads=2, task_tokens=2),
    width=64, heads=4, feedforward=64, hops=(3, 1), score_width=32, last_width=8,
)  # fmt: skip


def tiny_layout(kind: Kind) -> Layout:
    if kind == "hmr-scorer":
        return hmr_scorer_layout(TINY_SCORER)
    return hyponet_layout(TINY_PAPER) if kind == "hyponet" else scorenet_layout(TINY_PAPER)


def random_part(part: Part, generator: torch.Generator) -> dict[str, Tensor]:
    """A state dict in the order of a layout; variances are positive."""
    drawn = {slot.name: torch.rand(slot.shape, generator=generator) for slot in part.slots}
    return {slot.name: drawn[slot.name] if slot.dtype.is_floating_point else torch.tensor(7) for slot in part.slots}


def snapshot_content(layout: Layout, seed: int = 0, *, prefix: str | None = None) -> dict[str, Any]:
    """What training code of the papers saves: state dicts, averages without names, an optimiser, counters."""
    generator = torch.Generator().manual_seed(seed)
    if prefix is None:
        prefix = "module." if layout.kind == "hmr-scorer" else ""
    content: dict[str, Any] = {}
    for part in layout.parts:
        content[part.key] = {prefix + name: value for name, value in random_part(part, generator).items()}
        averages = [nn.Parameter(torch.rand(slot.shape, generator=generator)) for slot in part.averaged]
        content[part.ema] = {"decay": 0.9999, "num_updates": 123, "shadow_params": averages}
    for name in layout.unused:
        moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}
        groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}]
        best = np.float64(0.0631) if name.startswith("min") else 12
        content[name] = {"state": moments, "param_groups": groups} if name.startswith("optimizer") else best
    return content


def write_snapshot(path: Path, kind: Kind, *, legacy: bool = False, **changes: Any) -> dict[str, Any]:
    """Write a tiny snapshot; returns what it holds."""
    content = {**snapshot_content(tiny_layout(kind)), **changes}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return content


def write_speaking_hyponet(path: Path) -> Path:
    """A tiny snapshot whose model gives finite samples, the averages and the raw weights alike."""
    model = tiny_paper()
    parts = {"model": model.denoiser, "model_cond": model.encoder}
    states = {key: module.state_dict() for key, module in parts.items()}
    averages = {
        key.replace("model", "ema"): {"decay": 0.9999, "num_updates": 3, "shadow_params": list(module.parameters())}
        for key, module in parts.items()
    }
    write_snapshot(path, "hyponet", **states, **averages)
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}
