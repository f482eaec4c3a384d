"""Layouts of published snapshots of HypoNet, ScoreNet and HMR-Scorer: which tensors are where in such a file.

Sources: ScoreHypo (Xu et al. 2024) and ADHMR (Shen et al. 2025), whose training code writes these files. Names, shapes
and order are those of the classes of `models.paper`, which are built without memory to be asked for them.

The order counts: running averages of weights are stored as a list without names, in the order of the parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import nn

from hmralign.models.paper.config import HYPONET, PaperConfig
from hmralign.models.paper.hmr_scorer import HmrScorer, HmrScorerConfig
from hmralign.models.paper.hyponet import HypoNet
from hmralign.models.paper.image_encoder import ImageEncoder
from hmralign.models.paper.scorenet import ScoreNet
from hmralign.models.without_memory import without_memory

Kind = Literal["hyponet", "scorenet", "hmr-scorer"]
"""Which published model; the word is that of the command line and of a checkpoint's header."""

KINDS: tuple[Kind, ...] = ("hyponet", "scorenet", "hmr-scorer")


class Slot(NamedTuple):
    """One tensor of a layout."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    is_parameter: bool
    """Whether it is trained; false for buffers, which no running average has."""


@dataclass(frozen=True)
class Part:
    """A module of a snapshot."""

    key: str
    """Its entry in the file."""
    ours: str
    """What stands before its names in our checkpoints."""
    slots: tuple[Slot, ...]
    ema: str
    """Entry of its running average."""
    ema_of: str = ""
    """The average is over the parameters whose names begin so."""

    @property
    def averaged(self) -> tuple[Slot, ...]:
        """The tensors of the running average, in its order."""
        return tuple(s for s in self.slots if s.is_parameter and s.name.startswith(self.ema_of))


@dataclass(frozen=True)
class Layout:
    """The modules of a kind of snapshot, and what else such files have."""

    kind: Kind
    config: str
    """Sizes, as JSON for a checkpoint's header."""
    parts: tuple[Part, ...]
    unused: Mapping[str, str] = field(default_factory=dict)
    """Other entries of the file, and what they are."""


def hyponet_layout(config: PaperConfig = HYPONET) -> Layout:
    """Denoiser and image encoder."""
    parts = (
        Part("model", "denoiser.", _slots(lambda: HypoNet(config)), "ema"),
        Part("model_cond", "encoder.", _slots(lambda: ImageEncoder(config)), "ema_cond"),
    )
    training = {"optimizer": "optimiser", "optimizer_cond": "optimiser", "epoch": "counter", "step": "counter"}
    errors = {"min_mpjpe_h36m": "best error while training", "min_mpjpe_pw3d": "best error while training"}
    return Layout("hyponet", json.dumps(asdict(config)), parts, {**training, **errors})


def scorenet_layout(config: PaperConfig = HYPONET) -> Layout:
    """Scorer and its own image encoder, which predicts no shape."""
    parts = (
        Part("model_score", "score_net.", _slots(lambda: ScoreNet(config)), "ema_score"),
        Part("model_score_cond", "encoder.", _slots(lambda: ImageEncoder(config, shape_head=False)), "ema_score_cond"),
    )
    optimisers = {"optimizer_score": "optimiser", "optimizer_score_cond": "optimiser"}
    return Layout("scorenet", json.dumps(asdict(config)), parts, {**optimisers, "epoch": "counter", "step": "counter"})


def hmr_scorer_layout(config: HmrScorerConfig | None = None) -> Layout:
    """Encoder and scorer in one module. The encoder is frozen: the average can only be over the scorer."""
    config = HmrScorerConfig() if config is None else config
    network = Part("network", "", _slots(lambda: HmrScorer(config)), "ema_score", ema_of="score_net.")
    return Layout("hmr-scorer", json.dumps(asdict(config)), (network,), {"optimizer": "optimiser", "epoch": "counter"})


@lru_cache
def published_layout(kind: Kind) -> Layout:
    """The layout of a kind at its published size."""
    made: dict[Kind, Callable[[], Layout]] = {
        "hyponet": hyponet_layout,
        "scorenet": scorenet_layout,
        "hmr-scorer": hmr_scorer_layout,
    }
    return made[kind]()


def _slots(build: Callable[[], nn.Module]) -> tuple[Slot, ...]:
    """All tensors of a module that a state dict holds, in its order; nothing is allocated for them."""
    with without_memory():
        module = build()
    trained = dict(module.named_parameters())
    return tuple(
        Slot(name, tensor.dtype, tuple(tensor.shape), name in trained) for name, tensor in module.state_dict().items()
    )
