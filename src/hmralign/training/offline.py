"""Steps of an offline objective: batches of items, one (t, eps) for policy and reference, terms, their mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.training.contexts import Contexts
from hmralign.training.objective import Draw, Items, Losses, Objective, draw_members, draw_noise, paired_losses
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from hmralign.training.processes import number_of_processes, own_parts
from hmralign.training.step import Part

Auxiliary = Callable[[Any, Items, Draw, Any, int], Float[Tensor, "item member"]]
"""`(policy, items, draw, context, variant) -> terms` that are added to the objective's, such as the reprojection of
x_0-hat; everything as seen in that variant."""

PROBED = 256
"""Items on which the probe looks."""


@dataclass(frozen=True)
class Partition:
    """Two kinds of items, of which each batch has fixed shares, such as labelled persons and others."""

    first: Bool[Tensor, " item"]
    """Items of the first kind."""
    share: float
    """Share of a batch that the first kind makes up, 0 to 1."""

    def __post_init__(self) -> None:
        """Raise InputError where a batch is to have items of a kind that there are none of."""
        for there, share in ((self.first, self.share), (~self.first, 1 - self.share)):
            if share > 0 and not bool(there.any()):
                raise InputError(f"batches are to have a share of {share:g} of a kind of items of which none is left")


@dataclass(frozen=True)
class OfflineStep:
    """`StepLosses` of an offline objective.

    `reference` is a frozen copy of the start; it never gets gradients. Raises InputError for a batch that is to be
    split although the objective depends on all of it, and for items with fewer members than are to be drawn.
    """

    items: Items
    contexts: Contexts
    objective: Objective
    reference: Any
    config: PreferenceTrainingConfig
    auxiliary: Auxiliary | None = None
    partition: Partition | None = None

    def __post_init__(self) -> None:
        if self.objective.needs_batch and self.config.accumulate * number_of_processes() > 1:
            raise InputError(
                f"objective '{self.objective.name}' compares the samples of a batch with each other; use "
                "accumulate = 1 and one process"
            )
        if (self.objective.drawn or 0) > self.items.members:
            raise InputError(
                f"objective '{self.objective.name}' draws {self.objective.drawn} members of each group anew, and "
                f"groups have {self.items.members}; sample larger ones (`hmralign groups --group-size`), or draw fewer"
            )

    def __call__(self, policy: Any, step: int) -> Iterator[Part]:
        """Parts of a step's loss. What is drawn does not depend on how many parts there are."""
        draw_from = seeded(self.config.seed, "step", step)
        items = self.items[self._batch(step)]
        variant = int(torch.randint(self.contexts.variants, (), generator=draw_from))
        items = draw_members(items, self.objective, draw_from)
        draw = draw_noise(items, self.objective, policy.schedule.num_steps, draw_from)
        for part in own_parts(torch.arange(len(items)), self.config.accumulate):
            place = next(policy.parameters()).device
            some, seen = items[part].to(place), draw[part].to(place)
            if variant:
                some = Items(some.person, policy.x_0_variant(some.x_0, variant), some.weights)
            context = self.contexts.of(policy, some.person, variant)
            losses = self._losses(policy, some, seen, context, variant, self.objective)
            terms = {"objective": self.objective.terms(losses)}
            if self.auxiliary is not None:
                terms["auxiliary"] = self.auxiliary(policy, some, seen, context, variant)
            yield Part(terms, share=len(part) / len(items), figures=self._figures(losses))

    def _losses(
        self, policy: Any, items: Items, draw: Draw, context: Any, variant: int, objective: Objective
    ) -> Losses:
        """Losses of items that are seen in a variant; `context` is the policy's."""
        wants_reference = objective.needs_reference or objective.needs_prediction
        theirs = self.contexts.of(self.reference, items.person, variant) if wants_reference else None
        return paired_losses(policy, self.reference, items, draw, context, theirs, objective, self.config.loss_weight)

    def _batch(self, step: int) -> Int[Tensor, " item"]:
        """Items of a step: whole passes in random order, a pure function of (seed, step).

        With a partition each kind has passes of its own.
        """
        seen = self.objective.drawn or self.items.members
        n = max(1, min(self.config.batch_size // seen, len(self.items)))
        if self.partition is None:
            return self._passes(torch.arange(len(self.items)), step, n, "order")
        first, share = self.partition.first, round(n * self.partition.share)
        kinds = ((first, share, "order of the first kind"), (~first, n - share, "order of the second kind"))
        return torch.cat([self._passes(kind.nonzero()[:, 0], step, k, name) for kind, k, name in kinds if k > 0])

    def _passes(self, pool: Int[Tensor, " pool"], step: int, n: int, name: str) -> Int[Tensor, " item"]:
        """Those n of a pool that are due at a step; `name` tells its orders from other pools'."""
        places = torch.arange(step * n, step * n + n)
        orders = {}
        for epoch in places.div(len(pool), rounding_mode="floor").unique().tolist():
            shuffled = seeded(self.config.seed, name, epoch)
            orders[epoch] = pool[torch.randperm(len(pool), generator=shuffled)]
        return torch.stack([orders[int(p) // len(pool)][int(p) % len(pool)] for p in places])

    def _figures(self, losses: Losses) -> dict[str, float]:
        """Losses of better and of worse members apart: if both rise, the model forgets instead of choosing."""
        policy = losses.policy.detach()
        weights = losses.weights
        if policy.ndim > weights.ndim:
            policy = policy.mean(-1)
        figures = {"policy_loss": float(policy.mean())}
        if losses.reference is not None:
            reference = losses.reference if losses.reference.ndim == weights.ndim else losses.reference.mean(-1)
            gap = policy - reference
            figures |= {"gap_better": _mean_where(gap, weights > 0), "gap_worse": _mean_where(gap, weights < 0)}
        return figures

    @torch.no_grad()
    def probe(self, policy: Any) -> dict[str, float]:
        """Loss over the reference's on fixed items at fixed noise, and the gaps of better and worse members."""
        draw_from = seeded(0, "probe")
        index = torch.randperm(len(self.items), generator=draw_from)[:PROBED]
        place = next(policy.parameters()).device
        items = draw_members(self.items[index], self.objective, draw_from).to(place)
        plain = Objective("probe", lambda losses: losses.policy)
        draw = draw_noise(items, plain, policy.schedule.num_steps, draw_from)
        losses = self._losses(policy, items, draw.to(place), self.contexts.of(policy, items.person, 0), 0, plain)
        figures = self._figures(losses)
        assert losses.reference is not None
        return {
            "loss_ratio": float(losses.policy.mean() / losses.reference.mean()),
            "probe_gap_better": figures["gap_better"],
            "probe_gap_worse": figures["gap_worse"],
        }


def _mean_where(values: Tensor, mask: Tensor) -> float:
    return float(values[mask].mean()) if bool(mask.any()) else 0.0
