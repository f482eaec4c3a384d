"""How long a piece of work takes, what it computes, and what the machine could do in that time.

    work -> wall and CPU seconds (medians), peak memory -> floating-point operations, bytes -> share of the roofline

The roofline is measured beside the work: a matrix product gives GFLOP/s, a copy gives GB/s. Work cannot take less than
its operations at the one and its bytes at the other; how near it comes to the larger of the two is its share. Source:
Williams et al. 2009 (Roofline).
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]

_MATRIX = 768
_COPIED = 32 * 2**20
"""Bytes: more than caches hold."""
OVERHEAD = 0.2
"""Below that share neither arithmetic nor memory is what takes the time."""


@dataclass(frozen=True)
class Timing:
    """Medians over repetitions of one call."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all threads of this process."""
    repeats: int


@dataclass(frozen=True)
class Roofline:
    """What this machine reaches now."""

    flops_per_second: float
    """What a product of float32 matrices reaches per CPU second."""
    bytes_per_second: float
    """Read and written by a copy, per CPU second."""

    def record(self) -> dict[str, float]:
        """For the document."""
        return {"gflops": self.flops_per_second / 1e9, "gigabytes_per_second": self.bytes_per_second / 1e9}


@dataclass(frozen=True)
class Amount:
    """What one call computes in torch; 0 for what other libraries do."""

    flops: int
    bytes: int
    """Inputs and outputs of every operation."""

    def bound(self, roofline: Roofline) -> float:
        """CPU seconds that it takes at least."""
        return max(self.flops / roofline.flops_per_second, self.bytes / roofline.bytes_per_second)

    def note(self, cpu: float, roofline: Roofline) -> dict[str, Any]:
        """GFLOP/s, GB/s, share of the roofline, and what bounds the work."""
        share = self.bound(roofline) / cpu if cpu > 0 else 0.0
        by = "arithmetic" if self.flops / roofline.flops_per_second == self.bound(roofline) else "memory"
        if not self.flops and not self.bytes:
            by = "not counted"
        elif share < OVERHEAD:
            by = "overhead"
        return {
            "gflops": self.flops / cpu / 1e9 if cpu > 0 else 0.0,
            "gigabytes_per_second": self.bytes / cpu / 1e9 if cpu > 0 else 0.0,
            "share_of_roofline": share,
            "bound_by": by,
        }


def timed(work: Work, repeats: int) -> Timing:
    """After one call that does not count."""
    work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(statistics.median(walls), statistics.median(cpus), repeats)


def counted_work(work: Work) -> Amount:
    """Operations and bytes of one call."""
    with _Bytes() as moved, FlopCounterMode(display=False) as flops:
        work()
    return Amount(int(flops.get_total_flops()), moved.total)


def measured_roofline(repeats: int = 5) -> Roofline:
    """A matrix product and a copy on this process's threads."""
    a, b = torch.randn(_MATRIX, _MATRIX), torch.randn(_MATRIX, _MATRIX)
    source, target = torch.zeros(_COPIED, dtype=torch.uint8), torch.empty(_COPIED, dtype=torch.uint8)
    product = timed(lambda: torch.mm(a, b), repeats)
    copy = timed(lambda: target.copy_(source), repeats)
    return Roofline(2 * _MATRIX**3 / max(product.cpu, 1e-9), 2 * _COPIED / max(copy.cpu, 1e-9))


def peak_megabytes() -> float:
    """Most memory that this process has had (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


class _Bytes(TorchDispatchMode):
    """Counts bytes of what operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.total += sum(t.numel() * t.element_size() for t in _tensors((args, kwargs, out)))
        return out


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for item in value for t in _tensors(item)] if isinstance(value, list | tuple) else []
