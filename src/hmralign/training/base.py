"""Training of a base model on synthetic persons.

examples -> features, x_0 -> (t, eps) -> v prediction -> loss -> weights and their average
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import read_weights
from hmralign.models.lite import LiteModel
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.base_batches import SyntheticBatches, TrainingBatch, codec_examples
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import open_all_shards
from hmralign.training.base_losses import base_part
from hmralign.training.curve import Curve, five_decimals
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Loop, LoopConfig
from hmralign.training.step import Part, Step

WARM_UP_STEPS = 500
"""Steps in which the learning rate rises."""


def train_base(config: BaseTrainingConfig, folder: Path, device: str | torch.device = "cpu") -> LiteModel:
    """Train, resuming from `folder` if it holds an unfinished run; returns the averaged model.

    Writes `state.pt` (resume) and `curve.jsonl` (loss per 50 steps). The configuration and the finished average are
    written by the caller, through `write_training_config` and `models.checkpoint.save_checkpoint`. Raises InputError
    for pose files, shards and states that are missing, damaged or of another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(derived_seed(config.seed, "weights"))
    state = folder / "state.pt"
    earlier = state if state.exists() else Path(config.start_from) if config.start_from else None
    model = LiteModel(config.model)
    shards = open_all_shards(config)  # the loader's process opens them again; what is wrong is said here
    if earlier is None:
        model.codec.fit(codec_examples(config, shards))
    elif earlier.suffix == ".safetensors":
        model.load_state_dict(starting_weights(earlier, model))
    del shards
    columns = ("v_loss", "betas_loss")
    curve = Curve(folder / "curve.jsonl", columns=columns, rounded=five_decimals, said_every=500)
    loop = Loop(model, base_step(config), base_loop(config, device), state=state, curve=curve)
    if earlier not in (None, state) and earlier.suffix != ".safetensors":
        loop.begin_from(earlier)
    averaged = loop.run()
    assert isinstance(averaged, LiteModel)
    return averaged


def base_loop(config: BaseTrainingConfig, device: str | torch.device = "cpu") -> LoopConfig:
    """The loop of a configuration."""
    return LoopConfig(
        rate=lambda step, done: learning_rate(step, done, config),
        steps=config.steps,
        seconds=None if config.max_hours is None else 3600 * config.max_hours,
        weight_decay=config.weight_decay,
        fused=True,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=50,
        log_last=False,
        save_every=config.save_every,
        device=device,
    )


def learning_rate(step: int, done: float, config: BaseTrainingConfig) -> float:
    """Rate of a step when a share of the run is done."""
    return warm_cosine(
        step, done, peak=config.learning_rate, warmup=WARM_UP_STEPS, floor=0.01, falls=config.decay == "cosine"
    )


def base_step(config: BaseTrainingConfig) -> Step:
    """What a step minimises: the next batch of a process that draws ahead, from the first step that is asked for."""
    batches: Iterator[TrainingBatch] | None = None

    def parts(model: LiteModel, step: int) -> Iterator[Part]:
        nonlocal batches
        if batches is None:
            loader = DataLoader(SyntheticBatches(config, step), batch_size=None, num_workers=1, prefetch_factor=32)
            batches = iter(loader)
        noise = seeded(config.seed, "step", step)
        batch = next(batches).to(next(model.parameters()).device)
        yield base_part(model, batch, config.draws, config.betas_weight, noise)

    return parts


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
