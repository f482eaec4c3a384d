"""From scores to an order."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from hmralign.structures import InputError


def rank(scores: Float[Tensor, "person hyp"]) -> Int[Tensor, "person hyp"]:
    """Hypothesis indices of each person, best first; of equal scores the lower index comes first.

    Raises `InputError` where a score is NaN.

    >>> import torch
    >>> rank(torch.tensor([[0.1, 0.5, 0.5]]))
    tensor([[1, 2, 0]])
    """
    broken = scores.isnan().any(-1).nonzero()[:, 0].tolist()
    if broken:
        raise InputError(f"person {broken[0]} has a score that is NaN; expected a number for every hypothesis.")
    return scores.sort(dim=-1, descending=True, stable=True).indices
