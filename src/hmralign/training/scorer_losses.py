"""What a scorer is trained on: the order of hypotheses within their group, and how far off they are.

| loss | what | source |
| --- | --- | --- |
| `ranknet` | each ordered pair of a group, for each metric | Burges et al. 2005; ADHMR eq. 2, 3 |
| `listwise` | the whole group at once: where the good ones are matters most | ListNet, Cao et al. 2007, eq. 5 |
| `error_regression` | minus the log of the error, so that scores compare across persons | ours |

Errors are in metres, lower is better; outputs are higher for better hypotheses. All terms are per group, not reduced.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ERROR_UNIT = 0.1
"""Metres at which an output is 0."""

_SMALLEST_STD = 0.005
"""Metres; groups whose errors differ less have no order worth learning sharply."""


def ranknet(
    outputs: Float[Tensor, "group hyp heads"], errors: Float[Tensor, "group hyp metrics"]
) -> Float[Tensor, " group"]:
    """Mean over pairs and metrics of -log sigmoid(s_better - s_worse); a tie asks for equal scores.

    With one head all metrics are asked of it.
    """
    first, second = torch.triu_indices(outputs.shape[1], outputs.shape[1], offset=1, device=outputs.device)
    margin = outputs[:, first] - outputs[:, second]
    better = 0.5 * (1 + torch.sign(errors[:, second] - errors[:, first]))
    margin = margin.expand_as(better)
    terms = torch.nn.functional.binary_cross_entropy_with_logits(margin, better, reduction="none")
    return terms.flatten(1).mean(1)


def listwise(
    outputs: Float[Tensor, "group hyp heads"], errors: Float[Tensor, "group hyp metrics"], sharpness: Tensor | float
) -> Float[Tensor, " group"]:
    """Cross-entropy between softmax(sharpness outputs) and softmax(-errors / their spread within the group)."""
    spread = errors.std(1, keepdim=True, correction=0).clamp(min=_SMALLEST_STD)
    target = (-errors / spread).softmax(1)
    log_share = (sharpness * outputs).log_softmax(1)
    return -(target * log_share).sum(1).mean(-1)


def error_regression(
    outputs: Float[Tensor, "group hyp heads"], errors: Float[Tensor, "group hyp metrics"]
) -> Float[Tensor, " group"]:
    """Smooth L1 distance of outputs from -log(error / 0.1 m)."""
    target = -(errors.clamp(min=1e-3) / ERROR_UNIT).log()
    return torch.nn.functional.smooth_l1_loss(outputs.expand_as(target), target, reduction="none", beta=0.3).mean(
        (1, 2)
    )
