"""Habits of critics that speak, from the calls that a store keeps beside their scores; no truth is needed.

Test-retest is the mean rank correlation of two calls of a group on the hypotheses that both judged, at least three; a
call whose scores are equal there counts as 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hmralign.critics.vlm.habits import judge_habits
from hmralign.metrics.ranking import spearman
from hmralign.preferences.store import GroupStore
from hmralign.structures import Critique, Finding, InputError
from hmralign.systems.group_preference.verdict_files import read_verdicts, verdicts_path

_LEAST_SHARED = 3


def habits_of(store: GroupStore, critic: str, groups: int) -> dict[str, Any] | None:
    """Habits over the first groups as plain values; None where the critic has said nothing but its scores.

    What could not be found out is None, such as flips where each hypothesis was judged once. Raises InputError as
    `read_verdicts`, and for lines that are no calls.
    """
    if critic not in store.critics() or not verdicts_path(store, critic, 0).is_file():
        return None
    lines = read_verdicts(store, critic)[:groups]
    said = [calls for line in lines if (calls := critiques_of(line))]
    record: dict[str, Any] = {"status": dict(Counter(str(line["status"]) for line in lines))}
    if not said:
        return record
    found = judge_habits(said, store.facts.group_size)
    numbers = {
        "position_slope": found.position.slope, "position_slope_error": found.position.standard_error,
        "flip_rate": found.flip_rate, "test_retest": repeatability(said), "tie_rate": found.tie_rate,
        "levels": float(found.levels_used), "share_of_fives": found.share_of_fives, "entropy_bits": found.entropy_bits,
    }  # fmt: skip
    known = {name: round(value, 4) if math.isfinite(value) else None for name, value in numbers.items()}
    return record | {"groups": found.groups, "calls": found.calls} | known


def critiques_of(line: dict[str, Any]) -> list[Critique]:
    """Calls of one line of verdicts. Raises InputError naming the group whose calls are damaged."""
    try:
        return [
            Critique(tuple(Finding(int(h), float(s), str(c)) for h, s, c in call["findings"]), str(call["key"]))
            for call in line.get("critiques", [])
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the calls about group '{line.get('id')}' cannot be read ({error})") from error


def repeatability(groups: Sequence[Sequence[Critique]]) -> float:
    """Mean over pairs of calls; NaN where no two calls share enough."""
    found = []
    for calls in groups:
        for first, second in combinations(calls, 2):
            a, b = ({f.hypothesis: f.score for f in call.findings} for call in (first, second))
            shared = sorted(a.keys() & b.keys())
            if len(shared) >= _LEAST_SHARED:
                x, y = (np.array([[s[h] for h in shared]], np.float64) for s in (a, b))
                found.append(float(spearman(x, -y)[0]))
    return float(np.mean(found)) if found else float("nan")
