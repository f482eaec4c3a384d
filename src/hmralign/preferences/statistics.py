"""What a store of groups has to say: how far its hypotheses differ, how clearly each critic orders them, who agrees.

| in the table | of each group, then the mean over groups |
| --- | --- |
| score, std | mean and standard deviation (population) of its scores |
| silent | whether all its scores are equal: nothing can be learned from it |
| ties | share of equal scores among its pairs of hypotheses |
| effective size | (sum of abs a)^2 / sum of a^2, a the scores less their mean (Kish 1965): how many carry the signal |
| agreement | Spearman's rank correlation of two critics, over groups in which neither is silent |

A group of G normal scores has an effective size of about 0.64 G; one that a single outlier dominates has one near 4,
whatever G is. Silent groups count as 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hmralign.preferences.store import GroupStore
from hmralign.reports.markdown_table import markdown_table
from hmralign.structures import InputError
from hmralign.structures.counted import counted

_GROUPS_AT_ONCE = 1024
"""Comparing all pairs of a group takes G^2 numbers."""


@dataclass(frozen=True)
class CriticStatistics:
    """Scores of one critic; shares are between 0 and 1."""

    groups: int
    mean_score: float
    within_group_std: float
    """Mean over groups, in units of the score."""
    silent_share: float
    """Groups whose scores are all equal."""
    tied_pair_share: float
    """Pairs of hypotheses of one group with equal scores."""
    effective_group_size: float
    """Hypotheses that carry the signal, of `group_size`."""
    needs_truth: bool


@dataclass(frozen=True)
class RankAgreement:
    """How alike two critics order the hypotheses of a group."""

    critics: tuple[str, str]
    spearman: float | None
    """Mean over `groups`; None where there is none."""
    groups: int
    """Groups in which both critics have an opinion."""


@dataclass(frozen=True)
class StoreStatistics:
    """How the scores of a whole store are spread, tied and agree."""

    source: str
    groups: int
    skipped: int
    """Persons or photos that gave no group."""
    group_size: int
    spread_mm: float
    """RMS distance from the group's mean, pelvis-relative, mean over joints and groups; millimetres."""
    critics: dict[str, CriticStatistics]
    agreement: tuple[RankAgreement, ...]
    unfinished: tuple[str, ...] = ()
    """Critics that have not judged every group, and are left out."""
    predicted_by: str = ""
    """The other system whose predictions these are; empty for our own samples."""
    retargeted: bool = False
    """Whether its bodies were carried over from another skeleton."""

    def record(self) -> dict[str, Any]:
        """As nested plain values, for JSON."""
        record = asdict(self)
        record["agreement"] = [{**pair, "critics": list(pair["critics"])} for pair in record["agreement"]]
        record["unfinished"] = list(self.unfinished)
        return record


def store_statistics(store: GroupStore) -> StoreStatistics:
    """Statistics of all groups and of critics that have judged every one of them.

    Raises InputError for a store without groups, and for shards that are missing or damaged.
    """
    if len(store) == 0:
        raise InputError(f"{store.folder}: holds no groups, so there is nothing to count")
    finished = [c for c in store.critics() if not store.unscored(c)]
    scores = {c: store.scores(c) for c in finished}
    return StoreStatistics(
        source=store.facts.source,
        groups=len(store),
        skipped=len(store.skipped),
        group_size=store.facts.group_size,
        spread_mm=1000 * _mean_spread(store),
        critics={c: critic_statistics(s, bool(store.critic_facts(c).get("needs_truth"))) for c, s in scores.items()},
        agreement=tuple(rank_agreement(pair, scores[pair[0]], scores[pair[1]]) for pair in combinations(finished, 2)),
        unfinished=tuple(c for c in store.critics() if c not in finished),
        predicted_by=store.facts.predicted_by,
        retargeted=store.facts.retargeted,
    )


def critic_statistics(scores: Float[Tensor, "group hyp"], needs_truth: bool = False) -> CriticStatistics:
    """Statistics of one critic's scores, at least one group of two."""
    scores = scores.double()
    size = scores.shape[1]
    tied = sum(float(_equals(part).sum() - part.numel()) for part in scores.split(_GROUPS_AT_ONCE))
    return CriticStatistics(
        groups=len(scores),
        mean_score=float(scores.mean()),
        within_group_std=float(scores.std(1, correction=0).mean()),
        silent_share=float(_silent(scores).double().mean()),
        tied_pair_share=tied / (len(scores) * size * (size - 1)),
        effective_group_size=float(effective_size(scores).mean()),
        needs_truth=needs_truth,
    )


def rank_agreement(
    critics: tuple[str, str], first: Float[Tensor, "group hyp"], second: Float[Tensor, "group hyp"]
) -> RankAgreement:
    """Mean Spearman correlation within groups; groups in which one of the two is silent say nothing of it."""
    heard = ~(_silent(first) | _silent(second))
    if not bool(heard.any()):
        return RankAgreement(critics, None, 0)
    a, b = ranks(first[heard]), ranks(second[heard])
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()
    return RankAgreement(critics, float(correlation.mean()), int(heard.sum()))


def ranks(scores: Float[Tensor, "group hyp"]) -> Float[Tensor, "group hyp"]:
    """Rank of each score in its group, 1 for the lowest; equals share their mean rank.

    >>> ranks(torch.tensor([[0.3, 0.9, 0.3]]))
    tensor([[1.5000, 3.0000, 1.5000]], dtype=torch.float64)
    """
    parts = []
    for part in scores.split(_GROUPS_AT_ONCE):
        below = (part[:, None, :] < part[:, :, None]).sum(-1)
        parts.append(below + (_equals(part).double() + 1) / 2)
    return torch.cat(parts)


def effective_size(scores: Float[Tensor, "group hyp"]) -> Float[Tensor, " group"]:
    """How many hypotheses carry the signal of each group: between 2 and G, 0 for a silent group."""
    scores = scores.double()
    centred = (scores - scores.mean(1, keepdim=True)).abs()
    silent = _silent(scores)
    squares = torch.where(silent, 1.0, centred.square().sum(1))
    return torch.where(silent, 0.0, centred.sum(1).square() / squares)


def statistics_markdown(statistics: StoreStatistics) -> str:
    """As tables."""
    s = statistics
    lines = [
        f"# {counted(s.groups, 'group')} of {s.group_size} from {s.source}",
        "",
        f"{s.skipped} skipped; spread of the hypotheses {s.spread_mm:.1f} mm.",
    ]
    if s.predicted_by:
        lines += ["", f"Predicted by {s.predicted_by}{' (mapped joints only, retargeted)' if s.retargeted else ''}."]
    if s.unfinished:
        lines += ["", f"Not every group is judged by {', '.join(s.unfinished)}: left out."]
    if s.critics:
        lines += [
            "",
            markdown_table(
                ["critic", "score", "std within groups", "silent groups", "tied pairs", "effective group size"],
                [_row(name, critic) for name, critic in s.critics.items()],
            ),
        ]
    if s.agreement:
        names = list(s.critics)
        found = {a.critics: "" if a.spearman is None else f"{a.spearman:.3f}" for a in s.agreement}
        lines += ["", "Mean rank correlation within groups (Spearman):", ""]
        rows = [[row, *(found.get((row, column), "") for column in names[1:])] for row in names[:-1]]
        lines.append(markdown_table(["", *names[1:]], rows))
    return "\n".join(lines) + "\n"


def _row(name: str, critic: CriticStatistics) -> list[str]:
    said = f"{name} (needs truth)" if critic.needs_truth else name
    numbers = f"{critic.mean_score:.4g}", f"{critic.within_group_std:.4g}", f"{critic.silent_share:.1%}"
    return [said, *numbers, f"{critic.tied_pair_share:.1%}", f"{critic.effective_group_size:.1f}"]


def _equals(scores: Float[Tensor, "group hyp"]) -> Int[Tensor, "group hyp"]:
    """Scores of the group that are equal to each one, itself included."""
    return (scores[:, None, :] == scores[:, :, None]).sum(-1)


def _silent(scores: Float[Tensor, "group hyp"]) -> Bool[Tensor, " group"]:
    return scores.amax(1) == scores.amin(1)


def _mean_spread(store: GroupStore) -> float:
    """Metres; shard by shard, as a store may be larger than memory."""
    total = 0.0
    for shard in range(store.num_shards):
        joints = store.read(shard).hypotheses.joints
        relative = joints - joints[:, :, :1]
        distance = (relative - relative.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
        total += float(distance.mean(-1).double().sum())
    return total / len(store)
