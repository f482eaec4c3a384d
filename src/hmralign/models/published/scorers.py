"""Converted ScoreNets and HMR-Scorers as networks; `models.paper.checkpoint` does the same for HypoNet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from hmralign.models.checkpoint import opened_weights, require_finite
from hmralign.models.paper.config import HYPONET, PaperConfig
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from hmralign.models.published.conversion import CHECKPOINT_VERSION
from hmralign.models.published.layouts import Kind
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.storage.run_record import plain
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Network = TypeVar("Network", bound=nn.Module)


class ScoreNetModel(nn.Module):
    """ScoreNet with its image encoder: `score_net(hypotheses, encoder(image))`."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config, shape_head=False)
        self.score_net = ScoreNet(config)


def load_scorenet(path: str | Path, skeleton_hash: str, config: PaperConfig = HYPONET) -> ScoreNetModel:
    """Read a converted ScoreNet of that size for the given skeleton, in eval mode.

    Raises InputError, naming the file, when it is missing, damaged, of another kind, version, size or skeleton, or when
    its weights do not fit or are not finite.
    """
    return _loaded(Path(path), "scorenet", skeleton_hash, asdict(config), lambda: ScoreNetModel(config))


def load_hmr_scorer(path: str | Path, skeleton_hash: str, config: HmrScorerConfig | None = None) -> HmrScorer:
    """Read a converted HMR-Scorer; size and errors as `load_scorenet`."""
    config = HmrScorerConfig() if config is None else config
    return _loaded(Path(path), "hmr-scorer", skeleton_hash, asdict(config), lambda: HmrScorer(config))


def _loaded(path: Path, kind: Kind, skeleton_hash: str, config: dict, build: Callable[[], Network]) -> Network:
    with opened_weights(path) as handle:
        _check_header(path, handle.metadata() or {}, kind, skeleton_hash, config)
        with torch.device("meta"):
            expected = {name: tensor.shape for name, tensor in build().state_dict().items()}
        found = {name: torch.Size(handle.get_slice(name).get_shape()) for name in handle.keys()}
        if wrong := sorted(name for name in expected | found if expected.get(name) != found.get(name)):
            raise InputError(f"{path}: weights do not fit ({len(wrong)} of them differ, such as '{shown(wrong[0])}')")
        tensors = {name: handle.get_tensor(name) for name in expected}
    require_finite(path, tensors)
    network = build()
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)


def _check_header(path: Path, header: dict[str, str], kind: Kind, skeleton_hash: str, config: dict) -> None:
    version = header.get("format_version", "none")
    if version != str(CHECKPOINT_VERSION):
        raise InputError(f"{path}: checkpoint format {shown(version)}, this program reads {CHECKPOINT_VERSION}")
    if header.get("kind") != kind:
        raise InputError(f"{path}: holds a model of kind '{shown(header.get('kind'))}', expected '{kind}'")
    if header.get("skeleton_hash") != skeleton_hash:
        found = shown(header.get("skeleton_hash", "none")[:12])
        raise InputError(f"{path}: is bound to another skeleton ({found}..., this body is {skeleton_hash[:12]}...)")
    try:
        size = parse_json(header.get("config", ""), HEADER)
    except JsonError as error:
        raise InputError(f"{path}: its configuration is not JSON ({error})") from error
    if size != plain(config):
        raise InputError(f"{path}: is of another size, or was made with other quirks, than was asked for")
