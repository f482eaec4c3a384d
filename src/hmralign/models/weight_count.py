"""How many weights a configuration asks for, told before a network of it is built.

A header of a hundred bytes may ask for 16,384 blocks, which take minutes and gigabytes to build even without weights.
Blocks are alike, so what a network has grows evenly with each depth: networks of depth 1 and 2 tell the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from hmralign.models.without_memory import without_memory
from hmralign.structures import InputError


class WeightCount(NamedTuple):
    """Tensors of a network, and numbers in all of them."""

    tensors: int
    numbers: int


def count_of(state: Mapping[str, Tensor]) -> WeightCount:
    """What is there."""
    return WeightCount(len(state), sum(tensor.numel() for tensor in state.values()))


def asked_for(build: Callable[[Any], nn.Module], config: Any, depths: tuple[str, ...]) -> WeightCount:
    """What `build(config)` would have; `depths` are the fields of numbers of blocks that are alike."""
    shallow = replace(config, **dict.fromkeys(depths, 1))
    least = _built(build, shallow)
    tensors, numbers = least
    for name in depths:
        deeper = _built(build, replace(shallow, **{name: 2}))
        more = getattr(config, name) - 1
        tensors += more * (deeper.tensors - least.tensors)
        numbers += more * (deeper.numbers - least.numbers)
    return WeightCount(tensors, numbers)


def require_weights(path: Path, found: WeightCount, asked: WeightCount) -> None:
    """Raise InputError where a file's weights are not as many as its configuration asks for."""
    if found != asked:
        raise InputError(
            f"{path}: weights do not fit the model: its configuration asks for {asked.numbers} numbers in "
            f"{asked.tensors} tensors, the file has {found.numbers} in {found.tensors}"
        )


def _built(build: Callable[[Any], nn.Module], config: Any) -> WeightCount:
    with without_memory():
        return count_of(build(config).state_dict())
