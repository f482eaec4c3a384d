"""How much a backward pass keeps in memory: the bytes of tensors that autograd saves while a loss is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def saved_bytes(compute: Callable[[], Any], model: nn.Module | None = None) -> int:
    """Bytes that autograd saves for the backward pass of `compute()`; each storage counts once.

    The parameters of `model` are left out: they are in memory anyhow.
    """
    own = set() if model is None else {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}
    kept: list[Any] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(compute())  # as long as the graph lives no storage is given away and counted under another's place
    return sum(sizes.values())
