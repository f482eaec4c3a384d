"""Direct reward: gradients of a differentiable critic through the last steps of the sampler.

Source: DRaFT-K (Clark et al. 2024, sec. 4.1): sample without gradients, then with gradients for the last K steps; the
drift from a frozen reference is added at those steps, as in DrPose.

    x_T -> ... (no gradients) -> x_K -> ... (gradients) -> x_0 -> body -> reward
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.method import Round
from hmralign.alignment.rewards import Reward
from hmralign.diffusion import ddim
from hmralign.policies.policy import NoisePredictor
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.training.contexts import Contexts
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from hmralign.training.processes import own_parts
from hmralign.training.step import Part


@dataclass(frozen=True)
class DirectRewardConfig:
    """How a reward is followed."""

    num_steps: int = 5
    """Sampler steps of a rollout."""
    last_steps: int = 1
    """K: so many of them have gradients."""
    hypotheses: int = 4
    """Rollouts per person and step."""
    kappa: float = 1.0
    """Weight of the drift from the reference at the steps with gradients."""
    clamp: float = 5.0
    """Bound on |x_0| inside the sampler."""

    def __post_init__(self) -> None:
        """Raise InputError for steps that do not exist."""
        if not 1 <= self.last_steps <= self.num_steps:
            raise InputError(f"direct reward: last_steps is {self.last_steps}; expected 1 to {self.num_steps}")
        if self.hypotheses < 1 or self.kappa < 0:
            raise InputError("direct reward: hypotheses must be at least 1 and kappa not negative")


def rollout(
    policy: Any, reference: Any, context: Any, reference_context: Any, x_T: Tensor, config: DirectRewardConfig
) -> tuple[Float[Tensor, "person hyp dims"], Float[Tensor, "person hyp"]]:
    """x_0 with gradients through the last K steps only, and the mean drift over these steps."""
    schedule = policy.schedule
    times = ddim.timesteps(schedule, config.num_steps)
    after = [*times[1:], -1]
    x_t, drifts = x_T, []
    for number, (now, then) in enumerate(zip(times, after, strict=True)):
        trained = number >= config.num_steps - config.last_steps
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            t = torch.full(x_t.shape[:2], now, dtype=torch.long, device=x_t.device)
            eps = policy.predict_noise(x_t, t, context)
            if trained and config.kappa > 0:
                # Its weights are frozen, but x_t came through trained steps: without the reference's part the gradient
                # by x_t would be wrong.
                theirs = reference.predict_noise(x_t, t, reference_context)
                drifts.append((eps - theirs).square().mean(-1))
            here, below = (schedule.at(torch.tensor(step, device=x_t.device)) for step in (now, then))
            x_t = ddim.step(x_t, eps, here, below, clamp=config.clamp)
    total = torch.stack(drifts).mean(0) if drifts else torch.zeros(x_t.shape[:2], device=x_t.device)
    return x_t, total


@dataclass(frozen=True)
class RolloutStep:
    """`StepLosses` that raise a reward: -reward + kappa drift, on persons drawn without replacement."""

    persons: int
    dims: int
    contexts: Contexts
    reference: Any
    reward: Reward
    settings: DirectRewardConfig
    config: PreferenceTrainingConfig

    def __post_init__(self) -> None:
        """Raise InputError for a policy that does not show its predictions."""
        if not isinstance(self.reference, NoisePredictor):
            raise InputError("direct reward goes through the sampler; the policy has no `predict_noise`")

    def __call__(self, policy: Any, step: int) -> Iterator[Part]:
        """Parts of a step's loss."""
        draw_from = seeded(self.config.seed, "direct reward", step)
        n = max(1, min(self.config.batch_size // self.settings.hypotheses, self.persons))
        person = torch.randperm(self.persons, generator=draw_from)[:n]
        variant = int(torch.randint(self.contexts.variants, (), generator=draw_from))
        x_T = torch.randn(n, self.settings.hypotheses, self.dims, generator=draw_from)
        for part in own_parts(torch.arange(n), self.config.accumulate):
            reward, away = self._followed(policy, person[part], variant, x_T[part])
            figures = {"reward": float(reward.detach().mean()), "drift": float(away.detach().mean())}
            yield Part({"objective": self.settings.kappa * away - reward}, share=len(part) / n, figures=figures)

    def _followed(self, policy: Any, person: Tensor, variant: int, x_T: Tensor) -> tuple[Tensor, Tensor]:
        ours, theirs = (self.contexts.of(p, person, variant) for p in (policy, self.reference))
        x_T = x_T.to(next(policy.parameters()).device)
        x_0, away = rollout(policy, self.reference, ours, theirs, x_T, self.settings)
        return self.reward(x_0, person, variant), away

    @torch.no_grad()
    def probe(self, policy: Any) -> dict[str, float]:
        """Reward of fixed rollouts of the first persons."""
        n = min(64, self.persons)
        x_T = torch.randn(n, self.settings.hypotheses, self.dims, generator=seeded(0, "direct reward probe"))
        reward, away = self._followed(policy, torch.arange(n), 0, x_T)
        return {"probe_reward": float(reward.mean()), "probe_drift": float(away.mean())}


@dataclass(frozen=True)
class DirectReward:
    """The method: rollouts while it trains, so scores of the store are not used."""

    name: str = "direct-reward"
    settings: type[DirectRewardConfig] = DirectRewardConfig
    learning_rate: float = 1e-4
    uses_scores: bool = False

    def needs_truth(self, settings: DirectRewardConfig, /) -> bool:
        """Never."""
        return False

    def followed(self, settings: DirectRewardConfig, critic: str, /) -> str:
        """The run's critic."""
        return critic

    def losses(self, given: Round, settings: DirectRewardConfig, /) -> RolloutStep:
        """Steps that raise the reward."""
        assert given.followed is not None
        groups, dims = given.groups, given.groups.x_0.shape[-1]
        return RolloutStep(len(groups), dims, given.contexts, given.reference, given.followed, settings, given.training)


def make_direct_reward() -> DirectReward:
    """The method `direct-reward`. Its rate is a guess."""
    return DirectReward()
