"""Direct reward fine-tuning of a multi-view model: poses and single images in, views with the pose right out.

    front view -> sampler (gradients at K steps) -> views -> PoseScore -> -reward + kappa drift   + base loss beside it

Source: DrPose, whose sampler is DRTune's and whose reward is PoseScore. What it does not have:

- a guard: a judge that is unlike the reward looks at persons who are not trained on. Where its error stays by more than
  `tolerance` over the best one so far for `patience` looks the run stops. The result is the best look;
- the base loss (denoising of renders) beside the reward, as a choice;
- a price on haze, as a choice: PoseScore is a proper score, whose best answer is the mean of all poses that a front
  leaves open, and the mean of bodies is haze. How sharp a body is drawn is known from the front that is given;
- its control: the same loop with `reward_weight` 0 is supervised continuation, of as much time as the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.alignment.methods.direct_reward import DirectRewardConfig, planned_steps, rollout
from hmralign.critics.view_figures import ViewCritic
from hmralign.metrics.image_quality import haze
from hmralign.rendering.ring_persons import RingPersons
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.training.curve import Curve, curve_rows
from hmralign.training.learning_rate import warm_cosine
from hmralign.training.loop import Checks, Loop, LoopConfig
from hmralign.training.low_rank import add_low_rank, merge_low_rank
from hmralign.training.step import Part, Step


@dataclass(frozen=True)
class MultiViewRewardConfig:
    """One fine-tuning, or one continuation without reward."""

    rollout: DirectRewardConfig = field(
        default_factory=lambda: DirectRewardConfig(
            num_steps=10, variant="drtune", last_steps=2, stop_within=4, hypotheses=1, kappa=0.01, clamp=2.0
        )
    )
    """The sampler. DrPose has T = 20, K = 2, m = 8 and kappa = 0.01."""
    reward_weight: float = 1.0
    """Weight of the reward and of its drift; 0 is supervised continuation."""
    base_weight: float = 1.0
    """Weight of the base loss beside it; 0 leaves it out."""
    haze_weight: float = 0.0
    """Weight of the haze of side masks beyond that of the front, beside the reward; 0 lets a mean of bodies be said."""
    persons: int = 6
    """Persons per step who are sampled for the reward."""
    base_persons: int = 12
    """Persons per step for the base loss."""
    steps: int | None = None
    """Optimiser steps; None for a run that ends by time alone."""
    seconds: float | None = 240.0
    """Seconds of the processor in steps after which a run ends; None for one that ends by steps alone."""
    learning_rate: float = 1e-4
    """Peak of AdamW."""
    warmup: int = 10
    """Steps in which the rate rises; it stays."""
    trainable: Literal["all", "lora"] = "all"
    """All weights of the denoiser, or low-rank updates of its linear layers, merged in the end."""
    lora_rank: int = 8
    """Rank of these updates."""
    clip_norm: float = 1.0
    """Gradient norm is clipped to this."""
    ema_decay: float = 0.95
    """Decay of the weight average, which is the result."""
    guarded: bool = True
    """Whether the judge may stop the run and chooses the look that is kept; it looks in any case."""
    tolerance: float = 0.03
    """Share of the best held-out error by which a later one may be worse."""
    patience: int = 4
    """Looks in a row that are worse than that before the run stops: its first steps unsettle the views."""
    check_every: int = 15
    """Steps between looks."""
    seed: int = 0
    """Seed of persons, times and noise."""

    def __post_init__(self) -> None:
        """Raise InputError for a value with which no run makes sense."""
        for name in ("persons", "base_persons", "learning_rate", "lora_rank", "clip_norm", "check_every", "patience"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"multi-view reward: {name} must be positive, got {getattr(self, name)}")
        weights = self.reward_weight, self.base_weight
        if not all(0 <= w < math.inf for w in weights) or sum(weights) == 0:
            raise InputError("multi-view reward: reward_weight and base_weight must not be negative, nor both 0")
        if not 0 <= self.haze_weight < math.inf:
            raise InputError(f"multi-view reward: haze_weight must not be negative, got {self.haze_weight}")
        if not 0 <= self.tolerance < 1 or not 0 <= self.ema_decay < 1 or self.warmup < 0:
            raise InputError("multi-view reward: tolerance and ema_decay must be in 0..1, warmup not negative")
        if self.rollout.hypotheses != 1:
            raise InputError("multi-view reward: rollout.hypotheses must be 1; a front view has one true pose")
        for name in ("steps", "seconds"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise InputError(f"multi-view reward: {name} must be positive, got {getattr(self, name)}")
        if self.steps is None and self.seconds is None:
            raise InputError("multi-view reward: give steps, or seconds after which the run ends")


BaseLoss = Callable[[Any, RingPersons, torch.Generator], Float[Tensor, " person"]]
"""`(policy, persons, generator) -> the loss that base training has`, one per person."""


@dataclass(frozen=True)
class RewardData:
    """Whom a run sees."""

    persons: RingPersons
    """Fronts and joints of persons to sample; their other views are never looked at."""
    base: RingPersons
    """Renders for the base loss."""
    held_out: RingPersons
    """Whom the judge looks at."""


@dataclass(frozen=True)
class MultiViewSteps:
    """What each step minimises."""

    data: RewardData
    critic: ViewCritic
    reference: Any
    base_loss: BaseLoss
    config: MultiViewRewardConfig

    def __call__(self, policy: Any, step: int) -> Iterator[Part]:
        """Parts of a step's loss. Raises InputError for a reward that is not finite."""
        c, draw = self.config, seeded(self.config.seed, "multi-view reward", step)
        none = dict.fromkeys(self._figures, 0.0)  # the loop adds up the same figures of all parts
        if c.reward_weight > 0:
            person = torch.randperm(len(self.data.persons.joints), generator=draw)[: c.persons]
            terms = self._followed(policy, person, draw)
            cost = c.rollout.kappa * terms["drift"] + c.haze_weight * terms["haze"] - terms["reward"]
            figures = none | {name: float(term.detach().mean()) for name, term in terms.items()}
            yield Part({"reward": cost}, {"reward": c.reward_weight}, figures=figures)
        if c.base_weight > 0:
            person = torch.randint(len(self.data.base.joints), (c.base_persons,), generator=draw)
            loss = self.base_loss(policy, self.data.base[person], draw)
            yield Part({"base": loss}, {"base": c.base_weight}, figures=none | {"base": float(loss.detach().mean())})

    @property
    def _figures(self) -> tuple[str, ...]:
        return (("reward", "drift", "haze") if self.config.reward_weight > 0 else ()) + (
            ("base",) if self.config.base_weight > 0 else ()
        )

    def _followed(
        self, policy: Any, person: Int[Tensor, " person"], draw: torch.Generator
    ) -> dict[str, Float[Tensor, " person"]]:
        persons, place = self.data.persons[person], next(policy.parameters()).device
        fronts = persons.pixels[:, 0].to(place).float()
        ours, theirs = policy.context(fronts), self.reference.context(fronts)
        dims = persons.pixels[0].numel()
        x_T = torch.randn(len(person), 1, dims, generator=draw).to(place)
        plan = planned_steps(self.config.rollout, draw)
        x_0, drift = rollout(policy, self.reference, ours, theirs, x_T, self.config.rollout, plan)
        views = policy.to_views(x_0)[:, 0]
        score = self.critic.score(views, self.critic.targets(persons.joints))
        return {"reward": score, "drift": drift[:, 0], "haze": haze_beyond_front(views, fronts)}


def haze_beyond_front(
    views: Float[Tensor, "person view 4 h w"], fronts: Float[Tensor, "person 4 h w"]
) -> Float[Tensor, " person"]:
    """Haze of the masks of side views above that of the given front's mask, at least 0; differentiable in the views."""
    return (haze(views[:, 1:, 3]).mean(-1) - haze(fronts[:, 3])).relu()


@torch.no_grad()
def sampled_views(policy: Any, persons: RingPersons, seed: int) -> Float[Tensor, "person view 4 h w"]:
    """One sample for each person's front; the noise of a person depends on the seed and the person's place alone."""
    made, place = [], next(policy.parameters()).device
    for start in range(0, len(persons.joints), 32):
        some = persons.pixels[start : start + 32, 0].to(place).float()
        x_0 = policy.sample(policy.context(some), 1, seeded(seed, "views", start))
        made.append(policy.to_views(x_0)[:, 0])
    return torch.cat(made)


def reward_checks(
    data: RewardData,
    critic: ViewCritic,
    config: MultiViewRewardConfig,
    curve: Path,
    looked: Callable[[Any], None] | None = None,
) -> Checks:
    """The look of the judge at held-out persons, and its guard."""

    def look(policy: Any) -> dict[str, float]:
        if looked is not None:
            looked(policy)
        figures = critic.figures(sampled_views(policy, data.held_out, 0), data.held_out)
        means = {f"held_out_{name}": float(values.mean()) for name, values in figures.items()}
        before = held_out_errors(curve)
        return {**means, "held_out_best": min([*before, means["held_out_mpjpe"]])}

    def guard(figures: dict[str, float], _: dict[str, float]) -> str | None:
        if not all(math.isfinite(value) for value in figures.values()):
            return "a held-out figure is not finite"
        errors = [*held_out_errors(curve), figures["held_out_mpjpe"]]
        if config.guarded and best_look(errors, config.tolerance, config.patience)[1]:
            above = errors[-1] / figures["held_out_best"] - 1
            looks = counted(config.patience, "look")
            return f"the judge's error on held-out persons is {above:.1%} above its best, and was for {looks}"
        return None

    def better(figures: dict[str, float], kept: dict[str, float]) -> bool:
        return figures["held_out_mpjpe"] < kept["held_out_mpjpe"]

    return Checks(look, guard, better if config.guarded else None)


def best_look(errors: Sequence[float], tolerance: float, patience: int) -> tuple[int, bool]:
    """The look that a guard keeps, and whether it stops: at `patience` looks in a row that are worse by `tolerance`."""
    best, worse = 0, 0
    for number, error in enumerate(errors):
        worse = worse + 1 if error > (1 + tolerance) * errors[best] else 0
        best = number if error < errors[best] else best
        if worse == patience:
            return best, True
    return best, False


def held_out_errors(curve: Path) -> list[float]:
    """The judge's errors so far, metres, from the lines of a curve."""
    return [row["held_out_mpjpe"] for row in curve_rows(curve)]


@dataclass(frozen=True)
class RewardOutcome:
    """Where a run ended."""

    policy: Any
    steps: int
    seconds: float
    stopped: str | None
    look: dict[str, float]
    """Figures of the last good look."""


def fine_tune(
    policy: nn.Module,
    reference: Any,
    data: RewardData,
    critic: ViewCritic,
    base_loss: BaseLoss,
    config: MultiViewRewardConfig,
    folder: Path,
    looked: Callable[[Any], None] | None = None,
    steps: Step | None = None,
) -> RewardOutcome:
    """Train a policy where it is, resuming from `folder` where it holds a state; both curves are in `curve.jsonl`.

    `looked` is called with the average at each look; `steps` replaces what is minimised (`MultiViewSteps`).

    Raises InputError for a state that is damaged or of another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy.requires_grad_(False)
    denoiser: nn.Module = policy.denoiser  # pyright: ignore
    if config.trainable == "lora":
        add_low_rank(denoiser, config.lora_rank, seeded(config.seed, "low rank"))
    else:
        denoiser.requires_grad_(True)
    curve = folder / "curve.jsonl"
    steps = steps or MultiViewSteps(data, critic, reference, base_loss, config)
    checks = reward_checks(data, critic, config, curve, looked)
    place = next(policy.parameters()).device
    loop = Loop(
        policy,
        steps,
        replace(_loop(config), device=place),
        state=folder / "state.pt",
        curve=Curve(curve),
        checks=checks,
    )
    average, went = loop.run(), loop.progress  # on the CPU
    merge_low_rank(average)
    return RewardOutcome(average.eval().requires_grad_(False), went.step, went.seconds, went.stopped, went.good_figures)


def _loop(config: MultiViewRewardConfig) -> LoopConfig:
    def rate(step: int, _: float) -> float:
        return warm_cosine(step, 0, peak=config.learning_rate, warmup=config.warmup, falls=False)

    return LoopConfig(
        rate=rate,
        steps=config.steps,
        seconds=config.seconds,
        weight_decay=0.0,
        clip_norm=config.clip_norm,
        ema_decay=config.ema_decay,
        log_every=config.check_every,
        save_every=config.check_every,
        clock=time.process_time,
    )
