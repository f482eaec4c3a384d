"""Our own captioner: from joints to sentences, no picture and no network involved.

What is said of a body is what holds for it clearly and is not trivial: each family of statements has a frequency,
measured on sampled poses (`assets/frequencies.json`), and the rarer it is the sooner it is said. Of statements that
measure the same, and of those that follow from another that is said, one is said. Words are drawn, numbers never occur.
Mirrored bodies give mirrored sentences: draws belong to families, and both sides of a family are said or neither is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.language.agreement import margins
from hmralign.language.description import MOST_WORDS, PoseDescription
from hmralign.language.implications import follows_from
from hmralign.language.phrases import Wording, sentence
from hmralign.language.rendering import described
from hmralign.language.statements import DRAWN_FAMILIES, FAMILIES, STATEMENTS, Frame
from hmralign.storage.json_file import parse_json

TRIVIAL = 0.5
"""What holds for a larger share of poses is not worth saying."""
_CLEARLY = 0.25
"""How far inside its bands a statement must be to be said, in units of softness."""
_VARIETY = 0.35
"""Standard deviation of what is drawn onto the logarithm of a family's frequency: captions of one pose differ."""

FRAMES: tuple[Frame, ...] = ("body", "gravity", "camera")


@lru_cache(maxsize=1)
def frequencies() -> dict[str, float]:
    """Share of sampled poses for which a statement of each family holds, over both sides."""
    content = files("hmralign.language").joinpath("assets/frequencies.json").read_bytes()
    measured: dict[str, Any] = parse_json(content)["frequencies"]
    return {family: float(measured[family]) for family in FAMILIES}


def caption(
    joints: Float[Tensor, "n joints 3"],
    generator: torch.Generator,
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
    frames: Sequence[Frame] = FRAMES,
    wording: Wording = "say",
    most_words: int = MOST_WORDS,
) -> list[PoseDescription]:
    """Describe bodies; each is drawn for on its own, one after the other.

    `joints` (24, metres, frame `cam`), `rotmats` (parent-relative; without them nothing is said of the head) and `up`
    as `hmralign.language.quantities.measured`. `frames` says what statements may depend on: leave out "camera" for what
    does not change with the view. At most `most_words` words are used, the most telling statements first.
    """
    inside = margins(joints.detach(), None if rotmats is None else rotmats.detach(), up)
    allowed = torch.tensor([s.said and s.frame in frames for s in STATEMENTS])
    said = ((inside >= _CLEARLY).cpu() & allowed).tolist()
    return [_described([r for r, s in enumerate(row) if s], generator, wording, most_words) for row in said]


def _described(rows: list[int], generator: torch.Generator, wording: Wording, most_words: int) -> PoseDescription:
    families = DRAWN_FAMILIES
    drawn = torch.randn(len(families), generator=generator).tolist()
    choices = dict(zip(families, torch.rand(len(families), generator=generator).tolist(), strict=True))
    telling = {f: -math.log(frequencies()[f]) + _VARIETY * d for f, d in zip(families, drawn, strict=True)}
    kept = _telling_rows([r for r in rows if frequencies()[STATEMENTS[r].family] <= TRIVIAL], telling)
    rows = _within_budget(kept, choices, wording, most_words)
    return described([(STATEMENTS[r].id, True) for r in rows], "caption", choices, wording)


def _telling_rows(rows: list[int], telling: dict[str, float]) -> list[int]:
    """The most telling first; without what follows from another, or measures the same as something more telling."""
    unimplied = [r for r in rows if not any(_goes_without_saying(r, other) for other in rows)]
    kept: list[int] = []
    for row in sorted(unimplied, key=lambda r: (-telling[STATEMENTS[r].family], STATEMENTS[r].family)):
        if not any(_measures_the_same(row, other) for other in kept):
            kept.append(row)
    return kept


@cache
def _goes_without_saying(row: int, other: int) -> bool:
    mine, its = STATEMENTS[row], STATEMENTS[other]
    sides = {dict(s.slots).get("side") for s in (mine, its)} - {None}
    return len(sides) < 2 and follows_from(mine.family, its.family)


@cache
def _measures_the_same(row: int, other: int) -> bool:
    mine, its = STATEMENTS[row], STATEMENTS[other]
    if mine.family == its.family or len(mine.conditions) > 1:
        return False
    return {c.quantity for c in mine.conditions} <= {c.quantity for c in its.conditions}


def _within_budget(rows: list[int], choices: dict[str, float], wording: Wording, most_words: int) -> list[int]:
    kept: list[int] = []
    words = 0
    for family in dict.fromkeys(STATEMENTS[r].family for r in rows):
        both = [r for r in rows if STATEMENTS[r].family == family]
        more = sum(len(sentence(STATEMENTS[r], choices[family], wording).split()) for r in both)
        if words + more <= most_words:
            kept, words = kept + both, words + more
    return kept
