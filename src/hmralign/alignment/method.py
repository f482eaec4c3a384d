"""What a method of alignment is: settings, what it selects from groups, and what it minimises.

    groups + scores -> items (targets, pairs, signed samples, whole groups) -> losses -> unreduced terms -> mean

Nearly every method is an `OfflineMethod`: a function that makes items and an `Objective`. One that samples while it
trains, as `methods.direct_reward`, satisfies the protocol by itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from hmralign.alignment.labelled import LabelledConfig
from hmralign.alignment.rewards import Reward, reprojection_of_x_0_hat
from hmralign.alignment.scored_groups import ScoredGroups
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.training.contexts import Contexts
from hmralign.training.objective import Items, Objective
from hmralign.training.offline import OfflineStep, Partition
from hmralign.training.preference import StepLosses
from hmralign.training.preference_configuration import PreferenceTrainingConfig

logger = logging.getLogger("hmralign.align")


@dataclass(frozen=True)
class Round:
    """What a method is given for one round of training."""

    groups: ScoredGroups
    """Persons to learn from, with their samples and scores."""
    reference: Any
    """The policy as it was at the start; frozen."""
    contexts: Contexts
    """What policy and reference see of the persons."""
    training: PreferenceTrainingConfig
    followed: Reward | None = None
    """The critic that `Method.followed` names, as a differentiable reward."""
    labelled: LabelledConfig = field(default_factory=LabelledConfig)
    """How much of a batch labelled persons are, where `groups` has any."""

    def partition(self, items: Items) -> Partition | None:
        """Labelled and other items; None where nobody is labelled."""
        if self.groups.labelled is None:
            return None
        return Partition(self.groups.labelled[items.person], self.labelled.batch_share)


@runtime_checkable
class Method(Protocol):
    """A way to align a policy with groups. `settings` are always an instance of `Method.settings`."""

    @property
    def name(self) -> str:
        """What it is called in configurations: its section has this name, with `_` for `-`."""
        ...

    @property
    def settings(self) -> type[Any]:
        """Frozen dataclass of its settings; every field has a default."""
        ...

    @property
    def learning_rate(self) -> float:
        """Rate of AdamW that is recommended."""
        ...

    @property
    def uses_scores(self) -> bool:
        """Whether it trains on scores of the store."""
        ...

    def needs_truth(self, settings: Any, /) -> bool:
        """Whether groups must come with annotations."""
        ...

    def followed(self, settings: Any, critic: str, /) -> str | None:
        """Name of the critic whose gradient it follows; `critic` is the one that the run is given."""
        ...

    def losses(self, given: Round, settings: Any, /) -> StepLosses:
        """What a step minimises. Raises InputError where there is nothing to train on."""
        ...


def _never(settings: Any) -> bool:
    return False


def _nothing(settings: Any) -> float:
    return 0.0


@dataclass(frozen=True)
class OfflineMethod:
    """A `Method` that trains on the samples of the groups: items, made once, and an objective on their losses."""

    name: str
    settings: type[Any]
    items: Callable[[ScoredGroups, Any, Any, torch.Generator], Items]
    """`(groups, reference, settings, generator) -> items`."""
    objective: Callable[[Any], Objective]
    """`settings -> objective`."""
    learning_rate: float = 1e-4
    uses_scores: bool = True
    needs_truth: Callable[[Any], bool] = _never
    reprojection: Callable[[Any], float] = _nothing
    """`settings -> weight` of the reprojection of x_0-hat, which is added to the terms."""

    def followed(self, settings: Any, critic: str, /) -> str | None:
        """The reprojection critic, where it has a weight."""
        return "reprojection" if self.reprojection(settings) > 0 else None

    def losses(self, given: Round, settings: Any, /) -> OfflineStep:
        """Steps on the items."""
        items = self.items(given.groups, given.reference, settings, seeded(given.training.seed, "items"))
        objective, weight = self.objective(settings), self.reprojection(settings)
        auxiliary = None if given.followed is None else reprojection_of_x_0_hat(given.followed, weight)
        logger.info("%s: %d items of %d from %d groups", objective.name, len(items), items.members, len(given.groups))
        partition = given.partition(items)
        return OfflineStep(items, given.contexts, objective, given.reference, given.training, auxiliary, partition)


def require_weights(method: str, **values: float) -> None:
    """Raise InputError where a weight is negative or not finite, or a beta is not positive."""
    for name, value in values.items():
        if not 0 <= value < math.inf or (value == 0 and name.endswith("beta")):
            raise InputError(f"{method}: {name} is {value}; a beta must be positive, a weight not negative")
