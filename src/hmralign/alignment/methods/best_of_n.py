"""Best of N: plain denoising on the best of each group.  Source: RAFT, Dong et al. 2023."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.method import OfflineMethod
from hmralign.alignment.methods.sft import denoising_objective
from hmralign.alignment.scored_groups import ScoredGroups, in_chunks, place_of, speaking_groups
from hmralign.fitting.person_fit import PersonFit
from hmralign.policies.policy import BodyEncoder
from hmralign.structures import InputError, Observation
from hmralign.structures.counted import counted
from hmralign.training.objective import Items


@dataclass(frozen=True)
class BestOfNConfig:
    """Plain denoising on the best of each group (RAFT, Dong et al. 2023)."""

    top_k: int = 1
    """How many of each group."""
    refine_targets: bool = False
    """Move targets onto the keypoints before training on them."""
    fuse: float = 0.0
    """Pull the top K so far towards their mean: 0 leaves them, 1 makes them equal."""
    reprojection: float = 0.0
    """Weight of the reprojection loss of x_0-hat, times alpha_bar^2."""
    choose_at_random: bool = False
    """Control: targets are random members instead of the best."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if not 0 <= self.fuse <= 1 or not 0 <= self.reprojection < math.inf:
            raise InputError("best_of_n: fuse must be in 0..1 and reprojection not negative")


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


def best_of_n_items(
    groups: ScoredGroups, policy: BodyEncoder, config: BestOfNConfig, generator: torch.Generator
) -> Items:
    """The K best of each group, each an item of its own. Raises InputError for a K that groups do not have."""
    if not 1 <= config.top_k <= groups.scores.shape[1]:
        raise InputError(f"top_k is {config.top_k}; groups have {counted(groups.scores.shape[1], 'hypothesis')}")
    scores = torch.rand(groups.scores.shape, generator=generator) if config.choose_at_random else groups.scores
    kept = speaking_groups(scores)
    best = scores[kept].sort(dim=-1, descending=True, stable=True).indices[:, : config.top_k]
    x_0 = groups.x_0[kept]
    if config.refine_targets:
        sampled, obs = x_0.to(place_of(policy)), groups.observation[kept].to(place_of(policy))
        x_0 = in_chunks(lambda s: refined_samples(policy, sampled[s], obs[s]), len(kept))
    targets = x_0.gather(1, best[..., None].expand(-1, -1, x_0.shape[-1]))
    targets = targets + config.fuse * (targets.mean(1, keepdim=True) - targets)
    person = kept.repeat_interleave(config.top_k)
    return Items(person, targets.flatten(0, 1)[:, None], torch.ones(len(person), 1))


def make_best_of_n() -> OfflineMethod:
    """The method `best-of-n`. Its rate was chosen on validation persons (docs/results/alignment.md)."""
    return OfflineMethod(
        "best-of-n",
        BestOfNConfig,
        best_of_n_items,
        lambda config: denoising_objective("best_of_n"),
        learning_rate=1e-3,
        reprojection=lambda config: config.reprojection,
    )
