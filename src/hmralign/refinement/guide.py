"""What a refinement may be pulled by besides keypoints: anything that says how far bodies are from what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


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
