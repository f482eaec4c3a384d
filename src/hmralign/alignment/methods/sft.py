"""SFT: plain denoising on one target per person.  Source: Ho et al. 2020, eq. 14."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.method import OfflineMethod
from hmralign.alignment.scored_groups import ScoredGroups, in_chunks, place_of
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import fused_group
from hmralign.policies.policy import BodyEncoder
from hmralign.structures import InputError, Observation
from hmralign.training.objective import Items, Objective


@dataclass(frozen=True)
class SftConfig:
    """Plain denoising on one target per person."""

    target: Literal["own_mean", "pseudo", "truth"] = "own_mean"
    """`own_mean`: the mean of the model's own group, a control that teaches nothing but to be surer; `pseudo`: that
    mean moved onto the keypoints; `truth`: the annotation, the ceiling of what preferences could teach."""
    target_noise: float = 0.0
    """Standard deviation of noise added to targets, in standard deviations of x_0: keeps a control from collapsing."""


def weighted_denoising(
    policy: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch"] | None = None
) -> Float[Tensor, "*batch"]:
    """Plain denoising on chosen samples: truth, pseudo-labels, the group's mean, its best members."""
    return policy if weights is None else policy * weights


def denoising_objective(name: str) -> Objective:
    """Plain denoising; the weights are shares."""
    return Objective(name, lambda losses: weighted_denoising(losses.policy, losses.weights), needs_reference=False)


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


def true_samples(groups: ScoredGroups, policy: BodyEncoder, method: str) -> Float[Tensor, "person 1 dims"]:
    """x_0 of the annotations. Raises InputError naming the method where there are none."""
    if groups.annotation is None:
        raise InputError(f"{method} on truth needs groups that were built with truth")
    place = place_of(policy)
    body, seen = groups.annotation.body.to(place), groups.observation.to(place)
    return in_chunks(lambda s: policy.from_body(body[s][:, None], seen[s]), len(groups))


def sft_items(groups: ScoredGroups, policy: BodyEncoder, config: SftConfig, generator: torch.Generator) -> Items:
    """One target per person. Raises InputError for truth where there is none."""
    sampled, obs = groups.x_0.to(place_of(policy)), groups.observation.to(place_of(policy))
    if config.target == "truth":
        x_0 = true_samples(groups, policy, "sft")
    else:
        refine = config.target == "pseudo"
        x_0 = in_chunks(lambda s: fused_samples(policy, sampled[s], obs[s], refine=refine), len(groups))
    if config.target_noise > 0:
        x_0 = x_0 + config.target_noise * torch.randn(x_0.shape, generator=generator)
    return Items(torch.arange(len(groups)), x_0, torch.ones(len(groups), 1))


def make_sft() -> OfflineMethod:
    """The method `sft`."""
    return OfflineMethod(
        "sft",
        SftConfig,
        sft_items,
        lambda config: denoising_objective("sft"),
        learning_rate=3e-4,
        uses_scores=False,
        needs_truth=lambda config: config.target == "truth",
    )
