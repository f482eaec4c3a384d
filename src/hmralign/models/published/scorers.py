"""Converted ScoreNets and HMR-Scorers as networks; `models.paper.checkpoint` does the same for HypoNet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from torch import nn

from hmralign.models.checkpoint import opened_weights, require_header, write_weights
from hmralign.models.fitted_weights import read_fitted
from hmralign.models.paper.checkpoint import read_config
from hmralign.models.paper.config import HYPONET, PaperConfig
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from hmralign.models.published.conversion import CHECKPOINT_VERSION
from hmralign.models.published.layouts import Kind
from hmralign.structures import InputError

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
        require_header(path, header, kind, skeleton_hash)
        size = read_config(path, sizes, header.get("config", ""))
        if config is not None and size != config:
            raise InputError(f"{path}: is of another size, or was made with other quirks, than was asked for")
        return read_fitted(path, handle, lambda: build(size))
