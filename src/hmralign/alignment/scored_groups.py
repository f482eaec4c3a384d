"""Stored groups and their scores in memory, as every method takes them.

A group whose scores are (almost) equal has no preference and is left out; how many
were is counted, never silently.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.alignment.advantages import silent_groups
from hmralign.policies.policy import BodyEncoder
from hmralign.preferences.store import GroupStore
from hmralign.structures import Annotation, InputError, Observation
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.align")

CHUNK = 128
"""Persons encoded or refined at once."""


@dataclass(frozen=True)
class ScoredGroups:
    """Groups in memory, one row per person, on the CPU."""

    ids: tuple[str, ...]
    x_0: Float[Tensor, "group hyp dims"]
    scores: Float[Tensor, "group hyp"]
    observation: Observation
    annotation: Annotation | None = None
    labelled: Bool[Tensor, " group"] | None = None
    """Persons who count as labelled (`alignment.labelled`); None where nobody does."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Int[Tensor, " n"]) -> ScoredGroups:
        """Some of the groups."""
        return ScoredGroups(
            tuple(self.ids[i] for i in index.tolist()),
            self.x_0[index],
            self.scores[index],
            self.observation[index],
            None if self.annotation is None else self.annotation[index],
            None if self.labelled is None else self.labelled[index],
        )


def load_groups(
    store: GroupStore, critic: str | None, policy: Any, policy_sha256: str, *, truth: bool = False
) -> ScoredGroups:
    """Read a store whole; without a critic all scores are 0.

    Raises InputError for a store of another skeleton than the policy's body, groups that other weights sampled and
    that the policy cannot encode, and as `GroupStore.read` and `GroupStore.scores`.
    """
    skeleton = getattr(getattr(policy, "body", None), "skeleton_hash", store.facts.skeleton_hash)
    if store.facts.skeleton_hash != skeleton:
        raise InputError(
            f"{store.folder}: its bodies have another skeleton ({store.facts.skeleton_hash[:12]}...) than the model's"
        )
    scores = torch.zeros(len(store), store.facts.group_size) if critic is None else store.scores(critic)
    shards = [store.read(shard, truth=truth) for shard in range(store.num_shards)]
    examples = [s.example for s in shards]
    observation = Observation.cat([e.observation for e in examples])
    if store.facts.checkpoint_sha256 == policy_sha256 and all(s.x_0 is not None for s in shards):
        x_0 = torch.cat([s.x_0 for s in shards if s.x_0 is not None])
    else:
        if not isinstance(policy, BodyEncoder):
            raise InputError(f"{store.folder}: its groups are another model's and the policy has no `from_body`")
        logger.info("the groups are of another model: their bodies are encoded for this one")
        place = place_of(policy)
        encoded = [policy.from_body(s.hypotheses.body.to(place), s.example.observation.to(place)) for s in shards]
        x_0 = torch.cat([part.cpu() for part in encoded])
    annotation = Annotation.cat([e.annotation for e in examples if e.annotation is not None]) if truth else None
    return ScoredGroups(store.ids, x_0, scores, observation, annotation)


def place_of(policy: Any) -> torch.device:
    """The device that a policy is on."""
    return next(policy.parameters()).device


def in_chunks(function: Callable[[slice], Tensor], n: int) -> Tensor:
    """Apply to slices of persons and join, on the CPU."""
    return torch.cat([function(slice(start, start + CHUNK)).cpu() for start in range(0, n, CHUNK)])


def speaking_groups(scores: Float[Tensor, "group hyp"], floor: float = 1e-12) -> Int[Tensor, " kept"]:
    """Groups whose scores differ by more than `floor` (standard deviation); 0 keeps all.

    Raises InputError for groups of one, scores that are not finite, and where no group is left.
    """
    if scores.shape[1] < 2:
        raise InputError(f"groups have {counted(scores.shape[1], 'hypothesis')}; a preference needs at least 2")
    if not bool(torch.isfinite(scores).all()):
        raise InputError("a score is not finite; score that group again or leave it out")
    silent = silent_groups(scores, floor) if floor > 0 else torch.zeros(len(scores), dtype=torch.bool)
    if bool(silent.any()):
        logger.info("%d of %d groups have (almost) equal scores and are left out", int(silent.sum()), len(scores))
    if bool(silent.all()):
        raise InputError(
            f"{counted(len(scores), 'group')}, all with (almost) equal scores: this critic says nothing on them"
        )
    return (~silent).nonzero()[:, 0]
