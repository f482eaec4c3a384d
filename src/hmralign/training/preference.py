"""The alignment loop: steps of an objective on a policy, its average, a guard, and a state to resume from.

    step losses -> gradients -> policy -> average -> probe and monitor -> guard

What the steps minimise is told from outside (`StepLosses`): an offline objective on stored groups, or a reward through
the sampler. All randomness is a pure function of (seed, step), so a resumed run is the straight run.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hmralign.diffusion.ema import Ema
from hmralign.policies.policy import Denoiser
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError
from hmralign.training.guard import guard
from hmralign.training.low_rank import add_low_rank, merge_low_rank
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from hmralign.training.state import save_state

logger = logging.getLogger("hmralign.align")

Monitor = Callable[[Any], dict[str, float]]
"""Figures of a policy on held-out persons; the guard reads `held_out` (a score, higher is better), `held_out_std` (its
spread within the groups of the start) and `spread`, where they are."""


@runtime_checkable
class StepLosses(Protocol):
    """What a step minimises."""

    def __call__(self, policy: Any, step: int) -> Iterator[tuple[Tensor, dict[str, float]]]:
        """Parts of the loss of a step, which sum up to it, each with figures to log."""
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
        add_low_rank(policy.denoiser, config.lora_rank, torch.Generator().manual_seed(config.seed))
    else:
        (policy if config.trainable == "all" else policy.denoiser).requires_grad_(True)


def train_policy(
    policy: Any, losses: StepLosses, config: PreferenceTrainingConfig, folder: Path, monitor: Monitor | None = None
) -> Outcome:
    """Train a policy in place (`choose_trainable` was called), resuming from `folder` where it holds a state.

    Writes `curve.jsonl` and `state.pt`. A loss that is not finite, or a guard that trips, stops the run; the outcome is
    then the average at the last look that was good. Raises InputError for a policy that is no `Denoiser`, and a
    state that is damaged or of another model.
    """
    if not isinstance(policy, nn.Module) or not isinstance(policy, Denoiser):
        raise InputError("what is aligned must be a torch module with the methods of `Denoiser`")
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(policy, config, folder)
    run.restore()
    if run.step == 0:
        run.look(losses, monitor)  # the start, against which the guard compares
    while run.step < config.steps and run.stopped is None:
        rows = run.take_step(losses)
        if rows is None:
            run.stop(f"the loss is not finite at step {run.step}")
            break
        if run.step % config.check_every == 0 or run.step == config.steps:
            run.look(losses, monitor)
        if run.step % config.save_every == 0:
            run.save()
    run.save()
    return run.outcome()


class _Run:
    """State of one run."""

    def __init__(self, policy: Any, config: PreferenceTrainingConfig, folder: Path) -> None:
        from accelerate import Accelerator

        self.config, self.folder = config, folder
        # Contexts, references and critics are on the CPU: alignment there costs seconds, and was tested nowhere else.
        self.accelerator = Accelerator(cpu=True)
        trained = [p for p in policy.parameters() if p.requires_grad]
        if not trained:
            raise InputError("no parameter of the policy is trainable; call `choose_trainable` first")
        optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.ema = Ema(policy, config.ema_decay)
        self.policy, self.optimizer = self.accelerator.prepare(policy, optimizer)
        self.ema.module.to(self.accelerator.device)
        self.step, self.seconds = 0, 0.0
        self.start: dict[str, float] | None = None
        self.good: dict[str, Tensor] | None = None
        self.good_look: dict[str, float] = {}
        self.stopped: str | None = None
        self.pending: list[dict[str, float]] = []
        self.events = _event_writer(folder) if config.tensorboard else None

    def take_step(self, losses: StepLosses) -> list[dict[str, float]] | None:
        """One optimiser step; None where the loss is not finite."""
        begun = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.policy.train(self.config.dropout)
        if self.config.dropout:  # it draws from the global generator, which a resumed run must find as it was
            torch.manual_seed(self.config.seed * 5_000_011 + self.step)
        self.optimizer.zero_grad()
        rows = []
        for loss, figures in losses(self.policy, self.step):
            if not bool(torch.isfinite(loss)):
                return None
            self.accelerator.backward(loss)
            rows.append({"loss": float(loss.detach()), **figures})
        norm = self.accelerator.clip_grad_norm_(self.policy.parameters(), self.config.clip_norm)
        if norm is None or not bool(torch.isfinite(norm)):
            return None
        self.optimizer.step()
        self.ema.update(self.accelerator.unwrap_model(self.policy))
        self.step += 1
        self.seconds += time.perf_counter() - begun
        self.pending.append({"gradient_norm": float(norm), **_sum_of(rows)})
        return rows

    def _learning_rate(self) -> float:
        c = self.config
        fall = 0.5 * (1 + math.cos(math.pi * self.step / c.steps)) if c.schedule == "cosine" else 1.0
        return c.learning_rate * min(1.0, (self.step + 1) / max(c.warmup, 1)) * fall

    @torch.no_grad()
    def look(self, losses: StepLosses, monitor: Monitor | None) -> None:
        """Measure the average, log, and let the guard decide."""
        figures = losses.probe(self.ema.module)
        if monitor is not None:
            figures |= monitor(self.ema.module)
        if self.start is None:
            if figures.get("held_out_std") == 0:
                raise InputError("the held-out critic gives all hypotheses of a person one score: it guards nothing")
            self.start = dict(figures)
        row = {"step": self.step, "seconds": round(self.seconds, 2), **_mean_of(self.pending), **figures}
        self.pending = []
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({k: _plain(v) for k, v in row.items()}) + "\n")
        if self.events is not None:
            for name, value in row.items():
                self.events.add_scalar(name, value, self.step)
            self.events.flush()
        logger.info("step %d of %d: %s", self.step, self.config.steps, _short(row))
        if reason := guard(figures, self.start, self.config):
            self.stop(f"{reason} at step {self.step}")
        else:
            self.good = {name: value.clone() for name, value in self.ema.module.state_dict().items()}
            self.good_look = dict(figures)

    def stop(self, reason: str) -> None:
        """Remember why; the outcome is the last good average."""
        self.stopped = reason
        logger.warning("alignment stopped: %s; the weights of the last good look are kept", reason)

    def save(self) -> None:
        """Write the state whole."""
        state = {
            "policy": self.accelerator.unwrap_model(self.policy).state_dict(), "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(), "step": self.step, "seconds": self.seconds, "start": self.start,
            "good": self.good, "good_look": self.good_look, "stopped": self.stopped, "pending": self.pending,
        }  # fmt: skip
        save_state(self.folder / "state.pt", state)

    def restore(self) -> None:
        """Continue from a state; lines of the curve beyond it are dropped, for they will be written again."""
        path = self.folder / "state.pt"
        if not path.exists():
            (self.folder / "curve.jsonl").unlink(missing_ok=True)
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.start, self.good, self.stopped = state["start"], state["good"], state["stopped"]
            self.pending, self.good_look = state["pending"], state["good_look"]
            parts = state["policy"], state["ema"], state["optimizer"]
        except Exception as error:  # torch has another class of error for every way in which a file is damaged
            raise InputError(f"{path}: not a whole alignment state ({type(error).__name__}); remove it") from error
        try:
            self.accelerator.unwrap_model(self.policy).load_state_dict(parts[0])
            self.ema.load_state_dict(parts[1])
            self.optimizer.load_state_dict(parts[2])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: the state is of another model or another choice of what is trained") from error
        _cut_curve(self.folder / "curve.jsonl", self.step)
        logger.info("continuing at step %d", self.step)

    def outcome(self) -> Outcome:
        """The averaged policy, merged, in eval mode on the CPU."""
        module = self.ema.module
        if self.stopped is not None and self.good is not None:
            module.load_state_dict(self.good)
        merge_low_rank(module)
        return Outcome(module.cpu().eval().requires_grad_(False), self.step, self.stopped, self.good_look)


def _event_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("training.tensorboard needs the package: pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))


def _cut_curve(path: Path, step: int) -> None:
    if not path.exists():
        return
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                rows.append(line)
        except (ValueError, KeyError, TypeError):
            break  # a line that was being written when the run was killed
    write_whole(path, "".join(f"{row}\n" for row in rows))


def _sum_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Parts of one step: losses add up, and so do their shares of other figures."""
    return {name: sum(row[name] for row in rows) for name in rows[0]} if rows else {}


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _plain(value: Any) -> float | int | str:
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def _short(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "seconds"))
