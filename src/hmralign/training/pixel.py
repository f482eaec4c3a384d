"""Training of the pixel model: the lite model goes on, with pictures of some persons and keypoints alone of others.

    shards with pictures -> patches, keypoints, x_0, tilts --+
    generator            -> keypoints, x_0 ------------------+-> (t, eps) -> v, shape and tilt losses

The tilt of limbs is what pixels say and keypoints do not; it is asked for outright, since what reaches the reader
through the denoiser is drowned in its noise. Persons without a picture keep the keypoint part as it was. The control
without pixels (`use_pixels: false`) sees the same persons in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.data.shards import ShardSet, read_index, read_shard, source_of
from hmralign.models.checkpoint import checkpoint_kind, checkpoint_path, read_weights, trained_on
from hmralign.models.context import KeypointFeatures, mirrored_features
from hmralign.models.pixel.checkpoint import load_pixel, save_pixel
from hmralign.models.pixel.limb_tilts import limb_tilts
from hmralign.models.pixel.part_patches import MIRROR_LIMBS, PartPatches, mirrored_patches, part_patches
from hmralign.models.pixel.pixel_model import PixelConfig, PixelFeatures, PixelModel
from hmralign.models.pose_vector import mirror
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError, TensorRecord
from hmralign.training.base_batches import SyntheticBatches, training_batch
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import training_sources
from hmralign.training.base_losses import velocity_errors
from hmralign.training.configuration import write_training_config
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.step import Part, Step

_FIGURES = ("v_loss", "betas_loss", "tilt_loss", "fresh_v_loss")
"""Columns of the curve."""


@dataclass(frozen=True)
class PixelTrainingConfig:
    """How a pixel model is trained."""

    start_from: str = "lite"
    """Weights of a lite model, by name or path, or of a pixel model, which is trained on; sizes are theirs."""
    token: int = 64
    """Channels of a body part's token, of a new reader; so are the next two."""
    channels: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of the convolutions."""
    depth: int = 2
    """Residual blocks over all parts together."""
    shards: tuple[str, ...] = ()
    """Folders of persons with pictures (`hmralign synth --pictures`)."""
    fresh: BaseTrainingConfig = field(default_factory=lambda: BaseTrainingConfig(batch_size=64))
    """Persons that are drawn anew, without pictures: its data, poses, noise and batch size are used."""
    use_pixels: bool = True
    """Control: the same persons without their pictures."""
    batch_size: int = 192
    """Persons with pictures per step."""
    draws: int = 2
    """(t, eps) per person."""
    steps: int = 4000
    """Optimiser steps."""
    learning_rate: float = 5e-4
    """Peak, falling as a cosine after 200 steps of warm-up."""
    weight_decay: float = 0.02
    """AdamW."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    betas_weight: float = 0.1
    """Weight of the shape loss."""
    tilt_weight: float = 0.3
    """Weight of the error of the limbs' tilts."""
    ema_decay: float = 0.998
    """Decay of the weight average."""
    save_every: int = 250
    """Steps between states to resume from."""
    max_hours: float | None = None
    """Stop after this much wall time; the rate then follows elapsed time instead of steps."""
    seed: int = 0
    """Seed of initial weights, order and noise."""

    def __post_init__(self) -> None:
        """Raise InputError for values with which no run makes sense."""
        for name in ("batch_size", "draws", "steps", "learning_rate", "clip_norm", "save_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"pixel training: {name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "betas_weight", "tilt_weight", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"pixel training: {name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"pixel training: ema_decay must be in 0..1, got {self.ema_decay}")


@dataclass(frozen=True)
class PicturedPersons(TensorRecord):
    """Network input and targets of persons with pictures; masks as bytes, which take a quarter of the room."""

    patches: PartPatches
    vector: Float[Tensor, "n features"]
    mask: UInt8[Tensor, "n mask_h mask_w"]
    has_mask: Float[Tensor, " n"]
    pose_vector: Float[Tensor, "n 130"]
    betas: Float[Tensor, "n betas"]
    tilt: Float[Tensor, "n limbs"]

    @property
    def features(self) -> PixelFeatures:
        """Network input."""
        return PixelFeatures(KeypointFeatures(self.vector, self.mask.float() / 255, self.has_mask), self.patches)


def read_pictured(folders: tuple[str, ...]) -> PicturedPersons:
    """All persons of shard folders, finished or not, shard by shard: pictures themselves are not kept.

    Raises InputError where there are no shards, or shards without pictures.
    """
    body, parts = load_free_body("3k5"), []
    for folder in folders:
        for path in sorted(Path(folder).glob("shard_*.safetensors")):
            shard = ShardSet(read_shard(path))
            example = shard[torch.arange(len(shard))]
            if example.observation.crop is None:
                raise InputError(f"{path}: its persons have no pictures; write them with `hmralign synth --pictures`")
            batch = training_batch(example, body)
            assert example.annotation is not None
            parts.append(
                PicturedPersons(
                    part_patches(example.observation),
                    batch.features.vector,
                    (batch.features.mask * 255).round().to(torch.uint8),
                    batch.features.has_mask,
                    batch.pose_vector,
                    batch.betas,
                    limb_tilts(example.annotation.joints),
                )
            )
    if not parts:
        raise InputError(f"there are no shards in {', '.join(folders) or 'no folder'}; expected persons with pictures")
    return PicturedPersons.cat(parts)


def train_pixel(config: PixelTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> PixelModel:
    """Train, resuming from `folder` if it holds an unfinished run; returns the averaged model.

    Writes `state.pt` and `curve.jsonl`. Raises InputError for shards, weights and states that are missing or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    persons = read_pictured(config.shards)
    model = starting_model(config)
    curve = Curve(folder / "curve.jsonl", columns=_FIGURES, rounded=five_decimals, said_every=250)
    loop = Loop(model, pixel_step(config, persons), _loop(config, device), state=folder / "state.pt", curve=curve)
    averaged = loop.run()
    assert isinstance(averaged, PixelModel)
    return averaged


def train_pixel_file(config: PixelTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> Path:
    """`train_pixel`, written with its configuration into the folder. Errors as there."""
    folder.mkdir(parents=True, exist_ok=True)
    write_training_config(folder / "config.yaml", config)
    model = train_pixel(config, folder, device)
    return save_pixel(
        folder / "pixel.safetensors", model, load_free_body("3k5").skeleton_hash, sources=pixel_sources(config)
    )


def starting_model(config: PixelTrainingConfig) -> PixelModel:
    """The lite model with a reader that adds nothing yet, or a pixel model as it is. Errors as the loaders."""
    torch.manual_seed(derived_seed(config.seed, "weights"))
    if checkpoint_kind(config.start_from) == "pixel":
        return load_pixel(config.start_from, load_free_body("3k5").skeleton_hash).requires_grad_(True)
    lite, weights = read_weights(checkpoint_path(config.start_from), load_free_body("3k5").skeleton_hash)
    model = PixelModel(PixelConfig(lite, config.token, config.channels, config.depth))
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if wrong := [name for name in missing if not name.startswith("encoder.pixels.")]:
        raise InputError(f"{config.start_from}: weights do not fit the model (such as '{wrong[0]}')")
    return model


def pixel_step(config: PixelTrainingConfig, persons: PicturedPersons) -> Step:
    """What a step minimises; a function of its number, the persons and the configuration alone."""
    fresh: Iterator | None = None

    def parts(model: PixelModel, step: int) -> Iterator[Part]:
        nonlocal fresh
        fresh = iter(SyntheticBatches(config.fresh, step)) if fresh is None else fresh
        draw, place = seeded(config.seed, "step", step), next(model.parameters()).device
        chosen = torch.randint(len(persons.betas), (config.batch_size,), generator=draw)
        mirrored = torch.rand(config.batch_size, generator=draw) < 0.5
        batch = with_mirror_images(persons[chosen], mirrored).to(place)
        share = config.batch_size / (config.batch_size + config.fresh.batch_size)
        yield _pictured_part(model, batch, config, share, draw)
        plain = next(fresh).to(place)
        context = model.encoder.without_pixels(plain.features)
        errors = velocity_errors(model, context, plain.pose_vector, config.draws, draw)
        terms = {"v_loss": errors, "betas_loss": (context.betas - plain.betas).square()}
        said = {**dict.fromkeys(_FIGURES, 0.0), "fresh_v_loss": float(errors.detach().mean()) / (1 - share)}
        yield Part(terms, {"betas_loss": config.betas_weight}, share=1 - share, figures=said)

    return parts


def _pictured_part(
    model: PixelModel, batch: PicturedPersons, config: PixelTrainingConfig, share: float, draw: torch.Generator
) -> Part:
    features = batch.features
    if config.use_pixels:
        context, tilt = model.encoder.read(features)
    else:
        context = model.encoder.without_pixels(features.keypoints)
        tilt = torch.zeros_like(batch.tilt)
    terms = {
        "v_loss": velocity_errors(model, context, batch.pose_vector, config.draws, draw),
        "betas_loss": (context.betas - batch.betas).square(),
        "tilt_loss": (tilt - batch.tilt).square(),
    }
    # Figures of parts are weighed by their shares; these are of this part alone.
    figures = {name: float(term.detach().mean()) / share for name, term in terms.items()}
    weights = {"betas_loss": config.betas_weight, "tilt_loss": config.tilt_weight}
    return Part(terms, weights, share, dict.fromkeys(_FIGURES, 0.0) | figures)


def with_mirror_images(persons: PicturedPersons, mirrored: Tensor) -> PicturedPersons:
    """Persons, some of them as their mirror images."""
    keypoints = mirrored_features(persons.features.keypoints)
    other = PicturedPersons(
        mirrored_patches(persons.patches),
        keypoints.vector,
        persons.mask.flip(-1),
        persons.has_mask,
        mirror(persons.pose_vector),
        persons.betas,
        persons.tilt[:, list(MIRROR_LIMBS)],
    )
    return other.where(mirrored, persons)


def pixel_sources(config: PixelTrainingConfig) -> tuple[str, ...]:
    """What weights of this configuration are trained on."""
    sources = [*trained_on(config.start_from), *training_sources(config.fresh)]
    sources += [source_of(read_index(Path(folder))) for folder in config.shards]
    return tuple(dict.fromkeys(sources))


def _loop(config: PixelTrainingConfig, device: str | torch.device) -> LoopConfig:
    return LoopConfig(
        rate=lambda step, done: warm_cosine(step, done, peak=config.learning_rate, warmup=200, floor=0.01),
        steps=config.steps,
        seconds=None if config.max_hours is None else 3600 * config.max_hours,
        weight_decay=config.weight_decay,
        fused=True,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=50,
        save_every=config.save_every,
        device=device,
    )
