"""When a judged group counts as a success: a rank correlation that chance seldom reaches.

A fixed threshold of 0.5 is passed by a random judge in 21 % of groups of four and in 10 % of groups of eight, so the
threshold rises for small groups until chance passes it in at most `level` of them. The distribution of the correlation
of a random order is counted exactly up to 12 items (sum of squared rank differences over all permutations, Kendall &
Gibbons 1990, sec. 5); above, Student's t with one step of the correlation added, since the t bound is a little low.
Scores without ties are assumed; a random judge that knows only two levels passes 6 % of groups of eight.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from hmralign.structures import InputError

TAU = 0.5
"""Least rank correlation of a success in groups that are large enough."""
LEVEL = 0.05
"""Chance that a random judge's group counts as a success, at most."""
_LARGEST_COUNTED = 12


def success_threshold(group_size: int, tau: float = TAU, level: float = LEVEL) -> float:
    """A group is a success where its Spearman correlation is *above* this.

    Groups of two and three never are at the default level: their best order is right by chance too often. Raises
    InputError for a group of one, a `tau` outside -1..1 and a level outside 0..1.
    """
    if group_size < 2 or not -1 <= tau <= 1 or not 0 < level < 1:
        raise InputError(
            f"a success threshold for groups of {group_size}, tau {tau}, level {level}; expected at least 2, -1 to 1, "
            "and between 0 and 1"
        )
    return max(tau, _critical(group_size, level))


@lru_cache(maxsize=256)
def _critical(group_size: int, level: float) -> float:
    """Smallest value that a random order's correlation exceeds with probability `level` at most."""
    step = 12 / (group_size**3 - group_size)
    if group_size > _LARGEST_COUNTED:
        quantile = float(student.ppf(1 - level, group_size - 2))
        return min(1.0, quantile / float(np.sqrt(group_size - 2 + quantile**2)) + step)
    reached = np.cumsum(squared_rank_differences(group_size))[::2]  # the sum is always even
    allowed = int((reached <= level).sum())  # values 1, 1 - step, ... that may count as a success
    return 1 - step * allowed


@lru_cache(maxsize=16)
def squared_rank_differences(group_size: int) -> Float[np.ndarray, " value"]:
    """Probability of each sum of squared rank differences 0, 1, ... of a random order; up to 12 items.

    Built up item by item: for every set of ranks that the first items can have taken, how often each sum occurs.
    """
    if not 1 <= group_size <= _LARGEST_COUNTED:
        raise InputError(f"orders of {group_size} items are not counted; expected 1 to {_LARGEST_COUNTED}")
    size = (group_size**3 - group_size) // 3 + 1
    counts = {0: np.eye(1, size)[0]}
    for item in range(group_size):
        after: dict[int, np.ndarray] = {}
        for taken, ways in counts.items():
            for rank in range(group_size):
                if not taken >> rank & 1:
                    total = after.setdefault(taken | 1 << rank, np.zeros(size))
                    shift = (item - rank) ** 2
                    total[shift:] += ways[: size - shift]
        counts = after
    (ways,) = counts.values()
    return ways / ways.sum()
