"""Groups of which a part is labelled: truth judges them, the critic judges the rest.

What the public codes of ADHMR and GPA were trained on: half of each batch is of persons with 3D labels, half of persons
without. The labelled half of GPA's is scored by the truth (the critic `oracle-gpa`), that of ADHMR's has the annotation
as winner (`dpo.labelled_pairs`). A gain of such a run is not one without labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.alignment.scored_groups import ScoredGroups
from hmralign.critics.names import CriticChoice
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError


@dataclass(frozen=True)
class LabelledConfig:
    """Which persons count as labelled, who judges them, and how much of each batch they are."""

    share: float = 0.0
    """Share of the persons, by a seeded draw; 0 labels nobody."""
    critic: CriticChoice | None = "oracle-gpa"
    """Scores in the store that are theirs; null leaves them those of the rest."""
    batch_share: float = 0.5
    """Share of each batch that they make up: the partition weight of the public codes."""

    def __post_init__(self) -> None:
        """Raise InputError for shares without meaning."""
        if not 0 <= self.share < 1 or not 0 < self.batch_share < 1:
            raise InputError(
                f"labelled: share is {self.share} and batch_share {self.batch_share}; expected 0 to 1 (1 excluded, and "
                "of batch_share 0 as well)"
            )

    @property
    def scores(self) -> str | None:
        """Critic whose scores labelled persons have instead of the others'; None for no such persons or scores."""
        return self.critic if self.share > 0 else None


def label_groups(
    groups: ScoredGroups, truth_scores: Float[Tensor, "group hyp"] | None, config: LabelledConfig, seed: int
) -> ScoredGroups:
    """The same groups, of which some are labelled and have the scores by truth where there are any.

    Raises InputError for so few groups that none or all would be labelled.
    """
    if config.share == 0:
        return groups
    labelled = _drawn(len(groups), config.share, seed)
    if truth_scores is None:
        return replace(groups, labelled=labelled)
    return replace(groups, labelled=labelled, scores=torch.where(labelled[:, None], truth_scores, groups.scores))


def _drawn(n: int, share: float, seed: int) -> Bool[Tensor, " group"]:
    count = round(share * n)
    if not 0 < count < n:
        raise InputError(f"labelled: a share of {share:g} of {n} groups leaves one kind without any")
    order = torch.randperm(n, generator=seeded(seed, "labelled"))
    return torch.zeros(n, dtype=torch.bool).index_fill(0, order[:count], True)
