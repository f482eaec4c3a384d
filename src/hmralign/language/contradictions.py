"""Statements that no body can satisfy together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hmralign.language.phrases import sentence
from hmralign.language.quantities import Quantity
from hmralign.language.statements import STATEMENTS, Statement, row_of
from hmralign.structures import InputError

_EXCLUSIVE = frozenset(
    ("standing", "sitting", "crouching", "kneeling", "kneeling_on_one_knee", "on_all_fours", "lying")
)
"""Postures of which a person has one, as the words are used."""
_ZONES = (
    ("head", "neck"), ("shoulder", "chest", "upper_arm"), ("belly", "back", "elbow", "forearm"), ("hip",), ("thigh",),
    ("knee",), ("shin",), ("foot",),
)  # fmt: skip
"""Where a hand may be, from the head to the feet."""
_FARTHEST_ZONES = 2
"""One hand is not on two places further apart than this: a palm on the hip may touch the thigh, not the head."""


def require_no_contradiction(statements: Sequence[tuple[str, bool]]) -> None:
    """Raise InputError that quotes two statements of which one excludes the other."""
    for (one, one_holds), (other, other_holds) in combinations(statements, 2):
        if contradict(STATEMENTS[row_of(one)], one_holds, STATEMENTS[row_of(other)], other_holds):
            first, second = _said(one, one_holds), _said(other, other_holds)
            raise InputError(f"the description contradicts itself: '{first}' and '{second}' cannot both be")


def contradict(one: Statement, one_holds: bool, other: Statement, other_holds: bool) -> bool:
    """Whether no body agrees with both, as far as bands and the meaning of words tell."""
    if one_holds and other_holds:
        return _disjoint(one, other) or _other_posture(one, other) or _hand_elsewhere(one, other)
    if one_holds != other_holds:
        true, false = (one, other) if one_holds else (other, one)
        return _contained(true, false)
    return False


def _said(statement: str, holds: bool) -> str:
    words = sentence(STATEMENTS[row_of(statement)], 0.0)
    return words if holds else f"not: {words}"


def _bands(statement: Statement) -> dict[Quantity, tuple[float, float]]:
    return {c.quantity: (c.low, c.high) for c in statement.conditions}


def _disjoint(one: Statement, other: Statement) -> bool:
    mine, its = _bands(one), _bands(other)
    return any(mine[q][1] < its[q][0] or its[q][1] < mine[q][0] for q in mine.keys() & its.keys())


def _contained(inner: Statement, outer: Statement) -> bool:
    """Whether every body for which `inner` holds is one for which `outer` does."""
    mine, its = _bands(inner), _bands(outer)
    return all(q in mine and mine[q][0] >= low and mine[q][1] <= high for q, (low, high) in its.items())


def _posture(statement: Statement) -> str:
    kind = statement.family
    if kind.startswith("lying"):
        return "lying"
    return "sitting" if kind == "sitting_on_ground" else kind


def _other_posture(one: Statement, other: Statement) -> bool:
    postures = {_posture(one), _posture(other)}
    return len(postures) == 2 and postures <= _EXCLUSIVE


def _zone(statement: Statement) -> int | None:
    if not statement.family.startswith("hand_on_"):
        return None
    place = statement.family.removeprefix("hand_on_").removeprefix("own_").removeprefix("other_")
    return next((number for number, places in enumerate(_ZONES) if place in places), None)


def _hand_elsewhere(one: Statement, other: Statement) -> bool:
    zones = _zone(one), _zone(other)
    if one.part != other.part or None in zones:
        return False
    return abs(zones[0] - zones[1]) > _FARTHEST_ZONES  # type: ignore[operator]
