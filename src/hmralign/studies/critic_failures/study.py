"""Where critics mislead, as one document: how common kinds of mistakes are, regret by kind, and pairs of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hmralign.evaluation.mistakes.kinds import AWAY, KINDS, ORIENTATION, SMALL, TURN, WRONG
from hmralign.evaluation.mistakes.segments import SEGMENTS
from hmralign.metrics.intervals import Interval, cluster_counts, cluster_interval, cluster_rate
from hmralign.structures import InputError
from hmralign.studies.critic_failures.judged import JudgedGroups
from hmralign.studies.critic_failures.misled import (
    LEAST_GAP,
    MAINLY,
    TERMS,
    Pairs,
    favourites,
    pairs_of,
    regret_by_kind,
    regret_of_each,
)

CONTROLS = ("oracle", "random")


@dataclass(frozen=True)
class FailuresConfig:
    """What is measured."""

    critics: tuple[str, ...] = (
        "oracle", "reprojection", "silhouette", "plausibility", "mix", "consistency", "scorer-lab", "random",
    )  # fmt: skip
    """The controls among them: no table says much without what truth and chance have."""
    compared: tuple[str, str] = ("scorer-lab", "reprojection")
    """The second is taken from the first, on the same pairs and groups."""
    misled_by: float = 0.02
    """Regret in metres from which a favourite counts as misled."""
    least_pairs: int = 30
    """Fewer pairs have no rate: its interval would say nothing."""
    draws: int = 1000
    """Bootstrap draws."""
    seed: int = 0
    """Seed of the bootstrap."""

    def __post_init__(self) -> None:
        """Raise InputError where a control or a compared critic is missing, and for numbers without meaning."""
        missing = [name for name in (*CONTROLS, *self.compared) if name not in self.critics]
        if missing or len(set(self.critics)) != len(self.critics):
            raise InputError(
                f"critics {self.critics}: expected each once, with {', '.join(missing) or 'no repetition'}"
            )
        if self.draws < 10 or self.least_pairs < 1 or self.misled_by <= 0:
            raise InputError("a study needs at least 10 draws and 1 pair, and a regret above 0 that misleads")


def failures(judged: JudgedGroups, config: FailuresConfig) -> dict[str, Any]:
    """Everything as plain values for JSON; an interval is (mean, low, high), lengths are mm."""
    counts = cluster_counts(judged.clusters, config.draws, config.seed)
    pairs = pairs_of(judged)
    return {
        "groups": len(judged.ids),
        "persons": int(judged.clusters.max()) + 1,
        "group_size": judged.errors.shape[1],
        "mean_error_mm": _mm(judged.errors.mean()),
        "thresholds": {
            "wrong_degrees": round(float(np.degrees(WRONG))), "turn_degrees": round(float(np.degrees(TURN))),
            "away_degrees": round(float(np.degrees(AWAY))), "least_gap_mm": 1000 * LEAST_GAP,
            "mainly": round(MAINLY, 3), "misled_mm": 1000 * config.misled_by, "least_pairs": config.least_pairs,
        },
        "kinds": {name: _commonness(judged, number) for number, name in enumerate(KINDS)},
        "segments": _by_segment(judged),
        "orientation_degrees": _how_far_turned(judged),
        "regret": _regrets(judged, config, counts),
        "pairs": {name: _of_kind(judged, pairs, k, config, counts) for k, name in enumerate(KINDS) if k != SMALL},
    }  # fmt: skip


def _mm(metres: float) -> float:
    return round(1000 * float(metres), 2)


def _plain(interval: Interval, factor: float = 1.0) -> list[float]:
    return [round(factor * float(v), 4) for v in (interval.mean, interval.low, interval.high)]


def _commonness(judged: JudgedGroups, kind: int) -> dict[str, float]:
    """Shares of segments, hypotheses and groups, and what the kind costs; `best` is the best of each group."""
    found = judged.kinds == kind
    hidden = np.broadcast_to(judged.hidden[:, None], found.shape)
    some = found.any(-1)
    best = judged.errors.argmin(1)
    cost = (judged.shares * found).sum(-1)
    return {
        "segments": round(float(found.mean()), 4),
        "seen_segments": round(float(found[~hidden].mean()), 4),
        "hidden_segments": round(float(found[hidden].mean()), 4) if hidden.any() else 0.0,
        "hypotheses_with": round(float(some.mean()), 4),
        "groups_where_some": round(float(some.any(1).mean()), 4),
        "groups_where_all": round(float(some.all(1).mean()), 4),
        "cost_mm": _mm(cost.mean()),
        "cost_of_best_mm": _mm(cost[np.arange(len(best)), best].mean()),
    }


def _by_segment(judged: JudgedGroups) -> dict[str, dict[str, Any]]:
    rows = {}
    for number, segment in enumerate(SEGMENTS):
        kinds, costs = judged.kinds[..., number], judged.shares[..., number]
        shares = np.bincount(kinds.ravel(), minlength=len(KINDS)) / judged.errors.size
        rows[segment.name] = {name: round(float(v), 4) for name, v in zip(KINDS, shares, strict=True)} | {
            "not_observed": round(float(judged.hidden[:, number].mean()), 4),
            "cost_mm": _mm(costs.mean()),
            "cost_by_kind_mm": {name: _mm((costs * (kinds == k)).mean()) for k, name in enumerate(KINDS)},
        }
    return rows


def _how_far_turned(judged: JudgedGroups) -> dict[str, float] | None:
    """How far pelvises of bodies with the wrong orientation are turned; None where there are none."""
    turned = np.degrees(judged.turned[judged.kinds[..., 0] == ORIENTATION])
    if not len(turned):
        return None
    low, middle, high = (float(q) for q in np.quantile(turned, [0.25, 0.5, 0.75]))
    beyond = float((turned >= 120).mean())
    return {"quarter": round(low, 1), "median": round(middle, 1), "three_quarters": round(high, 1),
            "share_from_120": round(beyond, 3)}  # fmt: skip


# -- regret ------------------------------------------------------------------------------------------------------------


def _regrets(judged: JudgedGroups, config: FailuresConfig, counts: Int[np.ndarray, "draw group"]) -> dict[str, Any]:
    """Regrets of every critic, of a pick by chance, and the difference of the two that are compared."""
    terms = {name: regret_by_kind(judged, judged.scores[name]) for name in config.critics}
    terms["a pick by chance, exactly"] = regret_by_kind(judged, np.zeros_like(judged.errors))
    rows: dict[str, Any] = {name: _mm_intervals(values, counts) for name, values in terms.items()}
    for name in config.critics:
        rows[name] |= _misled(judged, name, config, counts)
    first, second = config.compared
    return {"critics": rows, "difference": _mm_intervals(terms[first] - terms[second], counts)}


def _mm_intervals(values: Float[np.ndarray, "group terms"], counts: np.ndarray) -> dict[str, Any]:
    by_term = {n: _plain(cluster_interval(values[:, k], counts), 1000.0) for k, n in enumerate(TERMS)}
    return {"regret_mm": _plain(cluster_interval(values.sum(1), counts), 1000.0), "by_kind_mm": by_term}


def _misled(judged: JudgedGroups, name: str, config: FailuresConfig, counts: np.ndarray) -> dict[str, Any]:
    """How often the favourite is misled, by which kind most, and how often it has a better score than the truth.

    Of equal first choices each counts its share.
    """
    each = regret_of_each(judged)
    far = each.sum(-1) >= config.misled_by
    weight = favourites(judged.scores[name])
    largest = each.argmax(-1)
    by_kind = {term: round(float((weight * (far & (largest == k))).sum(1).mean()), 4) for k, term in enumerate(TERMS)}
    row = {"misled": _plain(cluster_interval((weight * far).sum(1), counts)), "misled_mainly_by": by_kind}
    if name in judged.of_truth:
        above = 0.5 + 0.5 * np.sign(judged.scores[name].max(1) - judged.of_truth[name])
        row["favourite_above_truth"] = _plain(cluster_interval(above, counts))
    return row


# -- pairs -------------------------------------------------------------------------------------------------------------


def _of_kind(
    judged: JudgedGroups, pairs: Pairs, kind: int, config: FailuresConfig, counts: np.ndarray
) -> dict[str, Any]:
    """All pairs of a kind, and those that were seen or hidden."""
    mine = pairs[pairs.kind == kind]
    chosen = {"all": mine, "seen": mine[~mine.hidden], "hidden": mine[mine.hidden]}
    return {where: _rates(judged, some, config, counts) for where, some in chosen.items()}


def _rates(judged: JudgedGroups, pairs: Pairs, config: FailuresConfig, counts: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"pairs": len(pairs), "persons": len(np.unique(judged.clusters[pairs.group]))}
    if len(pairs) < config.least_pairs:
        return row
    right = {name: pairs.right(judged.scores[name]) for name in config.critics}
    first, second = config.compared
    difference = right[first] - right[second]
    return row | {
        "gap_mm": _mm(pairs.gap.mean()),
        "right": {name: _plain(cluster_rate(values, pairs.group, counts)) for name, values in right.items()},
        "difference": _plain(cluster_rate(difference, pairs.group, counts)),
    }
