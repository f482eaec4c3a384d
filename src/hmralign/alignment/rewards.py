"""Differentiable critics as rewards, on samples of the sampler and on predicted clean samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.critics.critic import Critic
from hmralign.diffusion.parameterization import add_noise, x_0_from_eps
from hmralign.structures import Example, InputError, Observation
from hmralign.training.objective import Draw, Items
from hmralign.training.offline import Auxiliary

Reward = Callable[[Float[Tensor, "person hyp dims"], Int[Tensor, " person"], int], Float[Tensor, "person hyp"]]
"""`(x_0, person, variant) -> reward`, differentiable in x_0; persons by number, seen in that variant."""


def critic_reward(policy: Any, critic: Critic, observation: Observation) -> Reward:
    """Scores of bodies, with gradients. Critics never see an annotation here.

    The reward raises InputError where the critic's score has no gradient.
    """
    if critic.needs_truth:
        raise InputError(f"critic '{critic.name}' needs ground truth, which a reward never has")

    def reward(
        x_0: Float[Tensor, "person hyp dims"], person: Int[Tensor, " person"], variant: int
    ) -> Float[Tensor, "person hyp"]:
        seen = observation[person].to(x_0.device)
        plain = policy.x_0_variant(x_0, variant) if variant else x_0
        scores = critic(policy.to_body(plain, seen), Example(seen))
        if torch.is_grad_enabled() and not scores.requires_grad:
            raise InputError(f"critic '{critic.name}' has no gradient, so it cannot be followed as a reward")
        return scores

    return reward


def reprojection_of_x_0_hat(reward: Reward, weight: float, clamp: float = 5.0) -> Auxiliary:
    """weight alpha_bar^2 (-reward of x_0-hat): the clean sample that the prediction implies is held to the keypoints.

    The more noise, the less x_0-hat is a body; alpha_bar^2 leaves it out there.
    """

    def auxiliary(policy: Any, items: Items, draw: Draw, context: Any, variant: int) -> Float[Tensor, "item member"]:
        alpha_bar = policy.schedule.at(draw.t)
        x_t = add_noise(items.x_0, draw.eps, alpha_bar)
        x_0 = x_0_from_eps(policy.predict_noise(x_t, draw.t, context), x_t, alpha_bar[..., None]).clamp(-clamp, clamp)
        return -weight * alpha_bar.square() * reward(x_0, items.person, variant)

    return auxiliary
