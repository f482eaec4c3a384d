"""Group preference on a multi-view model: several samples for each front, PoseScore as the critic, advantages.

The bridge between two systems: what direct reward reaches by a gradient through the sampler, groups reach by weighing
plain denoising losses of samples, with no gradient of the reward at all. Nobody has compared them on one model. The
objective is `methods.group`, as for bodies; here x_0 are views, and contexts are fronts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.alignment.advantages import group_advantages, silent_groups
from hmralign.alignment.methods.group import GroupConfig, group_objective
from hmralign.alignment.multiview_reward import BaseLoss, MultiViewRewardConfig
from hmralign.critics.view_figures import ViewCritic
from hmralign.rendering.ring_persons import RingPersons
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.training.objective import Items
from hmralign.training.offline import OfflineStep
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from hmralign.training.step import Part


@dataclass(frozen=True)
class FrontContexts:
    """Contexts of fronts, by whoever asks."""

    fronts: Float[Tensor, "person 4 h w"]
    variants: int = 1

    def of(self, policy: Any, person: Int[Tensor, " item"], variant: int) -> Any:
        """The policy's own context of these persons."""
        return policy.context(self.fronts[person].float())


@torch.no_grad()
def scored_view_groups(
    policy: Any, persons: RingPersons, critic: ViewCritic, size: int, config: GroupConfig, seed: int
) -> Items:
    """Groups of `size` samples per person with their advantages by PoseScore.

    Raises InputError where no group has a preference.
    """
    x_0, scores = [], []
    for person in range(len(persons.joints)):
        context = policy.context(persons.pixels[person : person + 1, 0].float())
        made = policy.sample(context, size, seeded(seed, "group", person))  # (1, M, dims)
        target = critic.targets(persons.joints[person : person + 1]).expand(size, -1, -1, -1, -1)
        x_0.append(made)
        scores.append(critic.score(policy.to_views(made)[0], target)[None])
    groups, score = torch.cat(x_0), torch.cat(scores)
    if bool((silent := silent_groups(score, config.std_floor)).all()):
        raise InputError("all samples of every person have one PoseScore: there is no preference to learn from")
    kept = (~silent).nonzero()[:, 0]
    advantages = group_advantages(
        score[kept], normalize=config.normalize, std_floor=config.std_floor, below_floor="drop", clip=config.clip
    )
    return Items(kept, groups[kept], advantages)


@dataclass(frozen=True)
class GroupViewSteps:
    """Steps on stored groups, with the base loss beside them as in direct reward."""

    items: Items
    persons: RingPersons
    base: RingPersons
    reference: Any
    base_loss: BaseLoss
    group: GroupConfig
    config: MultiViewRewardConfig

    def __call__(self, policy: Any, step: int) -> Iterator[Part]:
        """Parts of a step's loss."""
        settings = PreferenceTrainingConfig(
            batch_size=self.config.persons * self.items.members, context_variants=1, seed=self.config.seed
        )
        contexts = FrontContexts(self.persons.pixels[:, 0])
        offline = OfflineStep(self.items, contexts, group_objective(self.group), self.reference, settings)
        for part in offline(policy, step):
            weights = {name: self.config.reward_weight for name in part.terms}
            yield Part(part.terms, weights, part.share, {**part.figures, "base": 0.0})
        if self.config.base_weight > 0:
            draw = seeded(self.config.seed, "groups of views", step)
            person = torch.randint(len(self.base.joints), (self.config.base_persons,), generator=draw)
            loss = self.base_loss(policy, self.base[person], draw)
            none = dict.fromkeys(("policy_loss", "gap_better", "gap_worse"), 0.0)
            figures = none | {"base": float(loss.detach().mean())}
            yield Part({"base": loss}, {"base": self.config.base_weight}, figures=figures)
