"""What is said of one person's pose: sentences by part of the body, and the statements that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hmralign.language.statements import PARTS, STATEMENTS, Part, mirrored_words, row_of
from hmralign.structures import InputError
from hmralign.structures.errors import shown

Source = Literal["vlm", "caption", "typed"]
_SIDES = re.compile(r"\b(left|right|Left|Right|LEFT|RIGHT)(?=wards?\b|-|\b)(?! angle)")
MOST_WORDS = 77
"""Words of a caption, all parts together: about what a text encoder of 77 tokens reads."""


@dataclass(frozen=True)
class PoseDescription:
    """Sentences on one person's pose. Left and right are the person's own.

    `texts` are pairs of a part and its sentences, in the order of `PARTS`. `statements` are ids with whether they are
    said to hold. `unread` is what of the text was not understood, in its own words.
    """

    texts: tuple[tuple[str, str], ...]
    statements: tuple[tuple[str, bool], ...]
    source: Source
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InputError for a part or a statement that there is not, or one that is said both to hold and not to."""
        for part, _ in self.texts:
            if part not in PARTS:
                raise InputError(
                    f"there is no part '{shown(part)}' of a description; expected one of {', '.join(PARTS)}"
                )
        said: dict[str, bool] = {}
        for statement, holds in self.statements:
            row_of(statement)
            if said.setdefault(statement, holds) is not holds:
                raise InputError(f"a description says of '{statement}' both that it holds and that it does not")

    def text(self, parts: Sequence[Part] = PARTS) -> str:
        """The sentences of some parts in one line, in the order of `PARTS`; empty where nothing is said of them."""
        return " ".join(text for part, text in self.texts if part in parts and text)

    def of_part(self, part: Part) -> tuple[tuple[str, bool], ...]:
        """Statements on one part of the body."""
        return tuple((s, holds) for s, holds in self.statements if STATEMENTS[row_of(s)].part == part)

    def mirrored(self) -> PoseDescription:
        """The description of the mirrored body: left and right exchanged in words and statements."""
        texts = {mirrored_words(part): mirrored_text(text) for part, text in self.texts}
        statements = tuple((STATEMENTS[row_of(s)].mirror, holds) for s, holds in self.statements)
        unread = tuple(map(mirrored_text, self.unread))
        in_order = tuple((part, texts[part]) for part in PARTS if part in texts)
        return replace(self, texts=in_order, statements=in_vocabulary_order(statements), unread=unread)


def in_vocabulary_order(statements: Sequence[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    """Statements without repetitions, in the order of the vocabulary."""
    return tuple(sorted(dict.fromkeys(statements), key=lambda said: (row_of(said[0]), said[1])))


def mirrored_text(text: str) -> str:
    """A text with left and right exchanged, as in "leftwards" too; letters keep their case.

    >>> mirrored_text("Left hand on the right knee.")
    'Right hand on the left knee.'
    """
    words = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    return _SIDES.sub(lambda found: words.get(found[0], found[0]), text)
