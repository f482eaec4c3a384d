"""What a step of training minimises: parts of a loss that nobody has reduced yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """A part of a step's loss, not reduced; the parts of a step add up."""

    terms: Mapping[str, Tensor]
    """What is averaged, each of any shape; the loss is the weighed sum of the means."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weights of terms; 1 for what is not named."""
    share: float = 1.0
    """Share of the step's batch."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Means over this part for the curve."""

    def loss(self) -> Float[Tensor, ""]:
        """What this part adds to the step's loss."""
        return self.share * reduce(add, (self.weights.get(name, 1.0) * x.mean() for name, x in self.terms.items()))


Step = Callable[[Any, int], Iterable[Part]]
"""`(model, number of the step) -> parts of its loss`."""
