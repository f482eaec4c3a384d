"""Pairs of a chosen and a rejected hypothesis as views of scored groups; nothing is copied, only indices are made.

ADHMR (supplement, sec. 2) draws winners from the top K and losers from the bottom K of a group by score, K pairs per
image. Ties within a group carry no preference and give no pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.structures import InputError


@dataclass(frozen=True)
class Pairs:
    """Indices into a batch of groups, one row per pair."""

    group: Int[Tensor, " pair"]
    chosen: Int[Tensor, " pair"]
    rejected: Int[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.group)


def top_and_bottom(scores: Float[Tensor, "group hyp"], k: int) -> tuple[Int[Tensor, "group k"], Int[Tensor, "group k"]]:
    """Indices of the k best and the k worst hypotheses; of equals the lower index counts as better.

    Raises InputError where top and bottom would overlap, and for scores that are not finite.
    """
    if k < 1 or 2 * k > scores.shape[-1]:
        raise InputError(
            f"top-{k} and bottom-{k} of groups of {scores.shape[-1]} overlap; expected 2 K <= G and K >= 1"
        )
    if not bool(torch.isfinite(scores).all()):
        row = int((~torch.isfinite(scores)).any(-1).nonzero()[0])
        raise InputError(f"group {row} has a score that is not finite; score it again or leave it out")
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    return order[:, :k], order[:, -k:]


def sampled_pairs(
    scores: Float[Tensor, "group hyp"], k: int, generator: torch.Generator, *, pairs_per_group: int | None = None
) -> Pairs:
    """Winners drawn from the top k and losers from the bottom k of each group, `pairs_per_group` (default k) of them.

    Pairs whose scores are equal are left out. Errors as `top_and_bottom`.
    """
    top, bottom = top_and_bottom(scores, k)
    n = k if pairs_per_group is None else pairs_per_group
    groups = torch.arange(len(scores))[:, None].expand(-1, n)
    chosen = top.gather(1, torch.randint(k, (len(scores), n), generator=generator))
    rejected = bottom.gather(1, torch.randint(k, (len(scores), n), generator=generator))
    real: Bool[Tensor, "group n"] = scores.gather(1, chosen) > scores.gather(1, rejected)
    return Pairs(groups[real], chosen[real], rejected[real])


def ordered_pairs(scores: Float[Tensor, "group hyp"], *, margin: float = 0.0) -> Pairs:
    """Every two hypotheses of a group whose scores differ by more than `margin`, the better one chosen."""
    better = scores[:, :, None] - scores[:, None, :] > margin
    group, chosen, rejected = better.nonzero(as_tuple=True)
    return Pairs(group, chosen, rejected)


def matched_pairs(scores: Float[Tensor, "group hyp"], k: int) -> Pairs:
    """The i-th best of each group against its i-th worst, i from 1 to k: no draw, and no pair twice.

    Pairs whose scores are equal are left out. Errors as `top_and_bottom`.

    >>> pairs = matched_pairs(torch.tensor([[0.1, 0.9, 0.5, 0.4]]), 2)
    >>> pairs.chosen.tolist(), pairs.rejected.tolist()
    ([1, 2], [0, 3])
    """
    top, bottom = top_and_bottom(scores, k)
    chosen, rejected = top, bottom.flip(-1)
    groups = torch.arange(len(scores))[:, None].expand(-1, k)
    real: Bool[Tensor, "group k"] = scores.gather(1, chosen) > scores.gather(1, rejected)
    return Pairs(groups[real], chosen[real], rejected[real])
