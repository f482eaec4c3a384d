"""Wrong descriptions, made on purpose: how much does a wrong word cost, and does another person's description help?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import torch

from hmralign.language.contradictions import contradict
from hmralign.language.description import PoseDescription
from hmralign.language.phrases import Wording
from hmralign.language.rendering import described
from hmralign.language.statements import DRAWN_FAMILIES, STATEMENTS, row_of
from hmralign.structures import InputError


def planted_errors(
    description: PoseDescription,
    rate: int | float,
    generator: torch.Generator,
    true: Collection[str] = (),
    wording: Wording = "say",
) -> PoseDescription:
    """The description with a share of its statements wrong, each by chance `rate`; all words are drawn anew.

    A wrong statement has left and right exchanged, or is another that excludes it ("straight" for "bent"); where there
    is neither it is said not to hold. None of `true`, ids that hold for the body, is ever put in.
    Raises InputError for a rate outside of [0, 1].
    """
    if not 0 <= rate <= 1:
        raise InputError(f"the rate of planted errors is {rate}; expected 0 to 1")
    said: dict[str, bool] = {}
    for statement, holds in description.statements:
        chance, which = torch.rand(2, generator=generator).tolist()
        kept = (statement, holds) if chance >= rate else _wrong(statement, holds, which, true)
        said.setdefault(*kept)
    drawn = torch.rand(len(DRAWN_FAMILIES), generator=generator).tolist()
    choices = dict(zip(DRAWN_FAMILIES, drawn, strict=True))
    return described(list(said.items()), description.source, choices, wording)


def _wrong(statement: str, holds: bool, which: float, true: Collection[str]) -> tuple[str, bool]:
    options = [other for other in _alternatives(statement) if other not in true]
    if not holds or not options:
        return statement, not holds
    return options[int(which * len(options))], True


@cache
def _alternatives(statement: str) -> tuple[str, ...]:
    """What is said in place of a statement when it is said wrongly: its mirror image, and what excludes it."""
    own = STATEMENTS[row_of(statement)]
    mirror = [own.mirror] if own.mirror != statement else []
    excluding = [s.id for s in STATEMENTS if s.said and s.part == own.part and contradict(own, True, s, True)]
    return tuple(dict.fromkeys([*mirror, *excluding]))


def exchanged(descriptions: Sequence[PoseDescription], generator: torch.Generator) -> list[PoseDescription]:
    """Everybody with the description of somebody else, in a cycle that is drawn.

    Raises InputError for fewer than two descriptions.
    """
    if len(descriptions) < 2:
        raise InputError(f"{len(descriptions)} description cannot be exchanged; expected at least two")
    order = torch.randperm(len(descriptions), generator=generator).tolist()
    given = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [descriptions[given[row]] for row in range(len(descriptions))]
