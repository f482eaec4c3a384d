"""What a base model is trained as: its size, data, steps and rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from hmralign.data.synthetic.generator import SyntheticMix
from hmralign.data.synthetic.poses import PoseMix
from hmralign.models.lite import LiteConfig
from hmralign.structures import InputError


@dataclass(frozen=True)
class BaseTrainingConfig:
    """How a base model is trained."""

    model: LiteConfig = field(default_factory=LiteConfig)
    data: SyntheticMix = field(default_factory=SyntheticMix)
    poses: PoseMix = field(default_factory=PoseMix)
    pose_file: str | None = None
    """Motion capture poses; without it all poses come from the shipped prior."""
    shards: str | tuple[str, ...] | None = None
    """Folders of examples with masks (`hmralign synth`, `hmralign bench`), drawn from as if they were one; without them
    no example has a mask."""
    shard_share: float = 0.3
    """Share of each batch that comes from the shards; 1 for nothing else."""
    mirror_share: float = 0.0
    """Share of the examples from shards that are mirrored: a finite set is then twice as large."""
    measured_noise: str | None = "mediapipe"
    """Detector whose measured residuals are replayed ("mediapipe_heavy" is what `recover` uses where its weights are
    installed), or the path of an npz file of them; None for generic noise only."""
    steps: int = 20000
    """Optimiser steps."""
    batch_size: int = 256
    """Observations per step."""
    draws: int = 4
    """(t, eps) per observation."""
    learning_rate: float = 1e-3
    """Peak; warms up over 500 steps."""
    decay: Literal["cosine", "none"] = "cosine"
    """After the warm-up: fall as a cosine to 1 % of the peak, or stay (for a first stage that another continues)."""
    start_from: str | None = None
    """State of an earlier stage (`state.pt`), or a checkpoint (`.safetensors`), from whose average this run starts."""
    weight_decay: float = 0.01
    """AdamW."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    betas_weight: float = 0.1
    """Weight of the shape loss."""
    ema_decay: float = 0.9995
    """Decay of the weight average."""
    seed: int = 0
    """Seed of initial weights, data and noise."""
    save_every: int = 500
    """Steps between checkpoints."""
    max_hours: float | None = None
    """Stop after this much wall time; the learning rate then follows elapsed time instead of steps."""

    def __post_init__(self) -> None:
        """Raise InputError for a value with which no run makes sense."""
        for name in ("steps", "batch_size", "draws", "learning_rate", "clip_norm", "save_every", "max_hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"training configuration: {name} must be positive, got {value}")
        for name in ("weight_decay", "betas_weight", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"training configuration: {name} must not be negative, got {getattr(self, name)}")
        for name in ("shard_share", "mirror_share", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"training configuration: {name} must be in 0..1, got {getattr(self, name)}")
        from_shards = round(self.batch_size * self.shard_share)
        if self.shards and (from_shards == 0 or (from_shards == self.batch_size and self.shard_share < 1)):
            raise InputError(
                f"training configuration: shard_share {self.shard_share} of batch_size {self.batch_size} leaves no "
                "example from the shards or none from the generator"
            )
