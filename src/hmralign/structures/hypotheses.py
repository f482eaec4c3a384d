"""A group of proposed bodies for each person."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures.body_params import BodyParams


@dataclass(frozen=True)
class Hypotheses:
    """Proposed bodies, axes `(*batch, hyp)`, in the `cam` frame of the full image.

    `body` has batch shape `(*batch, hyp)`; `joints` are the 29 joints in metres. Hypothesis 0 is the zero-noise mode
    of the sampler.
    """

    body: BodyParams
    joints: Float[Tensor, "*batch hyp joints 3"]

    @property
    def num_hypotheses(self) -> int:
        """Number of hypotheses per person."""
        return self.joints.shape[-3]

    def __getitem__(self, index) -> Hypotheses:
        """Index the leading axes (persons first, then hypotheses)."""
        return Hypotheses(self.body[index], self.joints[index])

    def to(self, device: torch.device | str) -> Hypotheses:
        """Move every tensor to a device."""
        return Hypotheses(self.body.to(device), self.joints.to(device))
