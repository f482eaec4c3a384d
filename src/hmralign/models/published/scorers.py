"""Converted ScoreNets and HMR-Scorers as networks; `models.paper.checkpoint` does the same for HypoNet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from hmralign.models.checkpoint import opened_weights, require_finite, write_weights
from hmralign.models.paper.checkpoint import read_config
from hmralign.models.paper.config import HYPONET, PaperConfig
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from hmralign.models.published.conversion import CHECKPOINT_VERSION
from hmralign.models.published.layouts import Kind
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config", PaperConfig, HmrScorerConfig)


class ScoreNetModel(nn.Module):
    """ScoreNet with its image encoder: `score_net(hypotheses, encoder(image))`."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config, shape_head=False)
        self.score_net = ScoreNet(config)


def load_scorenet(path: str | Path, skeleton_hash: str, config: PaperConfig | None = HYPONET) -> ScoreNetModel:
    """Read a converted ScoreNet of that size for the given skeleton, in eval mode; None takes the size the file says.

    Raises InputError, naming the file, when it is missing, damaged, of another kind, version, size or skeleton, or when
    its weights do not fit or are not finite.
    """
    return _loaded(Path(path), "scorenet", skeleton_hash, PaperConfig, config, ScoreNetModel)


_PUBLISHED_SCORER = HmrScorerConfig()


def load_hmr_scorer(
    path: str | Path, skeleton_hash: str, config: HmrScorerConfig | None = _PUBLISHED_SCORER
) -> HmrScorer:
    """Read a converted HMR-Scorer; size and errors as `load_scorenet`."""
    return _loaded(Path(path), "hmr-scorer", skeleton_hash, HmrScorerConfig, config, HmrScorer)


def save_published_scorer(
    path: Path, network: ScoreNetModel | HmrScorer, skeleton_hash: str, sources: tuple[str, ...]
) -> Path:
    """Write a scorer as `load_scorenet` or `load_hmr_scorer` read it; `sources` say what it was trained on.

    Raises InputError for weights that are not finite.
    """
    is_scorenet = isinstance(network, ScoreNetModel)
    header = {
        "format_version": str(CHECKPOINT_VERSION),
        "kind": "scorenet" if is_scorenet else "hmr-scorer",
        "config": json.dumps(asdict(network.score_net.config if is_scorenet else network.config)),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(sources)),
    }
    return write_weights(path, network.state_dict(), header, half=False)


def _loaded(
    path: Path,
    kind: Kind,
    skeleton_hash: str,
    sizes: type[Config],
    config: Config | None,
    build: Callable[[Config], Network],
) -> Network:
    with opened_weights(path) as handle:
        header = handle.metadata() or {}
        _check_header(path, header, kind, skeleton_hash)
        size = read_config(path, sizes, header.get("config", ""))
        if config is not None and size != config:
            raise InputError(f"{path}: is of another size, or was made with other quirks, than was asked for")
        with torch.device("meta"):
            expected = {name: tensor.shape for name, tensor in build(size).state_dict().items()}
        found = {name: torch.Size(handle.get_slice(name).get_shape()) for name in handle.keys()}
        if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
            raise InputError(f"{path}: weights do not fit ({len(wrong)} of them differ, such as '{shown(wrong[0])}')")
        tensors = {name: handle.get_tensor(name) for name in expected}
    require_finite(path, tensors)
    network = build(size)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def _check_header(path: Path, header: dict[str, str], kind: Kind, skeleton_hash: str) -> None:
    version = header.get("format_version", "none")
    if version != str(CHECKPOINT_VERSION):
        raise InputError(f"{path}: checkpoint format {shown(version)}, this program reads {CHECKPOINT_VERSION}")
    if header.get("kind") != kind:
        raise InputError(f"{path}: holds a model of kind '{shown(header.get('kind'))}', expected '{kind}'")
    if header.get("skeleton_hash") != skeleton_hash:
        found = shown(header.get("skeleton_hash", "none")[:12])
        raise InputError(f"{path}: is bound to another skeleton ({found}..., this body is {skeleton_hash[:12]}...)")
