"""How a policy is trained on preferences, whatever the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hmralign.diffusion.loss_weights import LossWeight
from hmralign.structures import InputError


@dataclass(frozen=True)
class PreferenceTrainingConfig:
    """How a policy is trained, whatever the objective."""

    steps: int = 300
    """Optimiser steps."""
    batch_size: int = 256
    """Hypotheses per step; an item with several members counts as several."""
    accumulate: int = 1
    """A batch is computed in so many parts."""
    learning_rate: float = 1e-4
    """Peak of AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate falls to zero as a cosine, or stays."""
    halved_at: float | None = None
    """Share of the steps after which the learning rate is halved, as the public codes halve it once; None never."""
    warmup: int = 20
    """Steps in which the learning rate rises."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.98
    """Decay of the weight average, which is the result."""
    loss_weight: LossWeight = "v"
    """lambda_t: weight of a squared noise error at time t."""
    trainable: Literal["denoiser", "all", "lora"] = "denoiser"
    """What is trained; `lora` adds low-rank updates to the denoiser's linear layers and merges them in the end."""
    encoder_rate: float = 1.0
    """Learning rate of the encoder, where it is trained (`all`), as a multiple of the denoiser's."""
    lora_rank: int = 8
    """Rank of these updates."""
    cache_context: bool = True
    """Compute contexts once; must be false where the encoder is trained."""
    context_variants: int = 2
    """Ways in which each person is seen (plain, mirrored, with keypoints hidden ...)."""
    dropout: bool = False
    """Leave the policy's dropout on, as the public ADHMR code does; the reference's is always off."""
    seed: int = 0
    """Seed of batches, times and noise."""
    save_every: int = 100
    """Steps between saved states."""
    check_every: int = 50
    """Steps between looks at the held-out persons."""
    tensorboard: bool = False
    """Also write curves for TensorBoard (`pip install tensorboard`)."""
    max_loss_ratio: float = 3.0
    """Guard: the averaged policy's loss on its training samples, over the reference's."""
    max_drop: float = 1.0
    """Guard: by how much the held-out score may fall below the start's, in standard deviations within a group."""
    min_spread: float = 0.2
    """Guard: smallest spread of hypotheses, as a share of the start's."""

    def __post_init__(self) -> None:
        """Raise InputError for a value with which no run makes sense."""
        for name in (
            "steps", "batch_size", "accumulate", "learning_rate", "clip_norm", "lora_rank", "context_variants",
            "save_every", "check_every", "max_loss_ratio", "max_drop", "encoder_rate",
        ):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"alignment configuration: {name} must be positive, got {getattr(self, name)}")
        if self.halved_at is not None and not 0 < self.halved_at < 1:
            raise InputError(f"alignment configuration: halved_at is {self.halved_at}; expected a share of the steps")
        if not 0 <= self.ema_decay < 1 or not 0 <= self.min_spread < 1:
            raise InputError("alignment configuration: ema_decay and min_spread must be in 0..1, 1 excluded")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.seed < 2**31 or self.warmup < 0:
            raise InputError(
                "alignment configuration: weight_decay and warmup must not be negative, seed in 0..2147483647"
            )
        if self.trainable == "all" and self.cache_context:
            raise InputError(
                "alignment configuration: trainable = all trains the encoder, whose contexts cannot be kept; "
                "set cache_context = false"
            )
