"""How HypoNet is trained from pictures and labels.  Source: the recipe of ScoreHypo (Xu et al. 2024), sec. 4; its code.

| here | recipe |
| --- | --- |
| `shape_weight`, `heatmap_weight` | 10; 10 on H36M, 40 on 3DPW, 20 else |
| `body_rate`, `head_rate`, `denoiser_rate` | Adam 2e-4 (HRNet), 1e-3 (its new heads), 5e-4 with eps 1e-24 (denoiser) |
| `halve_at` | factor 0.5 after epochs 20, 30, 40; after 35 where a run goes on from H36M |
| `clip_norm`, `ema_decay`, `batch_size` | 1; 0.9999 with warm-up, of parameters alone; 160 a device |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hmralign.models.paper.config import PaperConfig
from hmralign.structures import InputError
from hmralign.training.crop_augmentation import CropAugmentation


@dataclass(frozen=True)
class MixedData:
    """A data set of a mixture, its share, and which of its labels are used."""

    dataset: str
    """One of `data.names.DATASETS`; persons with pictures."""
    folder: str
    """Where it lies."""
    split: str
    """Which persons."""
    weight: float = 1.0
    """Share of what is drawn, relative to the others' weights."""
    depths: bool = True
    """Whether depths of joints are labels; else u and v alone are."""
    twists: bool = True
    """Whether twists are labels."""
    shapes: bool = True
    """Whether betas are labels."""
    label_body: str | None = None
    """File of the body that the labels of a published data set pose, or a folder with one for each gender; the body
    that is trained on where nothing is said."""

    def __post_init__(self) -> None:
        """Raise InputError for a weight that is not positive."""
        if not 0 < self.weight < math.inf:
            raise InputError(f"data: weight is {self.weight}; expected a positive number")


@dataclass(frozen=True)
class PaperTrainingConfig:
    """One run; the defaults are the first stage, on H36M."""

    data: tuple[MixedData, ...] = ()
    """What is mixed. Each item of a batch is of one of them by weight, and then any of its persons."""
    model: PaperConfig = field(default_factory=PaperConfig)
    """Sizes; those of `start_from` where it is given."""
    start_from: str | None = None
    """A checkpoint of HypoNet to go on from; else all weights are random, also the image encoder's."""
    epochs: float = 50.0
    """Length of the run. An epoch is twice the largest data set."""
    first_epoch: float = 0.0
    """Epochs that were before, for `halve_at`."""
    halve_at: tuple[int, ...] = (20, 30, 40)
    """Epochs after each of which rates are halved."""
    batch_size: int = 160
    """Persons of a step."""
    accumulate: int = 1
    """A batch is computed in so many parts; norms of the encoder see one part at a time."""
    body_rate: float = 2.0e-4
    """Adam's rate of HRNet."""
    head_rate: float = 1.0e-3
    """Adam's rate of the heads that HypoNet adds to it."""
    denoiser_rate: float = 5.0e-4
    """Adam's rate of the denoiser."""
    denoiser_eps: float = 1.0e-24
    """Adam's eps of the denoiser."""
    shape_weight: float = 10.0
    """Weight of the squared error of betas."""
    heatmap_weight: float = 10.0
    """Weight of the squared error of joints in the picture, -1 to 1 over the crop."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.9999
    """Decay of the average of parameters, min(decay, (1 + n) / (10 + n)) after n steps; the result."""
    finetune: bool = False
    """Rates are halved and norms keep their statistics: the papers' supervised baseline (SFT)."""
    bf16: bool = False
    """Forward passes in bfloat16 where that is safe (autocast)."""
    augmentation: CropAugmentation = field(default_factory=CropAugmentation)
    """What happens to crops and labels together."""
    seed: int = 0
    """Seed of weights, batches, augmentation, times, noise and dropout."""
    save_every: int = 500
    """Steps between saved states."""
    log_every: int = 50
    """Steps between lines of the curve."""

    def __post_init__(self) -> None:
        """Raise InputError for a value with which no run makes sense."""
        for name in (
            "epochs", "batch_size", "accumulate", "body_rate", "head_rate", "denoiser_rate", "denoiser_eps",
            "clip_norm", "save_every", "log_every",
        ):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training of HypoNet: {name} must be positive, got {getattr(self, name)}")
        for name in ("shape_weight", "heatmap_weight", "first_epoch", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"training of HypoNet: {name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"training of HypoNet: ema_decay must be in 0..1, got {self.ema_decay}")
        if self.accumulate > self.batch_size:
            raise InputError("training of HypoNet: a batch cannot be computed in more parts than it has persons")
