"""What turns sentences into vectors, whatever is behind it: words trained here, or a folder of somebody's weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MOST_WORDS = 10_000
"""Words of a text; a description has some dozens."""
MOST_SENTENCES = 64
"""Sentences of a text."""

_END = re.compile(r"[.!?;\n]+")


@runtime_checkable
class TextEncoder(Protocol):
    """Sentences in, one vector each; what a text's sentences say together is read by `models.language.text_space`."""

    @property
    def name(self) -> str:
        """`small`, `bag`, `sentence` or `clip`."""
        ...

    @property
    def dims(self) -> int:
        """Numbers of a vector."""
        ...

    def __call__(self, texts: list[str]) -> Float[Tensor, "text dims"]:
        """A vector for each text. Raises InputError for an empty one."""
        ...


def sentences(text: str) -> list[str]:
    """The sentences of a text, in lower case, without their ends and with single spaces.

    Raises InputError for a text without a word, of more than 10,000 words, or of more than 64 sentences.

    >>> sentences("The left arm is bent. It rests;  on the  HIP!")
    ['the left arm is bent', 'it rests', 'on the hip']
    """
    if len(text.split()) > MOST_WORDS:
        raise InputError(f"a text has {counted(len(text.split()), 'word')}, expected at most {MOST_WORDS}")
    found = [" ".join(part.lower().split()) for part in _END.split(text)]
    kept = [part for part in found if any(c.isalnum() for c in part)]
    if not kept:
        raise InputError(f"the text '{shown(text)}' has no words; expected a sentence about a pose")
    if len(kept) > MOST_SENTENCES:
        raise InputError(f"a text has {counted(len(kept), 'sentence')}, expected at most {MOST_SENTENCES}")
    return kept


def require_texts(texts: Sequence[str]) -> None:
    """Raise InputError naming the first text without a word, or where there are none."""
    if not texts:
        raise InputError("there are no texts to encode; expected at least one")
    for number, text in enumerate(texts):
        if not text.strip():
            raise InputError(f"text {number} is empty; expected a sentence about a pose")
