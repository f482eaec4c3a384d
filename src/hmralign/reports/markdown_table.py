"""The one writer of Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first `words` columns hold words, at the left, and whose others hold numbers, at the right.

    >>> print(markdown_table(["model", "mm"], [["base", "71.0"]]))
    | model | mm |
    | --- | ---: |
    | base | 71.0 |
    """
    rule = ["---" if column < words else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
