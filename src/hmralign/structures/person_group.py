"""Bodies of a person before they have a place: what a policy proposes, and what fitting turns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.structures.tensor_record import TensorRecord


@dataclass(frozen=True)
class PersonGroup(TensorRecord):
    """A group of bodies for each person, in the person frame (`models.person_frame`), without a translation.

    `rotmats` are parent-relative, the root first; `betas` are the shape coefficients of each body.
    """

    rotmats: Float[Tensor, "person hyp 24 3 3"]
    betas: Float[Tensor, "person hyp betas"]

    @property
    def num_hypotheses(self) -> int:
        """Bodies per person."""
        return self.rotmats.shape[1]
