"""A group of proposed bodies for each person."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.structures.body_params import BodyParams
from hmralign.structures.tensor_record import TensorRecord


@dataclass(frozen=True)
class Hypotheses(TensorRecord):
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
