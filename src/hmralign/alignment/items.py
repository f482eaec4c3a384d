"""From stored groups and their scores to what is trained on: targets, pairs, signed samples, or whole groups.

Every method takes the same groups. A group whose scores are (almost) equal has no preference and is left out; how many
were is counted, never silently.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.alignment.advantages import group_advantages, silent_groups
from hmralign.alignment.methods import BestOfNConfig, DpoConfig, GroupConfig, KtoConfig, SftConfig, group_weights
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import fused_group
from hmralign.policies.policy import BodyEncoder
from hmralign.preferences.pairs import sampled_pairs, top_and_bottom
from hmralign.preferences.store import GroupStore
from hmralign.structures import Annotation, InputError, Observation
from hmralign.training.objective import Items

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


@torch.no_grad()
def refined_samples(
    policy: BodyEncoder, x_0: Float[Tensor, "person hyp dims"], observation: Observation
) -> Float[Tensor, "person hyp dims"]:
    """x_0 of the bodies moved onto the observed keypoints, each with its group as prior.

    Refinement may change the shape; only the rotations are kept, and bone lengths stay those of the predicted shape.
    """
    group = policy.to_group(x_0, observation)
    refined = PersonFit.of(policy.body, observation, policy.noise).refined(group)
    return policy.from_group(replace(refined, betas=group.betas), observation)


@torch.no_grad()
def fused_samples(
    policy: BodyEncoder, x_0: Float[Tensor, "person hyp dims"], observation: Observation, *, refine: bool
) -> Float[Tensor, "person 1 dims"]:
    """x_0 of the one body that each group is fused into; refined it is the answer that `recover` gives."""
    group = policy.to_group(x_0, observation)
    config = RefinementConfig() if refine else RefinementConfig(method="none")
    fit = PersonFit.of(policy.body, observation, policy.noise, config)
    fused = fused_group(fit, replace(fit.refined(group), betas=group.betas))
    return policy.from_group(replace(fused, betas=group.betas[:, :1]), observation)


def sft_items(groups: ScoredGroups, policy: BodyEncoder, config: SftConfig, generator: torch.Generator) -> Items:
    """One target per person. Raises InputError for truth where there is none."""
    obs = groups.observation.to(place_of(policy))
    if config.target == "truth":
        if groups.annotation is None:
            raise InputError("sft on truth needs groups that were built with truth")
        body = groups.annotation.body.to(place_of(policy))
        x_0 = in_chunks(lambda s: policy.from_body(body[s][:, None], obs[s]), len(groups))
    else:
        refine = config.target == "pseudo"
        sampled = groups.x_0.to(place_of(policy))
        x_0 = in_chunks(lambda s: fused_samples(policy, sampled[s], obs[s], refine=refine), len(groups))
    if config.target_noise > 0:
        x_0 = x_0 + config.target_noise * torch.randn(x_0.shape, generator=generator)
    return Items(torch.arange(len(groups)), x_0, torch.ones(len(groups), 1))


def best_of_n_items(
    groups: ScoredGroups, policy: BodyEncoder, config: BestOfNConfig, generator: torch.Generator
) -> Items:
    """The K best of each group, each an item of its own. Raises InputError for a K that groups do not have."""
    if not 1 <= config.top_k <= groups.scores.shape[1]:
        raise InputError(f"top_k is {config.top_k}; groups have {groups.scores.shape[1]} hypotheses")
    scores = torch.rand(groups.scores.shape, generator=generator) if config.choose_at_random else groups.scores
    kept = _speaking(scores, 1e-12)
    best = scores[kept].sort(dim=-1, descending=True, stable=True).indices[:, : config.top_k]
    x_0 = groups.x_0[kept]
    if config.refine_targets:
        sampled, obs = x_0.to(place_of(policy)), groups.observation[kept].to(place_of(policy))
        x_0 = in_chunks(lambda s: refined_samples(policy, sampled[s], obs[s]), len(kept))
    targets = x_0.gather(1, best[..., None].expand(-1, -1, x_0.shape[-1]))
    targets = targets + config.fuse * (targets.mean(1, keepdim=True) - targets)
    person = kept.repeat_interleave(config.top_k)
    return Items(person, targets.flatten(0, 1)[:, None], torch.ones(len(person), 1))


def dpo_items(groups: ScoredGroups, policy: BodyEncoder, config: DpoConfig, generator: torch.Generator) -> Items:
    """Pairs (chosen, rejected). Raises InputError where top and bottom overlap, and for truth where there is none."""
    if config.pairs == "truth_and_mode":
        truth = sft_items(groups, policy, SftConfig(target="truth"), generator)
        x_0 = torch.cat([truth.x_0, groups.x_0[:, :1]], dim=1)  # hypothesis 0 is the zero-noise sample
        return Items(truth.person, x_0, _signs(len(truth)))
    kept = _speaking(groups.scores, 1e-12)
    pairs = sampled_pairs(groups.scores[kept], config.top_k, generator, pairs_per_group=config.pairs_per_group)
    person = kept[pairs.group]
    x_0 = torch.stack([groups.x_0[person, pairs.chosen], groups.x_0[person, pairs.rejected]], dim=1)
    return Items(person, x_0, _signs(len(person)))


def _signs(n: int) -> Float[Tensor, "n 2"]:
    return torch.tensor([1.0, -1.0]).expand(n, 2)


def kto_items(groups: ScoredGroups, config: KtoConfig) -> Items:
    """The top K of each group as desirable samples, the bottom K as undesirable ones."""
    kept = _speaking(groups.scores, 1e-12)
    top, bottom = top_and_bottom(groups.scores[kept], config.top_k)
    person = kept.repeat_interleave(config.top_k)
    x_0 = torch.cat([groups.x_0[person, top.flatten()], groups.x_0[person, bottom.flatten()]])
    signs = torch.cat([torch.ones(len(person), 1), -torch.ones(len(person), 1)])
    return Items(torch.cat([person, person]), x_0[:, None], signs)


def group_items(groups: ScoredGroups, config: GroupConfig) -> Items:
    """Whole groups with their advantages."""
    kept = _speaking(groups.scores, config.std_floor if config.below_floor == "drop" else 0.0)
    scores = groups.scores[kept]
    advantages = group_advantages(
        scores,
        normalize=config.normalize,
        std_floor=config.std_floor,
        below_floor=config.below_floor,
        clip=config.clip,
    )
    return Items(kept, groups.x_0[kept], advantages * group_weights(scores, config)[:, None])


def _speaking(scores: Float[Tensor, "group hyp"], floor: float) -> Int[Tensor, " kept"]:
    """Groups that say something. Raises InputError for groups of one or scores that are not finite."""
    if scores.shape[1] < 2:
        raise InputError(f"groups have {scores.shape[1]} hypotheses; a preference needs at least 2")
    if not bool(torch.isfinite(scores).all()):
        raise InputError("a score is not finite; score that group again or leave it out")
    silent = silent_groups(scores, floor) if floor > 0 else torch.zeros(len(scores), dtype=torch.bool)
    if bool(silent.any()):
        logger.info("%d of %d groups have (almost) equal scores and are left out", int(silent.sum()), len(scores))
    if bool(silent.all()):
        raise InputError(f"all {len(scores)} groups have (almost) equal scores: this critic says nothing on them")
    return (~silent).nonzero()[:, 0]
