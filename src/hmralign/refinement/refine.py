"""Refinement of an initial answer: diffusion around it, guided by keypoints and words.

    x_T = 0 or noise -> x_0 of the prior or the refiner -> pulled towards the evidence -> x_(t-1) -> ... -> body

Source: VL feedback, sec. II-D. The diffused x is the offset from the initial body (`models.language.body_offset`), and
evidence is looked at on the predicted x_0: at a time at which x_t is all noise its own gradient says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion import ddim
from hmralign.diffusion.schedule import Schedule, ScheduleConfig, make_schedule
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import check_observation
from hmralign.models.language.body_offset import OFFSET_DIM, BodyOffset, default_scale
from hmralign.refinement.energy import Energy
from hmralign.refinement.guide import Guide, NoGuide
from hmralign.refinement.pull import Pull, PullConfig
from hmralign.refinement.start import start_of
from hmralign.structures import BodyParams, InputError, PersonGroup, TensorRecord


@dataclass(frozen=True)
class RefineConfig:
    """How an answer is refined."""

    num_steps: int = 5
    """Steps of the diffusion (DDIM, eta 0)."""
    start_noise: float = 0.0
    """Size of the noise that it starts from: 0 for the most likely answer, 1 for a sample."""
    pull: PullConfig = field(default_factory=PullConfig)
    """Guidance at every step."""
    clamp: float = 5.0
    """Bound on offsets, in their scales."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.num_steps < 1 or self.start_noise < 0 or self.clamp <= 0:
            raise InputError("refinement: num_steps must be at least 1, start_noise not negative, clamp positive")


@dataclass(frozen=True)
class Refinement(TensorRecord):
    """Persons before and after, and on the way; `cam` frame, metres. The first step is the initial body."""

    initial: BodyParams
    refined: BodyParams
    steps: BodyParams
    keypoint_loss: Float[Tensor, "person step"]
    text_loss: Float[Tensor, "person step"]


class OffsetPrior:
    """Predicts x_0 from x_t for offsets that are standard normal: what is known of them without a trained model."""

    def __init__(self, schedule: Schedule | None = None) -> None:
        self.schedule = make_schedule(ScheduleConfig()) if schedule is None else schedule

    def __call__(self, x_t: Float[Tensor, "person 154"], t: Tensor) -> Float[Tensor, "person 154"]:
        """E[x_0 | x_t] = sqrt(alpha_bar) x_t."""
        return self.schedule.at(t).sqrt() * x_t


def refine(
    initial: BodyParams,
    fit: PersonFit,
    guide: Guide | None = None,
    config: RefineConfig | None = None,
    *,
    doubt: PersonGroup | None = None,
    generator: torch.Generator | None = None,
) -> Refinement:
    """Refine one body for each of the fit's persons.

    `guide` is what words want; None for keypoints alone. `doubt` is the group of hypotheses that the initial body was
    fused from, where there is one: bodies then move along the directions in which it is uncertain. Without keypoints
    the guide alone moves bodies. Raises InputError for an observation or bodies that are not finite or do not fit
    together, and for `start_noise` without a generator.
    """
    check_observation(fit.observation)
    config = config or RefineConfig()
    start = start_of(fit, initial)
    energy = Energy(fit, start, guide or NoGuide())
    around = BodyOffset(start.rotmats, start.betas, default_scale().expand(len(start.betas), -1))
    pull = Pull.of(energy, config.pull, doubt)
    run = _Run(energy, around, OffsetPrior(), pull, config, [(start.rotmats, start.betas)])
    run.sample(_first_noise(len(start.betas), config, generator))
    return _refinement(initial, energy, run.bodies)


def _first_noise(persons: int, config: RefineConfig, generator: torch.Generator | None) -> Float[Tensor, "person 154"]:
    """One noise for all persons, so that nobody's answer depends on who else is there."""
    if config.start_noise == 0:
        return torch.zeros(persons, OFFSET_DIM)
    if generator is None:
        raise InputError("a refinement that starts from noise needs a generator")
    return (config.start_noise * torch.randn(OFFSET_DIM, generator=generator)).expand(persons, -1)


@dataclass(frozen=True)
class _Run:
    """One run of the diffusion, which keeps the body of each step."""

    energy: Energy
    around: BodyOffset
    prior: OffsetPrior
    pull: Pull
    config: RefineConfig
    bodies: list[tuple[Tensor, Tensor]]

    def sample(self, x_T: Float[Tensor, "person 154"]) -> Float[Tensor, "person 154"]:
        return ddim.sample(
            self._eps,
            x_T,
            self.prior.schedule,
            num_steps=self.config.num_steps,
            clamp=self.config.clamp,
            guidance=self._guided,
        )

    def _eps(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = self.prior.schedule.at(t)
        return (x_t - alpha_bar.sqrt() * self.prior(x_t, t)) / (1 - alpha_bar).sqrt()

    def _guided(self, x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
        pulled = self.pull(*self.around.to_body(x_0))
        self.bodies.append(pulled)
        return self.around.from_body(*pulled)


def _refinement(initial: BodyParams, energy: Energy, bodies: list[tuple[Tensor, Tensor]]) -> Refinement:
    with torch.no_grad():
        keypoints = torch.stack([energy.keypoints(*each) for each in bodies], dim=1)
        text = torch.stack([energy.text(*each) for each in bodies], dim=1)
        group = PersonGroup(*(torch.stack(parts, dim=1) for parts in zip(*bodies, strict=True)))
        steps = energy.fit.bodies(group)
    return Refinement(initial, steps[:, -1], steps, keypoints, text)


def descent(loss_of: Callable[[Tensor], Tensor], rate: float, steps: int = 1) -> Callable[[Tensor, Tensor], Tensor]:
    """Guidance of any diffusion policy by any differentiable loss: `(x_0, alpha_bar_t) -> x_0` for `ddim.sample`.

    `loss_of` gives one loss per sample of x_0 (any leading axes). Each step goes `rate` against its gradient.
    """

    def guide(x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
        for _ in range(steps):
            with torch.enable_grad():
                leaf = x_0.detach().requires_grad_()
                x_0 = x_0 - rate * torch.autograd.grad(loss_of(leaf).sum(), leaf)[0]
        return x_0

    return guide
