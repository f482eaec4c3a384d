"""The `lite` networks as two ONNX graphs: what sees a person, once, and what denoises, once a step.

| graph | takes | gives |
| --- | --- | --- |
| encoder | `vector` (person, 112), `mask` (person, 48, 48), `has_mask` (person,) | `modulation`, `betas` |
| denoiser | `x_t` (person, hyp, 130), `t` (), `modulation` | `eps` (person, hyp, 130) |

A transformer's encoder also hands on `tokens`. Persons and hypotheses are free axes. The encoder goes as far as
`Prepared`, so that a step pays for hypotheses alone.
Written by torch's exporter of traces, which needs the package `onnx` and nothing else.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from hmralign.models.context import FEATURES, KeypointFeatures
from hmralign.models.denoiser import LiteConfig, Prepared
from hmralign.models.lite import LiteModel
from hmralign.models.pose_vector import POSE_DIM
from hmralign.structures import MASK_SIZE, InputError

OPSET = 17
"""The first with a layer norm of its own; ONNX Runtime reads it from 1.12 on."""

_FREE = {0: "person"}
_AXES = {
    "vector": _FREE, "mask": _FREE, "has_mask": _FREE, "modulation": _FREE, "betas": _FREE, "tokens": _FREE,
    "x_t": {0: "person", 1: "hyp"}, "eps": {0: "person", 1: "hyp"},
}  # fmt: skip


def require_onnx() -> None:
    """Raise InputError where the packages of the extra `onnx` are not installed."""
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        raise InputError("ONNX needs the packages onnx and onnxruntime: pip install 'hmralign[onnx]'")


@dataclass(frozen=True)
class LiteGraphs:
    """Two ONNX files as bytes."""

    encoder: bytes
    denoiser: bytes


def prepared_names(config: LiteConfig) -> tuple[str, ...]:
    """What the encoder hands to the denoiser."""
    return ("modulation", "tokens") if config.architecture == "transformer" else ("modulation",)


def encoder_names(config: LiteConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of the encoder."""
    return ("vector", "mask", "has_mask"), (*prepared_names(config), "betas")


def denoiser_names(config: LiteConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of the denoiser."""
    return ("x_t", "t", *prepared_names(config)), ("eps",)


class _Encoder(nn.Module):
    def __init__(self, model: LiteModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, vector: Tensor, mask: Tensor, has_mask: Tensor) -> tuple[Tensor, ...]:
        context = self.model.context(KeypointFeatures(vector, mask, has_mask))
        prepared = self.model.denoiser.prepare(context)
        given = (prepared.modulation,) if prepared.tokens is None else (prepared.modulation, prepared.tokens)
        return (*given, context.betas)


class _Denoiser(nn.Module):
    def __init__(self, model: LiteModel) -> None:
        super().__init__()
        assert isinstance(model.denoiser, nn.Module)
        self.denoiser = model.denoiser

    def forward(self, x_t: Tensor, t: Tensor, modulation: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.denoiser(x_t, t, Prepared(modulation, tokens).per_hypothesis())


@torch.no_grad()
def lite_graphs(model: LiteModel) -> LiteGraphs:
    """The graphs of a model on the processor. Raises InputError as `require_onnx`."""
    require_onnx()
    # Two persons and three hypotheses are traced; a mask is seen, so that the branch which reads it is in the graph.
    seen = (torch.rand(2, FEATURES), torch.rand(2, MASK_SIZE, MASK_SIZE), torch.ones(2))
    encoder = _Encoder(model).eval()
    prepared = encoder(*seen)[:-1]
    noise = (torch.zeros(2, 3, POSE_DIM), torch.tensor(model.denoiser.schedule.num_steps - 1), *prepared)
    return LiteGraphs(
        _traced(encoder, seen, *encoder_names(model.config)),
        _traced(_Denoiser(model).eval(), noise, *denoiser_names(model.config)),
    )


def _traced(module: nn.Module, seen: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    file = BytesIO()
    # torch 2.9 turned to another exporter, which needs more packages; before 2.5 there was none to choose.
    choice: Mapping[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    axes = {name: _AXES[name] for name in (*inputs, *outputs) if name in _AXES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one, and that a mask was seen
        torch.onnx.export(
            module, seen, file, input_names=list(inputs), output_names=list(outputs), dynamic_axes=axes,  # type: ignore[arg-type]
            opset_version=OPSET, **choice,
        )  # fmt: skip
    return file.getvalue()
