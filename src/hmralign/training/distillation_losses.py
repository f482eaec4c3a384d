"""What a scorer is trained on when it learns from another critic: that critic's order, as far as it is sure of it.

| loss | what | source |
| --- | --- | --- |
| `weighted_listwise` | the whole group at once, as `scorer_losses.listwise` | ListNet, Cao et al. 2007, eq. 5 |
| `weighted_ranknet` | each ordered pair | RankNet, Burges et al. 2005 |

A critic's scale is its own, so only differences within a group are learned, in units of the group's spread. Where the
critic gives standard errors, its reliability v / (v + se^2) weighs each score, v being the group's variance without
that of the noise (classical test theory, Spearman 1910): a group that is all noise teaches nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def reliability(
    scores: Float[Tensor, "group hyp"], standard_errors: Float[Tensor, "group hyp"] | None = None
) -> Float[Tensor, "group hyp"]:
    """Share of each score that is not noise, 0 to 1; errors that are not known (NaN) count as none.

    Silent groups have 0, since there is no order to learn.
    """
    variance = scores.var(1, keepdim=True, correction=0)
    if standard_errors is None:
        return (variance > 0).to(scores).expand_as(scores)
    noise = standard_errors.nan_to_num(0.0).square()
    signal = (variance - noise.mean(1, keepdim=True)).clamp(min=0)
    return torch.where(signal > 0, signal / (signal + noise).clamp(min=1e-12), 0.0)


def weighted_listwise(
    outputs: Float[Tensor, "group hyp heads"],
    scores: Float[Tensor, "group hyp"],
    weights: Float[Tensor, "group hyp"],
    sharpness: Tensor | float,
) -> Float[Tensor, " group"]:
    """Cross-entropy between softmax(sharpness outputs) and softmax of the weighted standard scores, times the group's
    mean weight."""
    centred = scores - scores.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    target = (weights * centred / spread.clamp(min=1e-12)).softmax(1)[..., None]
    log_share = (sharpness * outputs).log_softmax(1)
    return -(target * log_share).sum(1).mean(-1) * weights.mean(1)


def weighted_ranknet(
    outputs: Float[Tensor, "group hyp heads"], scores: Float[Tensor, "group hyp"], weights: Float[Tensor, "group hyp"]
) -> Float[Tensor, " group"]:
    """Weighted mean over pairs of -log sigmoid(s_better - s_worse); a tie asks for equal outputs."""
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    margin = outputs[:, first] - outputs[:, second]
    better = 0.5 * (1 + torch.sign(scores[:, first] - scores[:, second]))[..., None]
    terms = torch.nn.functional.binary_cross_entropy_with_logits(margin, better.expand_as(margin), reduction="none")
    return (terms.mean(-1) * weights[:, first] * weights[:, second]).mean(1)
