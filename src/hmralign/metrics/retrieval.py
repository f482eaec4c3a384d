"""Retrieval from a square table of similarities, row i belonging to column i. Ties count against us.

Sources: recall at k and its mean over both directions as in Delmas et al. 2022 (PoseScript, sec. 5.1); R-precision in
pools of 32 as in Guo et al. 2022 (sec. 5).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.structures import InputError
from hmralign.structures.counted import counted


def ranks(similarity: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """How many other columns are at least as similar to a row as its own; 0 is found at once.

    What is not finite is never found, nor is anything beside it.
    """
    own = similarity.diagonal()[:, None]
    others = (~(similarity < own)).sum(1) - (~(own[:, 0] < own[:, 0])).long()
    return torch.where(torch.isfinite(similarity).all(1), others, similarity.shape[1])


def recall_at(similarity: Float[Tensor, "n n"], k: int) -> float:
    """Share of rows whose own column is among the `k` most similar ones."""
    if not 1 <= k <= len(similarity):
        raise InputError(f"recall at {k} of {counted(len(similarity), 'candidate')}; expected 1 to {len(similarity)}")
    return float((ranks(similarity) < k).double().mean())


def mean_recall(similarity: Float[Tensor, "n n"], ks: tuple[int, ...] = (1, 5, 10)) -> float:
    """Mean of recall at each `k` in both directions (mRecall)."""
    return sum(recall_at(s, k) for s in (similarity, similarity.mT) for k in ks) / (2 * len(ks))


def r_precision(similarity: Float[Tensor, "n n"], k: int, pool: int, generator: torch.Generator) -> float:
    """Share of rows whose own column is among the `k` most similar of a pool: itself and others drawn at random."""
    n = len(similarity)
    if not 1 <= k <= pool <= n:
        raise InputError(f"R-precision at {k} in pools of {pool} of {n}; expected k <= pool <= candidates")
    order = torch.rand(n, n, generator=generator)
    order.fill_diagonal_(-1.0)  # the own column comes first
    drawn = order.argsort(1)[:, :pool]
    among = similarity.gather(1, drawn)
    better = (~(among[:, 1:] < among[:, :1])).sum(1)
    return float((torch.isfinite(similarity).all(1) & (better < k)).double().mean())


def told_apart(own: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether each pair's own similarity is the larger one; equal ones are not told apart."""
    return own > other
