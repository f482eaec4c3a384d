"""Training of a policy on preferences: steps of an objective, looks at held-out persons, a guard.

    step losses -> loop -> average -> probe and monitor -> guard

What the steps minimise is told from outside (`StepLosses`): an offline objective on stored groups, or a reward through
the sampler. All randomness is a pure function of (seed, step), so a resumed run is the straight run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from hmralign.policies.policy import Denoiser
from hmralign.storage.seeds import derived_seed, seeded
from hmralign.structures import InputError
from hmralign.training.curve import Curve
from hmralign.training.guard import guard
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Checks, Loop, LoopConfig
from hmralign.training.low_rank import add_low_rank, merge_low_rank
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from hmralign.training.step import Part, Step

logger = logging.getLogger("hmralign.align")

Monitor = Callable[[Any], dict[str, float]]
"""Figures of a policy on held-out persons; the guard reads `held_out` (a score, higher is better), `held_out_std` (its
spread within the groups of the start) and `spread`, where they are."""


@runtime_checkable
class StepLosses(Protocol):
    """What a step minimises."""

    def __call__(self, policy: Any, step: int) -> Iterator[Part]:
        """Parts of the loss of a step, which add up to it."""
        ...

    def probe(self, policy: Any) -> dict[str, float]:
        """Figures on the training data at fixed noise; the guard reads `loss_ratio` where it is."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Where a run ended. `policy` is the average, or the last good one of a run that was stopped."""

    policy: Any
    steps: int
    stopped: str | None
    look: dict[str, float]
    """Figures of the look at the weights that were kept; empty where none was good."""


def choose_trainable(policy: Any, config: PreferenceTrainingConfig) -> None:
    """Switch gradients on for what is trained and off for the rest."""
    policy.requires_grad_(False)
    if config.dropout and not any(isinstance(m, nn.Dropout) for m in policy.modules()):
        logger.warning("training.dropout is on, but the policy has no dropout: it does nothing")
    if config.trainable == "lora":
        add_low_rank(policy.denoiser, config.lora_rank, seeded(config.seed, "low rank"))
    else:
        (policy if config.trainable == "all" else policy.denoiser).requires_grad_(True)


def train_policy(
    policy: Any, losses: StepLosses, config: PreferenceTrainingConfig, folder: Path, monitor: Monitor | None = None
) -> Outcome:
    """Train a policy where it is (`choose_trainable` was called), resuming from `folder` where it holds a state.

    Writes `curve.jsonl` and `state.pt`. A loss that is not finite, or a guard that trips, stops the run; the outcome is
    then the average at the last look that was good. Raises InputError for a policy that is no `Denoiser`, and a
    state that is damaged or of another model.
    """
    if not isinstance(policy, nn.Module) or not isinstance(policy, Denoiser):
        raise InputError("what is aligned must be a torch module with the methods of `Denoiser`")
    place = next(policy.parameters()).device
    folder.mkdir(parents=True, exist_ok=True)
    listeners = (_to_tensorboard(folder),) if config.tensorboard else ()
    loop = Loop(
        policy,
        _parts_of(losses, config),
        _loop(config, place, policy),
        state=folder / "state.pt",
        curve=Curve(folder / "curve.jsonl", listeners=listeners),
        checks=_checks(losses, config, monitor),
    )
    average, went = loop.run().to(place), loop.progress
    merge_low_rank(average)
    return Outcome(average.eval().requires_grad_(False), went.step, went.stopped, went.good_figures)


def _loop(config: PreferenceTrainingConfig, device: torch.device, policy: Any) -> LoopConfig:
    inside = set(map(id, policy.denoiser.parameters()))

    def rate(step: int, _: float) -> float:
        falls = config.schedule == "cosine"
        rate = warm_cosine(step, step, config.steps, peak=config.learning_rate, warmup=config.warmup, falls=falls)
        return rate if config.halved_at is None or step < config.halved_at * config.steps else rate / 2

    return LoopConfig(
        rate=rate,
        steps=config.steps,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=config.check_every,
        save_every=config.save_every,
        rate_share=lambda parameter: 1.0 if id(parameter) in inside else config.encoder_rate,
        device=device,
    )


def _parts_of(losses: StepLosses, config: PreferenceTrainingConfig) -> Step:
    def parts(policy: Any, step: int) -> Iterator[Part]:
        policy.train(config.dropout)
        if config.dropout:  # it draws from the global generator, which a resumed run must find as it was
            torch.manual_seed(derived_seed(config.seed, "dropout", step))
        yield from losses(policy, step)

    return parts


def _checks(losses: StepLosses, config: PreferenceTrainingConfig, monitor: Monitor | None) -> Checks:
    def look(average: Any) -> dict[str, float]:
        return losses.probe(average) | ({} if monitor is None else monitor(average))

    def judged(figures: dict[str, float], start: dict[str, float]) -> str | None:
        if start.get("held_out_std") == 0:
            raise InputError("the held-out critic gives all hypotheses of a person one score: it guards nothing")
        return guard(figures, start, config)

    return Checks(look, judged)


def _to_tensorboard(folder: Path) -> Callable[[int, Mapping[str, float]], None]:
    """A listener that shows the curve in TensorBoard. Raises InputError where the package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard needs the package: pip install tensorboard") from error
    events = SummaryWriter(str(folder / "tensorboard"))

    def show(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            events.add_scalar(name, value, step)
        events.flush()

    return show
