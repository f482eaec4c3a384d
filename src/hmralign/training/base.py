"""Training of a base model on synthetic persons: one loop, run by `accelerate`.

examples -> features, x_0 -> (t, eps) -> v prediction -> loss -> weights and their average
"""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hmralign.body.free_body import load_free_body
from hmralign.diffusion.ema import Ema
from hmralign.models.checkpoint import read_weights
from hmralign.models.lite import LiteModel
from hmralign.structures import InputError
from hmralign.training.base_batches import SyntheticBatches, codec_examples
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import open_all_shards
from hmralign.training.base_losses import base_loss
from hmralign.training.state import save_state

logger = logging.getLogger("hmralign.training")


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
