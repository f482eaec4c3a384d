"""Statements -> sentences by part of the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmralign.language.description import PoseDescription, Source, in_vocabulary_order
from hmralign.language.phrases import Wording, joined, sentence
from hmralign.language.statements import PARTS, STATEMENTS, row_of


def described(
    statements: Sequence[tuple[str, bool]],
    source: Source,
    choices: Mapping[str, float] | None = None,
    wording: Wording = "say",
) -> PoseDescription:
    """A description that makes these statements, in this order within each part.

    `choices` in [0, 1) say which template each family uses, the first unless given.
    """
    texts = []
    for part in PARTS:
        said = [
            _said(s, holds, choices or {}, wording) for s, holds in statements if STATEMENTS[row_of(s)].part == part
        ]
        if said:
            texts.append((part, joined(said)))
    return PoseDescription(tuple(texts), in_vocabulary_order(statements), source)


def _said(statement: str, holds: bool, choices: Mapping[str, float], wording: Wording) -> str:
    found = STATEMENTS[row_of(statement)]
    words = sentence(found, choices.get(found.family, 0.0), wording)
    return words if holds else f"it is not true that {words}"
