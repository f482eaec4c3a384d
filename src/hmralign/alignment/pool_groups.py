"""What a published pool gives the methods of alignment: scores, items, contexts.

| method | items of a pool |
| --- | --- |
| `dpo` | its pairs as they are; of groups the top K against the bottom K by a measure |
| `group` | its groups with advantages of a measure; a pair is a group of two |
| `sft` | the truth where the pool has it, else the better of a pair or the best of a group |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.alignment.methods.dpo import DpoConfig, dpo_objective, sampled_items
from hmralign.alignment.methods.group import GroupConfig, group_items, group_objective
from hmralign.alignment.methods.sft import SftConfig, denoising_objective
from hmralign.alignment.scored_groups import ScoredGroups
from hmralign.policies.policy import Denoiser, crop_side
from hmralign.preferences.pool_images import PoolImages
from hmralign.preferences.published_pool import PublishedPool
from hmralign.structures import InputError, Observation
from hmralign.training.contexts import CachedContexts, in_variant
from hmralign.training.objective import Items, Objective

ERRORS = ("mpjpe", "pampjpe", "pve")
"""Measures of which less is better, millimetres."""

_OF_ORACLE = {"mpjpe": 1.2, "pampjpe": 2.0, "pve": 0.7}
"""Weights of the reward that the public GPA code has on labelled sets (`critics.controls.WeighedOracleCritic`)."""

_AT_ONCE = 16
"""Images read for one call of the encoder."""


def pool_scores(pool: PublishedPool, critic: str | None) -> Float[Tensor, "record member"]:
    """Scores of members, higher is better: `critic` is one of the pool's measures, or `oracle-gpa` of three of them.

    Errors count as minus metres. Without a critic a pair is 1 and 0, and a group has the one score that it comes with.
    Raises InputError for a measure that is not there, and where there are several or none to choose from.
    """
    if critic is None and pool.kind == "pairs":
        return torch.tensor([1.0, 0.0]).expand(len(pool), 2).clone()
    there = tuple(pool.measures)
    if critic == "oracle-gpa" and set(_OF_ORACLE) <= set(there):
        return torch.stack([-weight * pool.measures[n] / 1000 for n, weight in _OF_ORACLE.items()]).sum(0)
    if critic is None:
        judged = [name for name in there if name not in ERRORS and name != "score_raw"]
        if len(judged) != 1:
            raise InputError(f"the pool measures {', '.join(there) or 'nothing'}; say with --critic what to follow")
        critic = judged[0]
    if critic not in pool.measures:
        raise InputError(f"the pool has no '{critic}'; it measures {', '.join(there) or 'nothing'}")
    return -pool.measures[critic] / 1000 if critic in ERRORS else pool.measures[critic]


@dataclass(frozen=True)
class PoolItems:
    """What is trained on, and what is minimised."""

    items: Items
    objective: Objective


def pool_items(
    pool: PublishedPool,
    x_0: Float[Tensor, "record member 133"],
    scores: Float[Tensor, "record member"],
    persons: Observation,
    settings: DpoConfig | GroupConfig | SftConfig,
    generator: torch.Generator,
) -> PoolItems:
    """Items of a method, told by its settings (`DpoConfig`, `GroupConfig`, `SftConfig`).

    `persons` are the records without pixels (`PoolImages.unseen`).

    Raises InputError for settings that need bodies or annotations, and as the method does.
    """
    groups = ScoredGroups(tuple(str(n) for n in range(len(pool))), x_0, scores, persons)
    if isinstance(settings, DpoConfig):
        if settings.pairs != "top_bottom" or settings.labelled_pairs != "as_others":
            raise InputError("a pool has its own pairs; expected dpo.pairs = top_bottom and labelled_pairs = as_others")
        if pool.kind == "pairs":
            settings = replace(settings, top_k=1)  # a pair has one better and one worse member
        return PoolItems(sampled_items(groups, settings, generator), dpo_objective(settings))
    if isinstance(settings, GroupConfig):
        return PoolItems(group_items(groups, settings), group_objective(settings))
    return PoolItems(_sft_items(pool, x_0, scores, settings), denoising_objective("sft"))


def _sft_items(pool: PublishedPool, x_0: Tensor, scores: Tensor, settings: SftConfig) -> Items:
    n = torch.arange(len(pool))
    if settings.target_noise > 0:
        raise InputError("sft on a pool has real targets and needs no noise on them; expected target_noise = 0")
    best = x_0[n, scores.argmax(1)][:, None]
    return Items(n, best, torch.ones(len(pool), 1))


def with_truth(pool: PublishedPool) -> PublishedPool:
    """The truth of each record as its only member, for `sft`; the pool itself where it has none."""
    if pool.truth_joints is None or pool.truth_twist is None:
        return pool
    return replace(
        pool,
        kind="groups",
        joints=pool.truth_joints[:, None],
        twist=pool.truth_twist[:, None],
        measures={"score": torch.zeros(len(pool), 1)},
    )


@dataclass(frozen=True)
class LivePoolContexts:
    """Contexts of images that are read at every step, by the policy that asks."""

    images: PoolImages
    variants: int

    def of(self, policy: Denoiser, person: Int[Tensor, " item"], variant: int) -> Any:
        """Encoded now, with gradients where the encoder has them."""
        place = next(policy.parameters()).device  # pyright: ignore[reportAttributeAccessIssue]
        return in_variant(policy, self.images.observation(person.cpu(), _side(policy)).to(place), variant)


def cached_pool_contexts(policy: Any, images: PoolImages, variants: int) -> CachedContexts:
    """Contexts of all records in k variants; each image is read once for each variant, and no pixels are kept."""
    place, side = next(policy.parameters()).device, _side(policy)
    parts = torch.arange(len(images.pool)).split(_AT_ONCE)
    with torch.no_grad():
        return CachedContexts(
            [_joined([in_variant(policy, images.observation(p, side).to(place), v) for p in parts])
             for v in range(variants)]
        )  # fmt: skip


def _joined(contexts: list[Any]) -> Any:
    return type(contexts[0]).cat(contexts)


def _side(policy: Any) -> int:
    side = crop_side(policy)
    if side is None:
        raise InputError("pools are samples over pictures, and the policy does not look at any; expected a HypoNet")
    return side
