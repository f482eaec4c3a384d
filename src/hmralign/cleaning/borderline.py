"""The labels nearest to the threshold: where looking tells most about whether it is right."""

from __future__ import annotations

import numpy as np

from hmralign.cleaning.selection import Selection
from hmralign.structures import InputError


def borderline_items(selection: Selection, count: int) -> list[int]:
    """Numbers of the `count` judged labels nearest to the threshold, half kept and half dropped, best level first.

    Where one side has fewer, the other fills up; fewer come back where there are fewer. Equal distances: the first
    items. Raises InputError for a count below 1.
    """
    if count < 1:
        raise InputError(f"{count} borderline labels were asked for; expected at least 1")
    kept, dropped = (_nearest(selection, selection.judged & side) for side in (selection.keep, ~selection.keep))
    from_kept = min(len(kept), max(count - count // 2, count - len(dropped)))
    items = [*kept[:from_kept], *dropped[: count - from_kept]]
    return sorted(items, key=lambda item: (-selection.levels[item], item))


def _nearest(selection: Selection, side: np.ndarray) -> list[int]:
    items = np.flatnonzero(side)
    order = np.argsort(np.abs(selection.levels[items] - selection.threshold), kind="stable")
    return items[order].tolist()
