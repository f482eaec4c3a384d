"""What a refinement may be pulled by besides keypoints: anything that says how far bodies are from what is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.language.agreement import statement_loss, wanted
from hmralign.language.description import PoseDescription


@runtime_checkable
class Guide(Protocol):
    """A differentiable opinion on bodies of certain persons, such as one on what a description says of them."""

    def loss(
        self, joints: Float[Tensor, "person 24 3"], rotmats: Float[Tensor, "person 24 3 3"]
    ) -> Float[Tensor, " person"]:
        """Loss of one body per person, 0 or least where all is as wanted; nobody's depends on the others.

        `joints` are metres in the `cam` frame (x right, y down, z forward), `rotmats` parent-relative with the root
        first, in the same frame.
        """
        ...


@dataclass(frozen=True)
class NoGuide:
    """Wants nothing."""

    def loss(
        self, joints: Float[Tensor, "person 24 3"], rotmats: Float[Tensor, "person 24 3 3"]
    ) -> Float[Tensor, " person"]:
        """Zeros."""
        return torch.zeros(len(joints), device=joints.device)


@dataclass(frozen=True)
class SumGuide:
    """Two opinions at once: the first, and the second times a weight for each person, which may be 0."""

    first: Guide
    second: Guide
    weight: Float[Tensor, " person"]

    def loss(
        self, joints: Float[Tensor, "person 24 3"], rotmats: Float[Tensor, "person 24 3 3"]
    ) -> Float[Tensor, " person"]:
        """The weighed sum."""
        return self.first.loss(joints, rotmats) + self.weight * self.second.loss(joints, rotmats)


@dataclass(frozen=True)
class StatementGuide:
    """Wants that what descriptions say holds: the sum over statements of how far bodies are from them.

    `wanted` weighs statements as `language.agreement.statement_loss` has it; `up` as there, None for minus y.
    """

    wanted: Float[Tensor, "person statements"]
    up: Float[Tensor, " 3"] | Float[Tensor, "person 3"] | None = None
    margin: float | Float[Tensor, " person"] = 0.0
    """By how many softnesses what is wanted shall hold; at 0 bodies stop at the edge, where it is as true as not."""

    @staticmethod
    def of(descriptions: Sequence[PoseDescription], up: Tensor | None = None) -> StatementGuide:
        """One description for each person."""
        return StatementGuide(wanted(descriptions), up)

    def loss(
        self, joints: Float[Tensor, "person 24 3"], rotmats: Float[Tensor, "person 24 3 3"]
    ) -> Float[Tensor, " person"]:
        """0 where all that is said holds, by the margin."""
        return self.wanted.abs().sum(-1) * statement_loss(joints, self.wanted, rotmats, self.up, self.margin)
