"""Numbers of things in messages: one person, three persons."""

from __future__ import annotations


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number and what it counts, in the singular for one alone; the plural is formed where none is given.

    >>> counted(1, "person"), counted(3, "person"), counted(0, "hypothesis"), counted(2, "person", "people")
    ('1 person', '3 persons', '0 hypotheses', '2 people')
    """
    return f"{count} {one if count == 1 else several or _plural(one)}"


def _plural(one: str) -> str:
    for ending, more in (("vertex", "vertices"), ("sis", "ses"), ("ss", "sses"), ("tch", "tches"), ("box", "boxes")):
        if one.endswith(ending):
            return one.removesuffix(ending) + more
    if one.endswith("y") and one[-2:-1] not in "aeiou":
        return one.removesuffix("y") + "ies"
    return f"{one}s"
