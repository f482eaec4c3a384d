"""The labels nearest to the threshold: where looking tells most about whether it is right."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from hmralign.cleaning.selection import Selection
from hmralign.structures import InputError


def borderline_items(scores: Float[np.ndarray, " item"], selection: Selection, count: int) -> list[int]:
    """Numbers of the `count` judged labels nearest to the threshold, half kept and half dropped, best score first.

    Where one side has fewer, the other fills up; fewer come back where there are fewer. Equal distances: the first
    items. Raises InputError for a count below 1.
    """
    if count < 1:
        raise InputError(f"{count} borderline labels were asked for; expected at least 1")
    scores = np.asarray(scores, np.float64)
    kept, dropped = (_nearest(scores, selection, selection.judged & side) for side in (selection.keep, ~selection.keep))
    from_kept = min(len(kept), max(count - count // 2, count - len(dropped)))
    items = [*kept[:from_kept], *dropped[: count - from_kept]]
    return sorted(items, key=lambda item: (-scores[item], item))


def _nearest(scores: np.ndarray, selection: Selection, side: np.ndarray) -> list[int]:
    items = np.flatnonzero(side)
    order = np.argsort(np.abs(scores[items] - selection.threshold), kind="stable")
    return items[order].tolist()
