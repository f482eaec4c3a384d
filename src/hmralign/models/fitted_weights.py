"""Weights of a file put into a model, after they were found to be the model's: names, shapes, finite values.

    handle of a safetensors file -> shapes (no value is read) -> do they fit? -> values -> finite? -> model

The model of a header's configuration is first built without memory, so that a forged header allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hmralign.models.without_memory import without_memory
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Network = TypeVar("Network", bound=nn.Module)


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError naming the first weight that is not finite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: weight '{name}' holds values that are not finite")


def require_shapes(path: Path, build: Callable[[], nn.Module], found: Mapping[str, torch.Size]) -> None:
    """Raise InputError naming the first weight that is missing, unknown or of another shape than `build` asks for."""
    with without_memory():  # nothing is allocated for a configuration that the weights do not fit
        expected = {name: tensor.shape for name, tensor in build().state_dict().items()}
    if wrong := sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name)):
        raise InputError(
            f"{path}: weights do not fit the model ({len(wrong)} of them differ, such as '{shown(wrong[0])}')"
        )


def fitted(
    path: Path,
    build: Callable[[], Network],
    tensors: Mapping[str, Tensor],
    bare: Callable[[], nn.Module] | None = None,
) -> Network:
    """The model with these weights, in eval mode, without gradients.

    `bare` builds the same weights alone, where `build` would read files. Raises InputError, naming the file, for
    weights that are not the model's or not finite.
    """
    require_finite(path, tensors)
    require_shapes(path, bare or build, {name: tensor.shape for name, tensor in tensors.items()})
    model = build()
    model.load_state_dict(dict(tensors))
    return model.eval().requires_grad_(False)


def read_fitted(path: Path, handle: Any, build: Callable[[], Network]) -> Network:
    """`fitted` with the weights of an opened safetensors file, whose values are read only where their shapes fit.

    Numbers with a point become float32. Errors as `fitted`.
    """
    names = list(handle.keys())
    require_shapes(path, build, {name: torch.Size(handle.get_slice(name).get_shape()) for name in names})
    tensors = {name: handle.get_tensor(name) for name in names}
    return fitted(path, build, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
