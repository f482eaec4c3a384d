"""What an objective is to the loop, and the losses it is given: policy and reference at the same (t, eps), always.

    items -> draws (t, eps) -> `Losses` -> objective -> unreduced terms -> mean

The only way to get `Losses` is `paired_losses`, which draws nothing: both models are asked at the t and eps that it is
given. Independent noise would ruin every objective that compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.diffusion.loss_weights import LossWeight, loss_weight
from hmralign.diffusion.parameterization import add_noise
from hmralign.policies.policy import Denoiser, NoisePredictor, PartedPolicy, per_sample_loss
from hmralign.structures import InputError, TensorRecord

Shared = Literal["nothing", "time", "time_and_noise"]


@dataclass(frozen=True)
class Items(TensorRecord):
    """What is trained on. The members of an item share a person: a pair, a group, or one sample on its own.

    `weights` mean what the objective makes of them: advantages, +1 and -1, or shares.
    """

    person: Int[Tensor, " item"]
    x_0: Float[Tensor, "item member dims"]
    weights: Float[Tensor, "item member"]

    def __post_init__(self) -> None:
        """Raise InputError for no items, or values that are not finite."""
        if len(self.person) == 0:
            raise InputError("there is nothing to train on: no group has a preference, or all were left out")
        for name in ("x_0", "weights"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise InputError(f"training items: {name} holds values that are not finite")

    def __len__(self) -> int:
        return len(self.person)

    @property
    def members(self) -> int:
        """Samples per item."""
        return self.x_0.shape[1]


@dataclass(frozen=True)
class Prediction(TensorRecord):
    """Noise predictions times sqrt(lambda_t): squared differences are weighted losses."""

    policy: Float[Tensor, "item member dims"]
    reference: Float[Tensor, "item member dims"]
    target: Float[Tensor, "item member dims"]


@dataclass(frozen=True)
class Losses(TensorRecord):
    """lambda_t |eps - eps_theta|^2 of one batch; a trailing axis of parts where the objective asked for it.

    `reference` is None for objectives that need none; it and the reference's prediction never have gradients.
    """

    policy: Float[Tensor, "item member *parts"]
    reference: Float[Tensor, "item member *parts"] | None
    weights: Float[Tensor, "item member"]
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Objective:
    """Unreduced terms from losses, and what it takes to compute them."""

    name: str
    terms: Callable[[Losses], Float[Tensor, "item ..."]]
    needs_reference: bool = True
    needs_prediction: bool = False
    by_parts: bool = False
    """Whether joints and twists are kept apart."""
    shares: Shared = "nothing"
    """What the members of an item share; policy and reference always share both."""
    antithetic: bool = False
    """Whether the second half of a batch sees the times T - 1 - t of the first (mirrored in what `t_from` leaves)."""
    needs_batch: bool = False
    """Whether a term depends on the other items, so that a batch cannot be split."""
    t_from: float = 0.0
    """Times are uniform on the rest of the schedule from this share on: 0 is all of it, 0.5 its noisier half."""
    drawn: int | None = None
    """Members that are drawn anew, without replacement, whenever an item is seen; None sees all."""
    drawn_weights: Callable[[Float[Tensor, "item member"]], Float[Tensor, "item member"]] | None = None
    """What the weights of drawn members become, such as advantages among those that were drawn; None keeps them."""


@dataclass(frozen=True)
class Draw(TensorRecord):
    """Times and noise of one batch."""

    t: Int[Tensor, "item member"]
    eps: Float[Tensor, "item member dims"]


def draw_members(items: Items, objective: Objective, generator: torch.Generator) -> Items:
    """Items as they are seen this time: all of their members, which draws nothing, or as many as are to be drawn."""
    if objective.drawn is None:
        return items
    chosen = torch.rand(items.weights.shape, generator=generator).argsort(-1)[:, : objective.drawn]
    weights = items.weights.gather(1, chosen)
    x_0 = items.x_0.gather(1, chosen[..., None].expand(-1, -1, items.x_0.shape[-1]))
    return Items(items.person, x_0, weights if objective.drawn_weights is None else objective.drawn_weights(weights))


def draw_noise(items: Items, objective: Objective, num_times: int, generator: torch.Generator) -> Draw:
    """Times are stratified over the batch, so that no batch sees early times alone."""
    n, m, dims = items.x_0.shape
    first = int(objective.t_from * num_times)
    count = n * m if objective.shares == "nothing" else n
    drawn = (count + 1) // 2 if objective.antithetic else count
    strata = (torch.randperm(drawn, generator=generator) + torch.rand(drawn, generator=generator)) / drawn
    t = first + (strata * (num_times - first)).long().clamp(max=num_times - first - 1)
    if objective.antithetic:
        t = torch.cat([t, first + num_times - 1 - t])[:count]
    t = t.view(n, m) if objective.shares == "nothing" else t[:, None].expand(n, m)
    noises = 1 if objective.shares == "time_and_noise" else m
    return Draw(t, torch.randn(n, noises, dims, generator=generator).expand(n, m, dims))


def paired_losses(
    policy: Denoiser,
    reference: Denoiser | None,
    items: Items,
    draw: Draw,
    policy_context: Any,
    reference_context: Any,
    objective: Objective,
    weight: LossWeight,
) -> Losses:
    """Losses of both models at one (t, eps). Contexts have one row per item.

    Raises InputError where the policy cannot give what the objective needs, naming the protocol it lacks.
    """
    alpha_bar = policy.schedule.at(draw.t)
    weighing = loss_weight(weight, alpha_bar)
    reference = reference if objective.needs_reference or objective.needs_prediction else None
    prediction = None
    if objective.needs_prediction:
        assert reference is not None
        prediction = _predictions(policy, reference, items, draw, policy_context, reference_context, weighing)
        ours = (prediction.policy - prediction.target).square().mean(-1)
        theirs = (prediction.reference - prediction.target).square().mean(-1)
        return Losses(ours, theirs, items.weights, prediction)
    ours = _weighed(policy, items, draw, policy_context, objective, weighing)
    theirs = None
    if reference is not None:
        with torch.no_grad():
            theirs = _weighed(reference, items, draw, reference_context, objective, weighing)
    return Losses(ours, theirs, items.weights, prediction)


def _weighed(
    policy: Denoiser, items: Items, draw: Draw, context: Any, objective: Objective, weighing: Tensor
) -> Tensor:
    if not objective.by_parts:
        return weighing * per_sample_loss(policy, items.x_0, draw.t, draw.eps, context)
    if not isinstance(policy, PartedPolicy):
        raise InputError(f"objective '{objective.name}' keeps parts apart; the policy has no `part_losses`")
    return weighing[..., None] * policy.part_losses(items.x_0, draw.t, draw.eps, context)


def _predictions(
    policy: Denoiser,
    reference: Denoiser,
    items: Items,
    draw: Draw,
    policy_context: Any,
    reference_context: Any,
    weighing: Tensor,
) -> Prediction:
    if not (isinstance(policy, NoisePredictor) and isinstance(reference, NoisePredictor)):
        raise InputError("the objective needs the prediction itself; the policy has no `predict_noise`")
    x_t = add_noise(items.x_0, draw.eps, policy.schedule.at(draw.t))
    root = weighing.sqrt()[..., None]
    ours = root * policy.predict_noise(x_t, draw.t, policy_context)
    with torch.no_grad():
        theirs = root * reference.predict_noise(x_t, draw.t, reference_context)
    return Prediction(ours, theirs, root * draw.eps)
