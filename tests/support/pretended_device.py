"""A second device that computes like the CPU, and refuses what a GPU would refuse: tensors of two devices together.

Tensors that are brought there carry a mark, and so does all that is made of them. It has no kernels of its own; those
of Warp, which draw triangles, run on the CPU's memory that it really is (`with_kernels`).
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

NAME = "privateuseone"
"""A word that torch knows as a device's and has nothing behind."""


class _Backend(ModuleType):
    """What `torch.autocast` and `torch.manual_seed` ask a device's module, also where nothing is there."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """It has no generator of its own."""


if not hasattr(torch, NAME):
    torch._register_device_module(NAME, _Backend(NAME))

_ACROSS = {"copy_", "__deepcopy__", "_has_compatible_shallow_copy_type"}
_ELSEWHERE = {"numpy", "__array__"}


class PretendedDevice(TorchFunctionMode):
    """While it is entered, `torch.device(NAME)` holds tensors; `used` counts operations on them."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0
        self._own_deepcopy = torch.nn.Parameter.__deepcopy__

    def __enter__(self):
        own = self._own_deepcopy  # makes its copy below the calls that this mode sees
        torch.nn.Parameter.__deepcopy__ = lambda tensor, memo: marked(own(tensor, memo), is_there(tensor))
        return super().__enter__()

    def __exit__(self, *failure):
        torch.nn.Parameter.__deepcopy__ = self._own_deepcopy
        return super().__exit__(*failure)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        owner = getattr(func, "__self__", None)
        if name == "__get__" and getattr(owner, "__name__", "") == "device":
            return torch.device(NAME) if is_there(args[0]) else func(*args, **kwargs)
        if name == "__get__":
            return marked(func(*args, **kwargs), is_there(args[0]))
        if name == "__set__":
            func(*args, **kwargs)
            if isinstance(args[0], Tensor) and isinstance(args[1], Tensor):
                marked(args[0], is_there(args[1]))
            return None
        if name == "cpu":
            return marked(func(*args, **kwargs).clone(), False)
        if name in ("to", "type_as"):
            return self._moved(func, args, kwargs)
        there = self._is_there(name, args, kwargs)
        if _is_named(kwargs.get("device")):
            kwargs["device"] = "cpu"
            if isinstance(kwargs.get("generator"), torch.Generator):
                raise RuntimeError(f"{name}: a generator of the CPU draws on {NAME}")
            there = True
        if there and name in _ELSEWHERE:
            raise TypeError(f"{name}: the tensor is on {NAME}")
        self.used += there
        return tree_map_only(Tensor, lambda t: marked(t, there), func(*args, **kwargs))

    def _moved(self, func, args, kwargs):
        own, *rest = args
        target = [*rest, *kwargs.values()]
        there = is_there(own)
        for value in target:
            if isinstance(value, Tensor):
                there = is_there(value)
            elif isinstance(value, torch.device) or (isinstance(value, str) and not isinstance(value, torch.dtype)):
                there = _is_named(value)
        plain = ["cpu" if _is_named(v) else v for v in rest]
        moved = func(own, *plain, **{k: "cpu" if _is_named(v) else v for k, v in kwargs.items()})
        return marked(moved.clone() if there != is_there(own) else moved, there)

    def _is_there(self, name, args, kwargs) -> bool:
        """Where an operation happens. Raises RuntimeError for tensors of two places, as CUDA does."""
        flat, _ = tree_flatten((args, kwargs))
        tensors = [t for t in flat if isinstance(t, Tensor)]
        if not tensors:
            return False
        if name in _ACROSS:
            return is_there(tensors[0])
        if name in ("__getitem__", "__setitem__"):
            return is_there(args[0])  # an index may be on the CPU
        places = {is_there(t) for t in tensors if t.ndim > 0}
        if len(places) > 1:
            raise RuntimeError(f"{name}: expected all tensors on the same device, found cpu and {NAME}")
        return any(map(is_there, tensors))


def with_kernels(monkeypatch) -> None:
    """Let Warp take tensors of the device, for kernels that know the CPU and CUDA alone."""
    import warp

    taken, known = warp.from_torch, warp.device_from_torch
    monkeypatch.setattr(warp, "from_torch", lambda t, *a, **k: taken(marked(t.view_as(t), False), *a, **k))
    monkeypatch.setattr(warp, "device_from_torch", lambda device: known("cpu" if _is_named(device) else device))


def is_there(tensor: Tensor) -> bool:
    return getattr(tensor, "_pretended", False)


def marked(value, there: bool):
    if isinstance(value, Tensor):
        value._pretended = there
    return value


def _is_named(value) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith(NAME)
