"""KTO on single samples that are desirable or not.

Source: Ethayarajh et al. 2024, eq. 8, as the public ADHMR code has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.method import OfflineMethod, require_weights
from hmralign.alignment.scored_groups import ScoredGroups, speaking_groups
from hmralign.preferences.pairs import top_and_bottom
from hmralign.training.objective import Items, Losses, Objective


@dataclass(frozen=True)
class KtoConfig:
    """Single samples that are desirable or not (Ethayarajh et al. 2024), as the public ADHMR code has it."""

    beta: float = 30.0
    """Sharpness."""
    top_k: int = 4
    """The top K of a group are desirable, the bottom K are not."""
    supervised: float = 0.1
    """Weight of plain denoising on the desirable ones."""
    by_parts: bool = False
    """One term for joints and one for twists, added, as in the code."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        require_weights("kto", beta=self.beta, supervised=self.supervised)


def kto(
    policy: Float[Tensor, "*batch"],
    reference: Float[Tensor, "*batch"],
    desirable: Float[Tensor, "*batch"],
    *,
    beta: float,
) -> Float[Tensor, "*batch"]:
    """1 - sigmoid(sign beta (g - kl)) with g = L_ref - L_theta; `desirable` is +1 or -1.

    kl is the batch's mean gain, not below 0 and without gradient: what counts is doing better than the drift of all.
    """
    gain = reference - policy
    kl = gain.detach().mean().clamp(min=0)
    return 1 - torch.sigmoid(desirable * beta * (gain - kl))


def kto_items(groups: ScoredGroups, config: KtoConfig) -> Items:
    """The top K of each group as desirable samples, the bottom K as undesirable ones."""
    kept = speaking_groups(groups.scores)
    top, bottom = top_and_bottom(groups.scores[kept], config.top_k)
    person = kept.repeat_interleave(config.top_k)
    x_0 = torch.cat([groups.x_0[person, top.flatten()], groups.x_0[person, bottom.flatten()]])
    signs = torch.cat([torch.ones(len(person), 1), -torch.ones(len(person), 1)])
    return Items(torch.cat([person, person]), x_0[:, None], signs)


def kto_objective(config: KtoConfig) -> Objective:
    """Items of one sample with weight +1 or -1."""
    return Objective("kto", lambda losses: _kto_terms(losses, config), by_parts=config.by_parts, needs_batch=True)


def _kto_terms(losses: Losses, config: KtoConfig) -> Float[Tensor, "item member"]:
    assert losses.reference is not None
    if not config.by_parts:
        terms, plain = kto(losses.policy, losses.reference, losses.weights, beta=config.beta), losses.policy
    else:
        parts = zip(losses.policy.unbind(-1), losses.reference.unbind(-1), strict=True)
        each = [kto(ours, theirs, losses.weights, beta=config.beta) for ours, theirs in parts]
        terms, plain = torch.stack(each, dim=-1).sum(-1), losses.policy.sum(-1)  # (item, member)
    return terms + config.supervised * plain * (losses.weights > 0)


def make_kto() -> OfflineMethod:
    """The method `kto`. Its rate is a guess."""
    return OfflineMethod(
        "kto", KtoConfig, lambda groups, policy, config, generator: kto_items(groups, config), kto_objective
    )
