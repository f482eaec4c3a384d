"""Refinement of an initial answer: diffusion around it, guided by keypoints and words.

    x_T = 0 or noise -> x_0 of the prior or the refiner -> pulled towards the evidence -> x_(t-1) -> ... -> body

Source: VL feedback, sec. II-D. The diffused x is the offset from the initial body (`models.language.body_offset`), and
evidence is looked at on the predicted x_0: at a time at which x_t is all noise its own gradient says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.diffusion import ddim
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import check_observation
from hmralign.models.language.body_offset import OFFSET_DIM, BodyOffset, default_scale
from hmralign.models.language.refiner import CONDITIONS, Refiner
from hmralign.refinement.energy import Energy
from hmralign.refinement.guide import Guide, NoGuide
from hmralign.refinement.inversion import InversionConfig, sample_by_inversion
from hmralign.refinement.prior import OffsetPrior, Prior, RefinerPrior
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
    conditions: tuple[str, ...] = CONDITIONS
    """What a refiner is shown, where there is one: any of context, keypoints, text."""
    inversion: InversionConfig | None = None
    """Sampling by inversion in place of DDIM from the start; None for the latter."""
    clamp: float = 5.0
    """Bound on offsets, in their scales."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.num_steps < 1 or self.start_noise < 0 or self.clamp <= 0:
            raise InputError("refinement: num_steps must be at least 1, start_noise not negative, clamp positive")
        if not set(self.conditions) <= set(CONDITIONS):
            raise InputError(f"refinement: conditions are {self.conditions}, expected some of {', '.join(CONDITIONS)}")


@dataclass(frozen=True)
class Refinement(TensorRecord):
    """Persons before and after, and on the way; `cam` frame, metres. The first step is the initial body."""

    initial: BodyParams
    refined: BodyParams
    steps: BodyParams
    keypoint_loss: Float[Tensor, "*person step"]
    text_loss: Float[Tensor, "*person step"]


def refine(
    initial: BodyParams,
    fit: PersonFit,
    guide: Guide | None = None,
    config: RefineConfig | None = None,
    *,
    refiner: Refiner | None = None,
    doubt: PersonGroup | None = None,
    named: Bool[Tensor, "person 24"] | None = None,
    generator: torch.Generator | None = None,
) -> Refinement:
    """Refine one body for each of the fit's persons.

    `guide` is what words want; None for keypoints alone. Without a `refiner` offsets are believed to be normal. `doubt`
    is the group of hypotheses that the initial body was fused from, where there is one: bodies then move along the
    directions in which it is uncertain. Joints that are not `named` turn less freely, by `others_share`. Without
    keypoints the guide alone moves bodies. Raises InputError for an observation or bodies that are not finite or do not
    fit together, and for `start_noise` without a generator.
    """
    check_observation(fit.observation)
    config = config or RefineConfig()
    start = start_of(fit, initial)
    energy = Energy(fit, start, guide or NoGuide())
    scale = default_scale() if refiner is None else refiner.scale
    around = BodyOffset(start.rotmats, start.betas, scale.expand(len(start.betas), -1))
    prior = OffsetPrior() if refiner is None else RefinerPrior(refiner, energy, around, config.conditions)
    run = _Run(energy, around, prior, Pull.of(energy, config.pull, doubt, named), config)
    run.sample(_first_noise(len(start.betas), config, generator))
    return _refinement(initial, energy, run.bodies)


def _first_noise(persons: int, config: RefineConfig, generator: torch.Generator | None) -> Float[Tensor, "person 154"]:
    """One noise for all persons, so that nobody's answer depends on who else is there."""
    if config.start_noise == 0:
        return torch.zeros(persons, OFFSET_DIM)
    if generator is None:
        raise InputError("a refinement that starts from noise needs a generator")
    return (config.start_noise * torch.randn(OFFSET_DIM, generator=generator)).expand(persons, -1)


class _Run:
    """One run of the diffusion; it keeps the estimate that the prior is shown, and the body of each step."""

    def __init__(self, energy: Energy, around: BodyOffset, prior: Prior, pull: Pull, config: RefineConfig) -> None:
        self.energy, self.around, self.prior, self.pull, self.config = energy, around, prior, pull, config
        self.estimate = torch.zeros(len(around.betas), OFFSET_DIM, device=around.betas.device)
        self.bodies = [(around.rotmats, around.betas)]

    def sample(self, x_T: Float[Tensor, "person 154"]) -> None:
        """Run; what comes out is the last of the bodies."""
        config, schedule = self.config, self.prior.schedule
        if config.inversion is not None:
            sample_by_inversion(
                self._eps,
                self._pulled,
                self._energy,
                self.estimate,
                schedule,
                config.inversion,
                config.clamp,
                self._keep,
            )
        else:
            ddim.sample(self._eps, x_T, schedule, num_steps=config.num_steps, clamp=config.clamp, guidance=self._guided)

    def _eps(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = self.prior.schedule.at(t)
        return (x_t - alpha_bar.sqrt() * self.prior(x_t, t, self.estimate)) / (1 - alpha_bar).sqrt()

    def _guided(self, x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
        self._keep(self._pulled(x_0, alpha_bar_t))
        return self.estimate

    def _pulled(self, x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
        return self.around.from_body(*self.pull(*self.around.to_body(x_0)))

    def _keep(self, x_0: Tensor) -> None:
        self.estimate = x_0
        self.bodies.append(self.around.to_body(x_0))

    def _energy(self, x_0: Tensor) -> Float[Tensor, " person"]:
        body, config = self.around.to_body(x_0), self.config.pull
        with torch.no_grad():
            return config.keypoint_weight * self.energy.keypoints(*body) + config.text_weight * self.energy.text(*body)


def _refinement(initial: BodyParams, energy: Energy, bodies: list[tuple[Tensor, Tensor]]) -> Refinement:
    with torch.no_grad():
        keypoints = torch.stack([energy.keypoints(*each) for each in bodies], dim=1)
        text = torch.stack([energy.text(*each) for each in bodies], dim=1)
        group = PersonGroup(*(torch.stack(parts, dim=1) for parts in zip(*bodies, strict=True)))
        steps = energy.fit.bodies(group)
    return Refinement(initial, steps[:, -1], steps, keypoints, text)
