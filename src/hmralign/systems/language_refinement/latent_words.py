"""Words as a text space reads them: texts that its encoder takes whole, and their pull beside that of statements.

description -> text of at most 77 words, and no more tokens than the encoder reads -> vector -> guide
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from hmralign.language.description import MOST_WORDS, PoseDescription
from hmralign.models.language.text_space import LatentTextGuide, TextSpace
from hmralign.refinement.description.prompts import DescribeOptions
from hmralign.refinement.description.short_text import ShortText, TextBudget, truncated
from hmralign.refinement.guide import Guide, SumGuide
from hmralign.structures import InputError
from hmralign.systems.language_refinement.describing import short_texts
from hmralign.systems.language_refinement.wishes import Wish
from hmralign.vlm.asker import Asker

LATENT_WEIGHT = 10.0
"""Weight of the cosine distance beside the statements' loss; chosen on wild/val (docs/results/language_latent.md)."""

Shorten = Callable[[Sequence[PoseDescription], TextBudget], Sequence[ShortText]]
"""Descriptions -> texts that an encoder takes, in their order."""


@dataclass(frozen=True)
class LatentWords:
    """A text space, with the text that it reads of each person; None where nothing is said of somebody."""

    space: TextSpace
    texts: tuple[str | None, ...]
    weight: float = LATENT_WEIGHT

    @torch.no_grad()
    def beside(self, guide: Guide) -> Guide:
        """The guide, with the pull of the texts; somebody without one is pulled by the guide alone."""
        said = [text for text in self.texts if text is not None]
        if not said:
            return guide
        found = self.space.text_features(said)
        rows, nothing = iter(found), torch.zeros_like(found[0])
        features = torch.stack([nothing if text is None else next(rows) for text in self.texts])
        weight = torch.tensor([0.0 if text is None else self.weight for text in self.texts])
        return SumGuide(guide, LatentTextGuide(self.space, features), weight)

    def of(self, rows: Sequence[int]) -> LatentWords:
        """The words of some of the people."""
        return replace(self, texts=tuple(self.texts[row] for row in rows))


def budget_of(space: TextSpace) -> TextBudget:
    """What the space reads: as many words as the captions that it learned from, and its encoder's tokens."""
    folder = space.folder_encoder
    if folder is None:
        return TextBudget(MOST_WORDS)
    return TextBudget(MOST_WORDS, lambda text: _tokens(space, text), folder.limit)


def _tokens(space: TextSpace, text: str) -> int:
    try:
        return space.most_tokens(text) or 0
    except InputError:  # a beginning without a letter, such as a dash
        return 0


def latent_words(
    space: TextSpace, wishes: Sequence[Wish], shorten: Shorten | None = None
) -> tuple[LatentWords, list[Wish]]:
    """What the space reads of each wish, and the wishes with a note where a text was rewritten or cut.

    `shorten` makes texts that fit, by a model; without it they are cut.
    """
    budget = budget_of(space)
    said = [wish.description for wish in wishes if wish.description is not None]
    made = iter((shorten or _cut)(said, budget))
    texts: list[str | None] = []
    told: list[Wish] = []
    for wish in wishes:
        short = None if wish.description is None else next(made)
        texts.append(None if short is None else short.text)
        told.append(wish if short is None else replace(wish, notes=(*wish.notes, *_notes(short))))
    return LatentWords(space, tuple(texts)), told


def shortened_by(asker: Asker, seed: int) -> Shorten:
    """A model rewrites what is too long; errors as `short_texts`."""
    return lambda descriptions, budget: short_texts(asker, descriptions, budget, DescribeOptions(seed=seed))


def _cut(descriptions: Sequence[PoseDescription], budget: TextBudget) -> list[ShortText]:
    return [truncated(description.text(), budget) for description in descriptions]


def _notes(short: ShortText) -> list[str]:
    if short.way == "rewritten":
        return [f"The model rewrote the description to what the text encoder reads: '{short.text}'"]
    return [] if short.note is None else [short.note]
