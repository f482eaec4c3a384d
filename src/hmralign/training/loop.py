"""The training loop: the caller says what a step minimises, the loop does the rest.

    step -> parts of a loss, not reduced -> gradients -> weights -> average -> line of the curve, look, guard -> state

A step depends on its number and on the model alone, so that a run which is continued from its state is the straight run
to the last bit, curve included. What a run gives is the average of the weights. Of several processes each takes its
parts of a step (`training.processes`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmralign.diffusion.ema import Ema
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.device import chosen_device
from hmralign.training.curve import Curve
from hmralign.training.processes import (
    all_hold,
    mean_buffers,
    number_of_processes,
    of_the_first,
    own_number,
    require_agreement,
    require_whole_weights,
    sum_figures,
    sum_gradients,
)
from hmralign.training.state import read_state, save_state
from hmralign.training.step import Step

logger = logging.getLogger("hmralign.training")


@dataclass(frozen=True)
class Checks:
    """What looks at a run and may stop it."""

    look: Callable[[Any], dict[str, float]]
    """Figures of the average for the curve; taken before the first step and at every line."""
    guard: Callable[[dict[str, float], dict[str, float]], str | None]
    """`(figures, those of the start) -> why the run should stop`; None where all is well."""
    better: Callable[[dict[str, float], dict[str, float]], bool] | None = None
    """`(figures, those of the kept look) -> whether this look is kept instead`; the result of any run is then the kept
    look. Where None, a stopped run has its last good look, and any other its end."""


@dataclass(frozen=True)
class LoopConfig:
    """What every training has."""

    rate: Callable[[int, float], float]
    """`(step, share of the run that is done) -> learning rate` of AdamW."""
    steps: int | None
    """Optimiser steps; None for a run that ends by time alone."""
    seconds: float | None = None
    """The run also ends after so much time in steps, as `clock` counts it."""
    weight_decay: float = 0.01
    """AdamW."""
    fused: bool = False
    """Whether AdamW is one kernel: faster, and rounded otherwise."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.999
    """Decay of the weight average."""
    log_every: int = 100
    """Steps between lines of the curve, and looks."""
    log_last: bool = True
    """Whether the last step has a line in any case."""
    save_every: int = 500
    """Steps between saved states; the end is saved in any case."""
    rate_share: Callable[[Tensor], float] | None = None
    """Multiple of the rate that a parameter has; all have the rate itself where this is None."""
    eps: Callable[[Tensor], float] | None = None
    """AdamW's eps of a parameter; 1e-8 for all where this is None."""
    device: str | torch.device = "cpu"
    """Where the model is trained; the step sees to its own data."""
    clock: Callable[[], float] = time.perf_counter
    """Seconds from anywhere."""

    def __post_init__(self) -> None:
        """Raise ValueError for a run without an end."""
        if self.steps is None and self.seconds is None:
            raise ValueError("a run needs a number of steps or a time after which it ends")

    def done(self, step: int, seconds: float) -> float:
        """Share of the run that is done, by steps or by time, whichever is more."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        return by_steps if self.seconds is None else max(by_steps, seconds / self.seconds)


@dataclass
class Progress:
    """How far a run is, and how it went; saved and restored with the weights."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Time spent in them."""
    pending: list[dict[str, float]] = field(default_factory=list)
    """Figures of the steps since the last line of the curve."""
    start: dict[str, float] | None = None
    """Figures of the first look."""
    good: dict[str, Tensor] | None = None
    """The average at the last look that was good."""
    good_figures: dict[str, float] = field(default_factory=dict)
    """Figures of that look; empty where none was good."""
    stopped: str | None = None
    """Why the run was stopped; None where it was not."""


_EPS = 1e-8
"""AdamW's own."""

_LEAP = 30.0
"""A mean loss so many times the lowest before it is that of a run which will not come back."""

_SHARE = "share of the batch"
"""Among the figures of a step; 1 where all of it was taken once."""

PROGRESS = tuple(f.name for f in fields(Progress))


class Loop:
    """One run of a model: its optimiser, its average, and what it takes to continue them.

    Without `state` nothing can be continued, without `curve` nothing is written; `checks` are made at its lines.
    Raises InputError where nothing of the model is trainable, the device is not there, or a launcher wants shards.
    """

    def __init__(
        self,
        model: nn.Module,
        parts_of: Step,
        config: LoopConfig,
        *,
        state: Path | None = None,
        curve: Curve | None = None,
        checks: Checks | None = None,
    ) -> None:
        from accelerate import Accelerator

        if checks is not None and curve is None:
            raise ValueError("checks are made at lines of the curve, and there is none")
        require_whole_weights()
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise InputError("no parameter of the model is trainable")
        self.parts_of, self.config, self.state_file, self.curve, self.checks = parts_of, config, state, curve, checks
        # Placed by hand: an accelerator's own device is that of the process, and the next run may be on another one.
        self.accelerator = Accelerator(device_placement=False)
        self.device = self._own_device(config.device)
        self.model = model.to(self.device)
        self.ema = Ema(model, config.ema_decay)
        optimizer = torch.optim.AdamW(
            _by_rate(trained, config),
            lr=config.rate(0, 0.0),
            weight_decay=config.weight_decay,
            fused=config.fused or None,
        )
        # Not `prepare`: a model in the wrapper of many processes has no methods but `forward`.
        self.prepared = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer, device_placement=False)
        self.shared = number_of_processes() > 1
        if self.shared and not torch.distributed.is_initialized():
            raise InputError("WORLD_SIZE says that other processes train too; start them with `accelerate launch`")
        self.progress, self.saved = Progress(), True
        self._losses: list[float] = []
        self._lowest = math.inf

    def begin_from(self, path: Path) -> None:
        """Take weights and average from the state of another run; steps and optimiser start anew.

        Raises InputError for a state that is missing, damaged or of another model.
        """
        self._load(path, read_state(path, ("model", "ema")), ("model", "ema"))
        logger.info("starting from %s", path)

    def run(self) -> Any:
        """Train to the end, from the state where there is one; returns the average on the CPU, in eval mode.

        A loss that is not finite stops a run with checks, as their guard does; the average is then the one at the last
        look that was good. Where there are no checks, RuntimeError is raised for such a loss and, before a state would
        be saved, for one that has leapt: the last state is kept, which is of before. Raises InputError for a state that
        is damaged, of another format or of another model.
        """
        self._restore()
        if self.shared:
            require_agreement(self.progress.step, self.model, self.device)
        if self.checks is not None and self.progress.start is None:
            self._write_line()
        while self.progress.stopped is None and self._done() < 1:
            if not self._take_step():
                self._diverge()
                break
            if self._line_is_due():
                self._write_line()
            if self.progress.step % self.config.save_every == 0:
                self._require_no_leap()
                self._save()
        if not self.saved:
            self._require_no_leap()
            self._save()
        keeps_best = self.checks is not None and self.checks.better is not None
        if (keeps_best or self.progress.stopped is not None) and self.progress.good is not None:
            self.ema.module.load_state_dict(self.progress.good)
        self.accelerator.wait_for_everyone()  # what the first process has written is there
        return self.ema.module.cpu()

    def _done(self) -> float:
        return self.config.done(self.progress.step, self.progress.seconds)

    def _take_step(self) -> bool:
        """One optimiser step; False, and no weight has moved, where the loss or its gradient is not finite."""
        started = self.config.clock()
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("rate_share", 1.0) * self.config.rate(self.progress.step, self._done())
        self.optimizer.zero_grad()
        rows, finite = self._backward()
        if self.shared:
            finite = all_hold(finite, self.device)
        if not finite:
            return False
        figures = _sum_of(rows)
        if self.shared:
            figures = self._added_up(figures)
        figures.pop(_SHARE, None)
        norm = self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.config.clip_norm)
        if norm is None or not bool(torch.isfinite(norm)):
            return False
        self.optimizer.step()
        self.ema.update(self.model)
        self.progress.step += 1
        spent = self.config.clock() - started
        self.progress.seconds += of_the_first(spent, self.device) if self.shared else spent
        self.progress.pending.append({"gradient_norm": float(norm), **figures})
        self._losses += [figures["loss"]] if "loss" in figures else []  # a step may have nothing to learn from
        self.saved = False
        return True

    def _backward(self) -> tuple[list[dict[str, float]], bool]:
        """Figures of this process's parts, whose gradients are added; False where a loss is not finite.

        Where others train too, the parts after that one are taken all the same: what processes tell each other inside
        of a model, such as statistics of norms, they tell each other in the same order.
        """
        rows, finite = [], True
        for part in self.parts_of(self.prepared, self.progress.step):
            loss = part.loss()
            finite = finite and bool(torch.isfinite(loss))
            if not finite and not self.shared:
                return rows, False
            self.accelerator.backward(loss)
            said = {k: part.share * v for k, v in part.figures.items()}
            rows.append({_SHARE: part.share, "loss": float(loss.detach()), **said})
        return rows, finite

    def _added_up(self, figures: dict[str, float]) -> dict[str, float]:
        """The step's gradient and figures, summed over processes.

        Raises InputError for a step that every process has taken whole.
        """
        sum_gradients(p for p in self.model.parameters() if p.requires_grad)
        mean_buffers(self.model)
        summed = sum_figures(figures, self.device)
        if abs(summed[_SHARE] - 1) > 1e-6:
            raise InputError(
                f"this training does not divide its steps: {counted(number_of_processes(), 'process', 'processes')} "
                "would do the same; start it without a launcher"
            )
        return summed

    def _own_device(self, name: str | torch.device) -> torch.device:
        """The device of that name; of several processes on GPUs each has its own."""
        device = chosen_device(name)
        if device.type == "cuda" and device.index is None and number_of_processes() > 1:
            return torch.device("cuda", self.accelerator.local_process_index)
        return device

    def _diverge(self) -> None:
        if self.checks is None:
            raise RuntimeError(f"training diverged at step {self.progress.step}: the loss is not finite")
        self._stop("the loss is not finite")

    def _require_no_leap(self) -> None:
        """Raise RuntimeError where the mean loss since the last state is out of all proportion to those before."""
        losses, self._losses = self._losses, []
        if self.checks is not None or self.state_file is None or not losses:
            return  # a guard judges these runs, or there is no state to go back to
        mean = sum(losses) / len(losses)
        if self._lowest > 0 and mean > _LEAP * self._lowest:
            raise RuntimeError(
                f"training diverged before step {self.progress.step}: the loss is {mean:.3g} on average since the last "
                f"state, which is kept, and was {self._lowest:.3g} before; try a lower rate or a lower clip_norm"
            )
        self._lowest = min(self._lowest, mean)

    def _stop(self, reason: str) -> None:
        self.progress.stopped, self.saved = f"{reason} at step {self.progress.step}", False
        logger.warning("training stopped: %s; the weights of a good look are kept", self.progress.stopped)

    def _line_is_due(self) -> bool:
        if self.curve is None:
            return False
        return self.progress.step % self.config.log_every == 0 or (self.config.log_last and self._done() >= 1)

    @torch.no_grad()
    def _write_line(self) -> None:
        """Write the means since the last line, look at the average, and let the guard decide."""
        assert self.curve is not None
        p = self.progress
        figures = {} if self.checks is None else self.checks.look(self.ema.module)
        reason = None if self.checks is None else self._judged(figures, self.checks)
        if own_number() == 0:
            self.curve.append(p.step, self._done(), p.seconds, {**_mean_of(p.pending), **figures})
        p.pending = []
        if reason is not None:
            self._stop(reason)

    def _judged(self, figures: dict[str, float], checks: Checks) -> str | None:
        """What the guard says; where it says nothing, the average may be remembered as good."""
        p = self.progress
        p.start = dict(figures) if p.start is None else p.start
        reason = checks.guard(figures, p.start)
        if reason is None and (p.good is None or checks.better is None or checks.better(figures, p.good_figures)):
            p.good = {name: value.clone() for name, value in self.ema.module.state_dict().items()}
            p.good_figures = dict(figures)
        return reason

    def _save(self) -> None:
        if self.state_file is not None and own_number() == 0:
            parts = {name: part.state_dict() for name, part in self._parts().items()}
            save_state(self.state_file, {**parts, **vars(self.progress)})
        self.saved = True

    def _restore(self) -> None:
        """Continue from the state; lines of the curve beyond it are dropped, for they will be written again."""
        reached = -1
        if self.state_file is not None and self.state_file.exists():
            state = read_state(self.state_file, (*self._parts(), *PROGRESS))
            self._load(self.state_file, state, tuple(self._parts()))
            self.progress = Progress(**{name: state[name] for name in PROGRESS})
            reached = self.progress.step
            logger.info("continuing at step %d", reached)
        if self.curve is not None and own_number() == 0:
            self.curve.cut(reached)

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own."""
        return {"model": self.model, "ema": self.ema, "optimizer": self.optimizer}

    def _load(self, path: Path, state: dict[str, Any], names: tuple[str, ...]) -> None:
        try:
            for name in names:
                self._parts()[name].load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: the training state is of another model, or another choice of what is trained"
            ) from error


def _by_rate(trained: list[nn.Parameter], config: LoopConfig) -> list[dict[str, Any]]:
    """Parameters in groups of one rate and one eps each."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in trained:
        share = 1.0 if config.rate_share is None else config.rate_share(parameter)
        groups.setdefault((share, _EPS if config.eps is None else config.eps(parameter)), []).append(parameter)
    return [{"params": some, "rate_share": share, "eps": eps} for (share, eps), some in groups.items()]


def _sum_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Figures of a step: losses of its parts add up, and so do their shares of other figures."""
    return {name: sum(row[name] for row in rows) for name in rows[0]} if rows else {}


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
