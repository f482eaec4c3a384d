"""What is believed of the offset from an initial body before evidence is looked at: nothing learned, or a refiner."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion.schedule import Schedule, ScheduleConfig, make_schedule
from hmralign.models.context import keypoint_features
from hmralign.models.language.body_offset import BodyOffset
from hmralign.models.language.refiner import CONDITIONS, Refiner, RefinerCondition
from hmralign.refinement.energy import LEAST_KEYPOINTS, Energy
from hmralign.refinement.guide import NoGuide


@runtime_checkable
class Prior(Protocol):
    """Predicts the clean offset."""

    @property
    def schedule(self) -> Schedule:
        """Noise levels that times are indices into."""
        ...

    def __call__(
        self, x_t: Float[Tensor, "person 154"], t: Tensor, estimate: Float[Tensor, "person 154"]
    ) -> Float[Tensor, "person 154"]:
        """x_0 of each person; `estimate` is the best guess so far, zero at first, and `t` one time for all."""
        ...


class OffsetPrior:
    """Offsets that are standard normal around the initial body, as VL feedback has it before any training."""

    def __init__(self) -> None:
        self.schedule = make_schedule(ScheduleConfig())

    def __call__(self, x_t: Tensor, t: Tensor, estimate: Tensor) -> Float[Tensor, "person 154"]:
        """E[x_0 | x_t] = sqrt(alpha_bar) x_t."""
        return self.schedule.at(t).sqrt() * x_t


class RefinerPrior:
    """A refiner, shown some of the conditions; gradients are taken at the estimate."""

    def __init__(self, refiner: Refiner, energy: Energy, around: BodyOffset, conditions: tuple[str, ...] = CONDITIONS):
        self.refiner, self.energy, self.around = refiner, energy, around
        self.schedule = refiner.schedule
        fit = energy.fit
        with torch.no_grad():
            self.context = refiner.encoder(keypoint_features(fit.observation, fit.frame)).global_tokens[:, 0]
        seen = ((fit.observation.confidence > 0).sum(-1) >= LEAST_KEYPOINTS).float()
        said = torch.full_like(seen, not isinstance(energy.guide, NoGuide))
        there = torch.stack([torch.ones_like(seen), seen, said], dim=-1)
        self.shown = there * torch.tensor([float(name in conditions) for name in CONDITIONS]).to(seen)

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, estimate: Tensor) -> Float[Tensor, "person 154"]:
        """x_0 by the network."""
        condition = condition_of(self.energy, self.around, estimate, self.context, self.shown)
        return self.refiner(x_t, t.expand(len(x_t)), estimate, condition)


def condition_of(
    energy: Energy,
    around: BodyOffset,
    x: Float[Tensor, "n 154"],
    context: Float[Tensor, "n channels"],
    shown: Float[Tensor, "n 3"],
) -> RefinerCondition:
    """What a refiner is told, the gradients being taken at the offset `x`."""
    body = around.to_body(x)
    return RefinerCondition(
        initial_rotmats=around.rotmats,
        initial_betas=around.betas,
        context=context,
        keypoint_gradient=energy.point_gradient(*body),
        text_gradient=energy.text_and_turn_gradient(*body)[1],
        shown=shown,
    )
