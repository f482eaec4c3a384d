"""A share of numbered work: what `--shard K/N` names.

Shares are interleaved: unit u belongs to share u mod N, so that units which cost alike are spread evenly, and shares of
another N may be mixed with these. Nothing is claimed and nobody asks anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hmralign.structures import InputError

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})\Z")


@dataclass(frozen=True)
class Share:
    """The K-th of N shares, counted from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Raise InputError for a share that is none."""
        if not 1 <= self.number <= self.count:
            raise InputError(
                f"share {self.number} of {self.count}; expected K/N with K from 1 to N, such as 3/8 "
                "(engines that count from 0 need K + 1)"
            )

    @staticmethod
    def of_text(text: str) -> Share:
        """From `3/8`. Raises InputError for anything else.

        >>> Share.of_text("2/3").numbers(7)
        range(1, 7, 3)
        """
        found = _FORM.match(text)
        if found is None:
            raise InputError(f"'{text[:40]}' is no share; expected K/N with K from 1 to N, such as 3/8")
        return Share(int(found[1]), int(found[2]))

    def numbers(self, units: int) -> range:
        """Numbers of this share's units, from 0."""
        return range(self.number - 1, units, self.count)

    def __str__(self) -> str:
        """`3/8`."""
        return f"{self.number}/{self.count}"


WHOLE = Share(1, 1)
"""All of it."""
