"""What is said of people whose left and right, or front and back, may have been read the wrong way round."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from hmralign.hypotheses.sides import SideMode
from hmralign.systems.recover.people import RecoveredPerson

logger = logging.getLogger("hmralign.recover")

_READINGS = {
    "as read": "the detector's reading",
    "sides exchanged": "the detector's reading with left and right exchanged",
    "other network": "the second network's reading",
}


def doubt_in_words(person: RecoveredPerson) -> str | None:
    """One sentence on a person whose group has two modes, or whom two networks read differently; else None."""
    if len(person.modes) == 1:
        return None if person.detection.alternative is None else _followed_alone(person.detection.alternative.exchanged)
    followed, other = person.modes
    parts = " and ".join(part for mode in person.modes for part in mode.exchanged)
    what = _what(parts)
    share = f"{other.members[1]} of {person.hypotheses.num_hypotheses} hypotheses"
    return (
        f"{what} may have been read the wrong way round: fused follows {_READINGS[followed.reading]} "
        f"(probability {_percent(followed)}), {share} follow {_READINGS[other.reading]} ({_percent(other)})"
    )


def _followed_alone(exchanged: tuple[str, ...]) -> str:
    return (
        f"two networks read {_what(' and '.join(exchanged))} the other way round: fused and all hypotheses follow the "
        "more reliable one, which may be wrong"
    )


def _what(parts: str) -> str:
    return "left and right, or front and back," if "body" in parts else f"left and right of the {parts}"


def _percent(mode: SideMode) -> str:
    return "unknown" if mode.probability is None else f"{100 * mode.probability:.0f} %"


def tell_of_doubtful_sides(photo: str, persons: Sequence[RecoveredPerson]) -> None:
    """Warn once of each person whose group has two modes, or whom two networks read differently."""
    for number, person in enumerate(persons):
        if (words := doubt_in_words(person)) is not None:
            logger.warning("%s: person %d: %s", photo, number, words)


def modes_record(person: RecoveredPerson) -> list[dict[str, Any]]:
    """The readings of a person's sides for `summary.json`, the one that fused follows first."""
    return [
        {
            "reading": mode.reading,
            "exchanged": list(mode.exchanged),
            "probability": None if mode.probability is None else round(mode.probability, 4),
            "first_hypothesis": mode.members[0],
            "hypotheses": mode.members[1],
        }
        for mode in person.modes
    ]
