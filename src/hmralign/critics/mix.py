"""A weighted mean of several critics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.critics.critic import Critic, can_judge, judge
from hmralign.structures import Example, Hypotheses, InputError

LAB_WEIGHTS = {"reprojection": 1.0, "silhouette": 0.28, "plausibility": 0.09}
"""Weights that order raw samples best, by critic name.

Fitted by `benchmarks/critics/mix_weights.py` with a pairwise logistic loss against MPJPE on half of SynthWild's lab/val
(`lite-lab`, M = 32), never on wild. On the other half the Spearman correlation rises from 0.36 with `recover`'s weights
(1, 1, 0.5) to 0.40, which reprojection alone reaches as well; the first choice is not measurably better
(docs/results/mix_weights.md). `recover` ranks refined hypotheses, for which nothing was fitted.
"""


@dataclass(frozen=True)
class MixCritic:
    """sum(weight * score) / sum(weight) over the parts that can judge the person.

    Parts are taken as they are, never standardised within a group: the critics of this package each span about one
    unit between perfect and hopeless, and so a score depends neither on the other hypotheses nor on how alike they
    are. A part without evidence on a person (no mask) drops out there for all hypotheses; scores of persons judged by
    different parts are not comparable. A person whom no part can judge gets zeros.

    Raises `InputError` where there is no part, or a weight is not positive and finite.
    """

    parts: Sequence[tuple[Critic, float]]

    name = "mix"

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("a mix has no critics; expected at least one (critic, weight).")
        for critic, weight in self.parts:
            if not 0 < weight < float("inf"):
                raise InputError(f"critic {critic.name!r} has weight {weight}; expected a positive finite number.")

    @property
    def needs_truth(self) -> bool:
        """Whether any part does; the others still do not see it."""
        return any(critic.needs_truth for critic, _ in self.parts)

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons whom any part can judge."""
        return torch.stack([can_judge(critic, example) for critic, _ in self.parts]).any(0)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores, higher is better."""
        total = torch.zeros_like(hypotheses.joints[..., 0, 0])
        weights = torch.zeros_like(total[:, :1])
        for critic, weight in self.parts:
            share = weight * can_judge(critic, example).to(total)[:, None]
            total = total + share * judge(critic, hypotheses, example)
            weights = weights + share
        return total / torch.where(weights > 0, weights, 1.0)
