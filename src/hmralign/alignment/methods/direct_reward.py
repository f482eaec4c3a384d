"""Direct reward: gradients of a differentiable critic through steps of the sampler.

    x_T -> ... (no gradients) -> x_K -> ... (gradients) -> x_0 -> body -> reward

| variant  | steps with gradients                               | input of the denoiser | x_0 is read off      |
| -------- | -------------------------------------------------- | --------------------- | -------------------- |
| `draft`  | the last K (DRaFT-K, Clark et al. 2024, sec. 4.1)  | with its gradient     | after the last step  |
| `full`   | all                                                | with its gradient     | after the last step  |
| `refl`   | one (ReFL, Xu et al. 2023, alg. 1)                 | has none              | within the last m    |
| `drtune` | K, spread out (DRTune, Wu et al. 2024, alg. 1)     | detached              | within the last m    |

The drift from a frozen reference is added at the steps with gradients, as in DrPose. Where DRTune stops a gradient it
stops that of eps: x_{t-1} = a x_t + b sg(eps) still carries the gradient of earlier steps through x_t. A denoiser that
predicts x_0 shows its eps, which is what is detached; with x_0 detached the last step would carry nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

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

Variant = Literal["draft", "drtune", "refl", "full"]
"""Which steps have gradients."""


@dataclass(frozen=True)
class DirectRewardConfig:
    """How a reward is followed."""

    num_steps: int = 5
    """Sampler steps of a rollout."""
    variant: Variant = "draft"
    """Which of them have gradients."""
    last_steps: int = 1
    """K of `draft` and `drtune`: so many of them have gradients."""
    stop_within: int = 1
    """m of `drtune` and `refl`: x_0 is read off after a step drawn from the last m; 1 never stops early."""
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
        most = self.num_steps - (self.last_steps if self.variant == "drtune" else 1) + 1
        if not 1 <= self.stop_within <= most:
            raise InputError(f"direct reward: stop_within is {self.stop_within}; expected 1 to {most}")
        if self.hypotheses < 1 or self.kappa < 0:
            raise InputError("direct reward: hypotheses must be at least 1 and kappa not negative")


@dataclass(frozen=True)
class StepPlan:
    """Steps of one rollout, counted from 0 at x_T."""

    trained: frozenset[int]
    """Those with gradients."""
    last: int
    """The one after which x_0 is read off."""


def planned_steps(config: DirectRewardConfig, generator: torch.Generator | None = None) -> StepPlan:
    """Draw the steps of a rollout; `draft` and `full` draw nothing and need no generator.

    DRTune spreads its K steps over all T; here they are spread over those that are made, so that stopping early leaves
    none out. Raises ValueError where a draw has no generator.
    """
    end = config.num_steps - 1
    if config.variant == "draft":
        return StepPlan(frozenset(range(config.num_steps - config.last_steps, config.num_steps)), end)
    if config.variant == "full":
        return StepPlan(frozenset(range(config.num_steps)), end)
    if generator is None:
        raise ValueError(f"direct reward: the steps of '{config.variant}' are drawn and need a generator")
    last = end - _below(config.stop_within, generator)
    if config.variant == "refl":
        return StepPlan(frozenset([last]), last)
    stride = (last + 1) // config.last_steps
    offset = _below(last + 1 - (config.last_steps - 1) * stride, generator)
    return StepPlan(frozenset(offset + k * stride for k in range(config.last_steps)), last)


def _below(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))


def rollout(
    policy: Any,
    reference: Any,
    context: Any,
    reference_context: Any,
    x_T: Tensor,
    config: DirectRewardConfig,
    plan: StepPlan | None = None,
) -> tuple[Float[Tensor, "person hyp dims"], Float[Tensor, "person hyp"]]:
    """x_0 with gradients through the planned steps only, and the mean drift over these steps.

    `plan` is one of `planned_steps`; `draft` and `full` need none. All samples of a call have the same.
    """
    schedule, plan = policy.schedule, plan or planned_steps(config)
    times = ddim.timesteps(schedule, config.num_steps)[: plan.last + 1]
    after = [*times[1:], -1]
    detached = config.variant == "drtune"
    x_t, drifts = x_T, []
    for number, (now, then) in enumerate(zip(times, after, strict=True)):
        trained = number in plan.trained
        t = torch.full(x_t.shape[:2], now, dtype=torch.long, device=x_t.device)
        seen = x_t.detach() if detached else x_t
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            eps = policy.predict_noise(seen, t, context)
        if trained and config.kappa > 0:
            # Its weights are frozen, but x_t may have come through trained steps: without the reference's part the
            # gradient by x_t would be wrong.
            theirs = reference.predict_noise(seen, t, reference_context)
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
        plan = planned_steps(self.settings, draw_from)
        for part in own_parts(torch.arange(n), self.config.accumulate):
            reward, away = self._followed(policy, person[part], variant, x_T[part], plan)
            figures = {"reward": float(reward.detach().mean()), "drift": float(away.detach().mean())}
            yield Part({"objective": self.settings.kappa * away - reward}, share=len(part) / n, figures=figures)

    def _followed(
        self, policy: Any, person: Tensor, variant: int, x_T: Tensor, plan: StepPlan
    ) -> tuple[Tensor, Tensor]:
        ours, theirs = (self.contexts.of(p, person, variant) for p in (policy, self.reference))
        x_T = x_T.to(next(policy.parameters()).device)
        x_0, away = rollout(policy, self.reference, ours, theirs, x_T, self.settings, plan)
        return self.reward(x_0, person, variant), away

    @torch.no_grad()
    def probe(self, policy: Any) -> dict[str, float]:
        """Reward of fixed rollouts of the first persons, to the end."""
        n, draw_from = min(64, self.persons), seeded(0, "direct reward probe")
        x_T = torch.randn(n, self.settings.hypotheses, self.dims, generator=draw_from)
        plan = planned_steps(replace(self.settings, stop_within=1), draw_from)
        reward, away = self._followed(policy, torch.arange(n), 0, x_T, plan)
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
