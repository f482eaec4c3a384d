"""Training of a base model on synthetic persons: one loop, run by `accelerate`.

    examples -> features, x_0 -> (t, eps) -> v prediction -> loss -> weights and their average

The loss is the mean squared error of v over standardised coordinates (Salimans & Ho 2022), which weighs the noise loss
by 1 / alpha_bar, plus the squared error of the shape coefficients. Each observation is used with several (t, eps).
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hmralign.body.free_body import load_free_body
from hmralign.body.inverse_kinematics import twists
from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.data.pose_file import load_pose_file
from hmralign.data.shards import ShardSet, open_shards, read_index, source_of
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.diffusion.ema import Ema
from hmralign.diffusion.parameterization import add_noise, velocity
from hmralign.models.checkpoint import read_weights, trained_on
from hmralign.models.context import KeypointFeatures, keypoint_features
from hmralign.models.lite import LiteConfig, LiteModel
from hmralign.models.person_frame import person_frame
from hmralign.models.pose_vector import mirror, pack
from hmralign.structures import Example, InputError, TensorRecord
from hmralign.training.state import save_state

logger = logging.getLogger("hmralign.training")

CODEC_EXAMPLES = 20_000
"""Persons on whom the statistics of pose vectors are measured."""


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
    """Detector whose measured residuals are replayed; None for generic noise only."""
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


@dataclass(frozen=True)
class TrainingBatch(TensorRecord):
    """Network input and targets of observations in their person frame."""

    features: KeypointFeatures
    pose_vector: Float[Tensor, "n 130"]
    betas: Float[Tensor, "n betas"]


def training_batch(example: Example, model: BodyModel, mirrored: Bool[Tensor, " n"] | None = None) -> TrainingBatch:
    """Turn annotated examples into input and raw pose vectors (not yet standardised), some of them mirrored."""
    if example.annotation is None:
        raise ValueError("training needs annotated examples")
    frame = person_frame(example.observation)
    body = example.annotation.body
    joints = example.annotation.joints @ frame.R_person_cam.mT
    twist = twists(body.body_pose, rest_joints(model, body.betas))
    features, vector = keypoint_features(example.observation, frame), pack(joints, twist)
    if mirrored is not None:
        features = keypoint_features(example.observation, frame, mirrored=True).where(mirrored, features)
        vector = torch.where(mirrored[:, None], mirror(vector), vector)
    return TrainingBatch(features, vector, body.betas)


def shard_folders(config: BaseTrainingConfig) -> tuple[str, ...]:
    """Folders of shards, none or several."""
    if not config.shards:
        return ()
    return (config.shards,) if isinstance(config.shards, str) else config.shards


def open_all_shards(config: BaseTrainingConfig) -> ShardSet | None:
    """All shards of a configuration as one set; None without any. Raises InputError as `open_shards`."""
    sets = [open_shards(folder) for folder in shard_folders(config)]
    if not sets:
        return None
    return ShardSet({name: torch.cat([s.tensors[name] for s in sets]) for name in sets[0].tensors})


def training_sources(config: BaseTrainingConfig) -> tuple[str, ...]:
    """What weights of this configuration are trained on, for `save_checkpoint`."""
    sources = []
    if not config.shards or config.shard_share < 1:
        sources.append("prior:train")
        if config.pose_file:
            sources.append(f"pose_file:{load_pose_file(config.pose_file, 'train').sha256}:train")
    for folder in shard_folders(config):
        sources.append(source_of(read_index(Path(folder))))
    if config.start_from and Path(config.start_from).suffix == ".safetensors":
        sources += trained_on(config.start_from)
    return tuple(dict.fromkeys(sources))


class SyntheticBatches(IterableDataset):
    """Endless batches, a pure function of (seed, batch number): resuming at a number gives the same data."""

    BLOCK = 16
    """Batches drawn at once: larger draws cost less per example."""

    def __init__(self, config: BaseTrainingConfig, first_batch: int = 0) -> None:
        self.config = config
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[TrainingBatch]:
        if get_worker_info() is not None:
            torch.set_num_threads(1)
        generator = make_generator(self.config)
        shards = open_all_shards(self.config)
        block, skip = divmod(self.first_batch, self.BLOCK)
        while True:
            yield from self._block(generator, shards, block)[skip:]
            block, skip = block + 1, 0

    def _block(self, generator: Generator, shards: ShardSet | None, block: int) -> list[TrainingBatch]:
        c = self.config
        draw = torch.Generator().manual_seed(c.seed * 1_000_003 + block)
        from_shards = round(c.batch_size * c.shard_share) if shards is not None else 0
        parts = []
        if from_shards < c.batch_size:
            fresh = generator.sample((c.batch_size - from_shards) * self.BLOCK, draw)
            parts.append(_split(training_batch(fresh, generator.model), self.BLOCK))
        if shards is not None:
            stored = shards.draw(from_shards * self.BLOCK, draw)
            flip = torch.rand(from_shards * self.BLOCK, generator=draw) < c.mirror_share if c.mirror_share else None
            parts.append(_split(training_batch(stored, generator.model, flip), self.BLOCK))
        return [TrainingBatch.cat(pieces) for pieces in zip(*parts, strict=True)]


def _split(batch: TrainingBatch, parts: int) -> list[TrainingBatch]:
    size = len(batch.betas) // parts
    return [batch[k * size : (k + 1) * size] for k in range(parts)]


def make_generator(config: BaseTrainingConfig) -> Generator:
    """The on-the-fly source of a configuration, on the fast free body."""
    poses = load_pose_file(config.pose_file, "train") if config.pose_file else None
    noise = load_measured_noise(config.measured_noise) if config.measured_noise else None
    source = PoseSource(load_pose_prior("train"), config.poses, poses)
    return Generator(load_free_body("3k5"), source, config.data, noise)


def base_loss(
    model: LiteModel, batch: TrainingBatch, draws: int, betas_weight: float, generator: torch.Generator
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Loss of one batch and its parts. Times are stratified over the draws and the batch."""
    x_0 = model.codec.encode(batch.pose_vector)
    n, steps = len(x_0), model.denoiser.schedule.num_steps
    strata = (torch.randperm(draws * n, generator=generator) + torch.rand(draws * n, generator=generator)) / (draws * n)
    t = (strata * steps).long().clamp(max=steps - 1).view(draws, n).to(x_0.device)
    eps = torch.randn(draws, *x_0.shape, generator=generator).to(x_0.device)
    alpha_bar = model.denoiser.schedule.at(t)
    context = model.context(batch.features)
    target = velocity(x_0.expand_as(eps), eps, alpha_bar)
    v = model.denoiser.predict_v(add_noise(x_0.expand_as(eps), eps, alpha_bar), t, model.denoiser.prepare(context))
    v_loss = (v - target).square().mean()
    betas_loss = (context.betas - batch.betas).square().mean()
    return v_loss + betas_weight * betas_loss, {"v_loss": v_loss.detach(), "betas_loss": betas_loss.detach()}


def _progress(step: int, started: float, config: BaseTrainingConfig) -> float:
    """Share of the run done: by steps, or by time when a stop time is set."""
    by_steps = step / config.steps
    return by_steps if config.max_hours is None else max(by_steps, (time.time() - started) / 3600 / config.max_hours)


def _learning_rate(step: int, progress: float, config: BaseTrainingConfig) -> float:
    cosine = 0.5 * (1 + math.cos(min(progress, 1.0) * math.pi)) if config.decay == "cosine" else 1.0
    return config.learning_rate * min(1.0, (step + 1) / 500) * (0.01 + 0.99 * cosine)


def train_base(config: BaseTrainingConfig, folder: Path) -> LiteModel:
    """Train, resuming from `folder` if it holds an unfinished run; returns the averaged model.

    Writes `state.pt` (resume) and `curve.jsonl` (loss per 50 steps). The configuration and the finished average are
    written by the caller, through `write_training_config` and `models.checkpoint.save_checkpoint`. Raises InputError
    for pose files, shards and states that are missing, damaged or of another model.
    """
    from accelerate import Accelerator

    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    torch.manual_seed(config.seed)
    state_file = folder / "state.pt"
    earlier = state_file if state_file.exists() else config.start_from
    model = LiteModel(config.model)
    from_checkpoint = earlier is not None and Path(earlier).suffix == ".safetensors"
    shards = open_all_shards(config)  # the loader's process opens them again; what is wrong is said here
    if earlier is None:
        model.codec.fit(codec_examples(config, shards))
    elif from_checkpoint:
        model.load_state_dict(starting_weights(Path(earlier), model))
    del shards
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    ema = Ema(model, config.ema_decay)
    step, spent = 0, 0.0
    if earlier is not None and not from_checkpoint:
        step, spent = _restore(Path(earlier), model, ema, optimizer if earlier == state_file else None)
        logger.info("starting from %s at step %d", earlier, step)
    loader = DataLoader(SyntheticBatches(config, step), batch_size=None, num_workers=1, prefetch_factor=32)
    model, optimizer = accelerator.prepare(model, optimizer)
    ema.module.to(accelerator.device)
    started = time.time() - spent
    running: list[dict[str, float]] = []
    for batch in loader:
        progress = _progress(step, started, config)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, progress, config)
        noise = torch.Generator().manual_seed(config.seed * 7_000_003 + step)
        loss, parts = base_loss(model, batch.to(accelerator.device), config.draws, config.betas_weight, noise)
        if not torch.isfinite(loss):
            raise RuntimeError(f"training diverged at step {step}: the loss is not finite")
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        ema.update(accelerator.unwrap_model(model))
        step += 1
        running.append({name: value.item() for name, value in parts.items()})
        if step % 50 == 0:
            _log(folder, step, time.time() - started, progress, running)
            running = []
        if step % config.save_every == 0:
            _save_state(state_file, accelerator.unwrap_model(model), optimizer, ema, step, time.time() - started)
    _save_state(state_file, accelerator.unwrap_model(model), optimizer, ema, step, time.time() - started)
    averaged = ema.module.cpu()
    assert isinstance(averaged, LiteModel)
    return averaged


def codec_examples(config: BaseTrainingConfig, shards: ShardSet | None) -> Float[Tensor, "n 130"]:
    """Pose vectors on which the codec's statistics are measured: of the generator, or of shards where all is shards."""
    draw = torch.Generator().manual_seed(config.seed)
    source = make_generator(config)
    if shards is not None and config.shard_share == 1:
        examples = shards.draw(CODEC_EXAMPLES, draw)
    else:
        examples = source.sample(CODEC_EXAMPLES, draw)
    return training_batch(examples, source.model).pose_vector


def starting_weights(path: Path, model: LiteModel) -> dict[str, Tensor]:
    """Weights of a checkpoint for a model that may see more: inputs its encoder did not have start at zero.

    Raises InputError where the file is no good, or of a model that differs otherwise.
    """
    config, weights = read_weights(path, load_free_body("3k5").skeleton_hash)
    own = model.state_dict()
    name = "encoder.embed.weight"
    if name in weights and (missing := own[name].shape[1] - weights[name].shape[1]) > 0:
        weights[name] = torch.nn.functional.pad(weights[name], (0, missing))
    if config != model.config or {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
        raise InputError(f"{path}: the checkpoint is of another model than the configuration's")
    return weights


def _restore(path: Path, model: LiteModel, ema: Ema, optimizer: torch.optim.Optimizer | None) -> tuple[int, float]:
    """Load a state that `_save_state` wrote; returns its step and seconds, or zeros without an optimizer to continue.

    Raises InputError when the file is missing, damaged (a pickle with code is refused) or of another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such training state")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        parts = {name: state[name] for name in ("model", "optimizer", "ema")}
        step, seconds = int(state["step"]), float(state["seconds"])
    except Exception as error:  # torch has another class of error for every way in which a file is damaged
        raise InputError(
            f"{path}: not a whole training state ({type(error).__name__}); remove it to start over"
        ) from error
    try:
        model.load_state_dict(parts["model"])
        ema.load_state_dict(parts["ema"])
        if optimizer is not None:
            optimizer.load_state_dict(parts["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the training state is of another model than the configuration's") from error
    return (step, seconds) if optimizer is not None else (0, 0.0)


def _log(folder: Path, step: int, seconds: float, progress: float, parts: list[dict[str, float]]) -> None:
    """Append the means since the last line; the first line after a resume may stand for fewer steps."""
    means = {name: sum(p[name] for p in parts) / len(parts) for name in parts[0]}
    row = {"step": step, "seconds": round(seconds, 1), **{k: round(v, 5) for k, v in means.items()}}
    with (folder / "curve.jsonl").open("a") as handle:
        handle.write(json.dumps(row) + "\n")
    if step % 500 == 0:
        logger.info("step %d (%.0f %%): %s", step, 100 * progress, row)


def _save_state(path: Path, model: torch.nn.Module, optimizer, ema: Ema, step: int, seconds: float) -> None:
    """Write the resume state atomically: a kill leaves the old file or the new one."""
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.state_dict(), "step": step,
        "seconds": seconds,
    }  # fmt: skip
    save_state(path, state)
