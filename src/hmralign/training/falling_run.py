"""The loop that most networks of this package are trained in: so many steps of AdamW at a rate that falls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from hmralign.training.learning_rate import falling_rate
from hmralign.training.loop import LoopConfig


@runtime_checkable
class FallingRun(Protocol):
    """What a configuration says of such a run."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        ...

    @property
    def learning_rate(self) -> float:
        """Peak of the rate."""
        ...

    @property
    def weight_decay(self) -> float:
        """Decay of the weights in a step, a share of the rate."""
        ...

    @property
    def ema_decay(self) -> float:
        """Decay of the weight average."""
        ...

    @property
    def save_every(self) -> int:
        """Steps between states to resume from."""
        ...


def falling_loop(
    config: FallingRun,
    device: Any,
    *,
    clip_norm: float = 1.0,
    fused: bool = False,
    log_every: int = 100,
    clock: Callable[[], float] = time.process_time,
) -> LoopConfig:
    """The loop of a configuration; seconds of its curve are those of the processor unless told otherwise."""
    return LoopConfig(
        rate=falling_rate(config.steps, config.learning_rate),
        steps=config.steps,
        weight_decay=config.weight_decay,
        fused=fused,
        clip_norm=clip_norm,
        ema_decay=config.ema_decay,
        log_every=log_every,
        save_every=config.save_every,
        device=device,
        clock=clock,
    )
