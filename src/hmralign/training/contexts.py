"""Contexts of the persons that are trained on: computed once and kept, or anew at every step.

While the encoder is frozen its contexts never change, so they are computed once for each of k variants of a person
(`AugmentedPolicy`). With an encoder that is trained, kept contexts would be those of another encoder: refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hmralign.policies.policy import AugmentedPolicy, Denoiser
from hmralign.structures import InputError, Observation


@runtime_checkable
class Contexts(Protocol):
    """Contexts of persons by number."""

    @property
    def variants(self) -> int:
        """How many ways each person is seen."""
        ...

    def of(self, policy: Denoiser, person: Int[Tensor, " item"], variant: int) -> Any:
        """Context of these persons for a policy."""
        ...


def in_variant(policy: Denoiser, observation: Observation, variant: int) -> Any:
    """Context of a variant. Raises InputError where the policy knows none but the plain one."""
    if isinstance(policy, AugmentedPolicy):
        return policy.context_variant(observation, variant)
    if variant:
        raise InputError("the policy has no variants of a context (`AugmentedPolicy`); use context_variants = 1")
    return policy.context(observation)


@dataclass(frozen=True)
class CachedContexts:
    """Contexts of a frozen encoder; every policy that shares the encoder gets the same ones."""

    by_variant: list[Any]

    @property
    def variants(self) -> int:
        """k."""
        return len(self.by_variant)

    def of(self, policy: Denoiser, person: Int[Tensor, " item"], variant: int) -> Any:
        """Looked up; `policy` does not matter."""
        return self.by_variant[variant][person]


def cache_contexts(
    policy: Denoiser, observation: Observation, variants: int, *, trains_encoder: bool
) -> CachedContexts:
    """Encode all persons k times. Raises InputError where the encoder is trained too."""
    if trains_encoder:
        raise InputError("contexts cannot be kept while the encoder that makes them is trained: cache_context = false")
    with torch.no_grad():
        return CachedContexts([in_variant(policy, observation, v) for v in range(variants)])


@dataclass(frozen=True)
class LiveContexts:
    """Contexts computed at every step, by the policy that asks."""

    observation: Observation
    variants: int = 1

    def of(self, policy: Denoiser, person: Int[Tensor, " item"], variant: int) -> Any:
        """Encoded now, with gradients where the encoder has them."""
        return in_variant(policy, self.observation[person], variant)


def encoder_is_trained(policy: nn.Module, denoiser: nn.Module) -> bool:
    """Whether anything but the denoiser has gradients."""
    inside = set(map(id, denoiser.parameters()))
    return any(p.requires_grad and id(p) not in inside for p in policy.parameters())
