"""A description cut to what a text encoder takes: rewritten by the model, or truncated where that failed, and said so.

Source: VL-feedback (paper 003), sec. V-B: the model reorganises its answers to at most 77 words, the length that CLIP
takes. A rewriting that says something new, or exchanges sides, is not accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hmralign.language.description import MOST_WORDS, PoseDescription
from hmralign.language.reading import read_statements
from hmralign.refinement.description.answers import parse_rewrite
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.errors import AnswerError


@dataclass(frozen=True)
class TextBudget:
    """What a text encoder takes."""

    words: int = MOST_WORDS
    count_tokens: Callable[[str], int] | None = None
    """The encoder's own count; None where words are what counts."""
    tokens: int = 77
    """Most tokens by `count_tokens`, marks of beginning and end included."""

    def __post_init__(self) -> None:
        """Raise InputError for a budget in which no sentence fits."""
        if self.words < 5 or self.tokens < 8:
            raise InputError(f"a text of {self.words} words, {self.tokens} tokens; expected at least 5 and 8")

    def holds(self, text: str) -> bool:
        """Whether the encoder reads all of a text."""
        fits = self.count_tokens is None or self.count_tokens(text) <= self.tokens
        return fits and len(text.split()) <= self.words


@dataclass(frozen=True)
class ShortText:
    """A text that an encoder takes whole, and what was done to it."""

    text: str
    way: str
    """`whole`, `rewritten` or `truncated`."""
    left_out: int = 0
    """Words at the end that were cut off."""

    @property
    def note(self) -> str | None:
        """A sentence where words were cut off."""
        if not self.left_out:
            return None
        return f"The last {counted(self.left_out, 'word')} of the description are beyond what the text encoder reads."


def truncated(text: str, budget: TextBudget) -> ShortText:
    """The longest beginning, in whole words, that fits. Raises InputError where not even the first word does."""
    words = text.split()
    low, high = 0, min(len(words), budget.words)
    while low < high:  # a longer beginning never has fewer tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if budget.holds(" ".join(words[:middle])) else (low, middle - 1)
    if low == 0:
        raise InputError("the text encoder reads not even the first word of the description")
    return ShortText(" ".join(words[:low]), "whole" if low == len(words) else "truncated", len(words) - low)


def rewrite_reader(description: PoseDescription, budget: TextBudget) -> Callable[[ChatReply], str]:
    """Reads a rewriting; what it gives raises `AnswerError` for one that is too long or says something new."""
    known = {*description.statements, *read_statements(description.text()).statements}

    def read(reply: ChatReply) -> str:
        text = parse_rewrite(reply, budget.words)
        if not budget.holds(text):
            raise AnswerError("the shorter text has more tokens than the encoder reads", trouble="schema", text=text)
        if new := [s for s in read_statements(text).statements if s not in known]:
            words = new[0][0].replace("_", " ")
            raise AnswerError(f"the shorter text says '{words}', which the longer one does not", trouble="schema")
        return text

    return read
