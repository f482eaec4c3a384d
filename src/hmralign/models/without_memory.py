"""Networks built without memory and without numbers, for their names and shapes alone.

torch's `meta` device does so, but its arithmetic loads torch's compiler, 1 to 2 CPU seconds for a command that needs
nothing else of it. The numbers that a network begins with are drawn and scaled, and nobody reads them here: they are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_IN_PLACE = (Tensor.normal_, Tensor.uniform_, torch.nn.init.normal_, torch.nn.init.trunc_normal_)
_PRODUCTS = (Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul)


@contextmanager
def without_memory() -> Iterator[None]:
    """What is built inside has names, shapes and dtypes, and no values."""
    with torch.device("meta"), _NoNumbers():
        yield


class _NoNumbers(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.randn:
            given.pop("generator", None)
            return torch.empty(*args, **given)
        if func in _IN_PLACE and args:
            return args[0]
        if func in _PRODUCTS and len(args) == 2 and isinstance(args[1], int | float):
            return args[0]
        return func(*args, **given)
