"""Errors a user can act on.  One clear sentence that names the offender and says what was expected."""

from __future__ import annotations

import reprlib

LONGEST_SENTENCE = 4000
"""Characters of an error; a path alone may take as many, what a file says may not."""


class HmralignError(Exception):
    """Base of every error this package raises on purpose.

    Its text has no control characters but line ends and tabs, can be encoded, and is cut in the middle where it is
    longer than `LONGEST_SENTENCE`: parts of it may come from a file.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(_clean(a, LONGEST_SENTENCE) if isinstance(a, str) else a for a in arguments))


class InputError(HmralignError, ValueError):
    """The input is wrong: a file, an array, a checkpoint.  The command line turns it into exit code 2."""


class UnwritableError(HmralignError):
    """A result cannot be written, as where the disk is full.  The command line turns it into exit code 2."""


def shown(value: object, most: int = 80) -> str:
    """A name or value that a file gives, as a sentence may quote it: one line of at most `most` characters.

    >>> shown("a" * 200, 12)
    'aaaaaaaaa...'
    """
    text = value[: most + 1] if isinstance(value, str) else _SHORT.repr(value)
    text = _clean(text.replace("\n", "\\n").replace("\t", "\\t"), 8 * most)
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 400

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write whole numbers of some thousand digits."""
        return repr(x) if x.bit_length() <= 1024 else f"<a whole number of {x.bit_length()} bits>"


_SHORT = _Short()


def _clean(text: str, most: int) -> str:
    if len(text) > most:
        text = f"{text[: most * 3 // 4]} ... {text[len(text) - most // 4 + 5 :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
