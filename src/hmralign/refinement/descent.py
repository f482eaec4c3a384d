"""Guidance of any diffusion policy by any differentiable critic: gradient descent on the predicted clean sample.

Source: VL feedback, eq. 5; guidance on the predicted x_0 as in Chung et al. 2023 (DPS) and Stathopoulos et al. 2024
(ScoreHMR). The length of a step is bounded, since gradients of critics have any size. `pull` is the reading that
refinement uses; this one needs nothing but a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.diffusion import ddim
from hmralign.policies.policy import DiffusionPolicy, NoisePredictor
from hmralign.structures import Hypotheses, InputError, Observation


class GuidablePolicy(DiffusionPolicy, NoisePredictor, Protocol):
    """A diffusion policy that shows its prediction and whose bodies are differentiable in x_0."""


Loss = Callable[[Hypotheses, Observation], Tensor]
"""`(hypotheses, observation) -> loss of each (person, hyp)`, lower is better: minus the score of a critic, or words."""


def descent(
    loss_of: Callable[[Tensor], Tensor], rate: float, steps: int = 1, longest: float = 1.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """Guidance for `ddim.sample`, `(x_0, alpha_bar_t) -> x_0`: `steps` steps of `rate` times minus the gradient.

    `loss_of` gives one loss per sample of x_0 (any leading axes). No step is longer than `longest`, as a root mean
    square over the numbers of a sample. Raises InputError for a rate or a length that is not positive, or no steps.
    """
    if rate <= 0 or longest <= 0 or steps < 1:
        raise InputError("descent: rate and longest must be positive and steps at least 1")

    def guide(x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
        for _ in range(steps):
            with torch.enable_grad():
                leaf = x_0.detach().requires_grad_()
                step = rate * torch.autograd.grad(loss_of(leaf).sum(), leaf)[0]
            size = step.square().mean(-1, keepdim=True).sqrt()
            x_0 = x_0 - step * (longest / size.clamp(min=longest))
        return x_0

    return guide


@torch.no_grad()
def sample_guided(
    policy: GuidablePolicy,
    observation: Observation,
    loss: Loss,
    x_T: Float[Tensor, "person hyp dims"],
    *,
    rate: float = 0.5,
    steps: int = 1,
    longest: float = 0.3,
    num_steps: int = 5,
    clamp: float = 5.0,
) -> Float[Tensor, "person hyp dims"]:
    """Clean samples of a policy from noise x_T, each step's predicted x_0 moved against the gradient of a loss.

    Errors as `descent`.
    """
    context = policy.context(observation)
    guide = descent(lambda x_0: loss(policy.to_body(x_0, observation), observation), rate, steps, longest)
    return ddim.sample(
        lambda x_t, t: policy.predict_noise(x_t, t.expand(x_t.shape[:-1]), context),
        x_T,
        policy.schedule,
        num_steps=num_steps,
        clamp=clamp,
        guidance=guide,
    )
