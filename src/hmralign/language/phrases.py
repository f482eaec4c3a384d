"""Statements in words: templates of each family, filled with sides and places.

The templates are `assets/phrases.yaml`. Some of them are held out: captions for training never use them. Further
wordings, which captions never use either and a text space learns, are `assets/paraphrases.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from hmralign.language.statements import FAMILIES, Statement
from hmralign.storage.yaml_file import parse_yaml
from hmralign.structures import InputError

Wording = Literal["say", "held_out"]
"""Which templates are used: those of captions, or those kept for tests."""

FEWEST_TEMPLATES = {"say": 4, "held_out": 2}

_SHARED = {"hand_on_own_": "hand_on_place", "hand_on_other_": "hand_on_place", "elbow_on_": "elbow_on_place"}
"""Families that are said alike but for the place: the beginning of their names, and whose templates they share."""


@lru_cache(maxsize=1)
def templates() -> Mapping[str, Mapping[Wording, tuple[str, ...]]]:
    """Templates of every family. Raises InputError where the file that comes with the package was damaged."""
    name = "assets/phrases.yaml"
    read = parse_yaml(files("hmralign.language").joinpath(name).read_bytes())
    found = {
        family: {w: tuple(read[templates_of(family)][w]) for w in FEWEST_TEMPLATES}
        for family in FAMILIES
        if templates_of(family) in read
    }
    if set(found) != set(FAMILIES):
        raise InputError(f"{name}: has no words for {', '.join(sorted(set(FAMILIES) - set(found)))}")
    return found  # type: ignore[return-value]


@lru_cache(maxsize=1)
def paraphrases() -> Mapping[str, tuple[str, ...]]:
    """Further wordings of every family. Raises InputError where the file that comes with the package was damaged."""
    name = "assets/paraphrases.yaml"
    read = parse_yaml(files("hmralign.language").joinpath(name).read_bytes())
    if missing := sorted({templates_of(family) for family in FAMILIES} - set(read)):
        raise InputError(f"{name}: has no words for {', '.join(missing)}")
    return {family: tuple(read[templates_of(family)]) for family in FAMILIES}


def templates_of(family: str) -> str:
    """The name under which a family's words stand in the files; contacts share theirs.

    >>> templates_of("hand_on_own_knee"), templates_of("hand_on_head")
    ('hand_on_place', 'hand_on_head')
    """
    return next((name for beginning, name in _SHARED.items() if family.startswith(beginning)), family)


def sentence(statement: Statement, choice: float, wording: Wording = "say") -> str:
    """A statement in words, without capital and full stop; `choice` in [0, 1) says which of its templates."""
    options = templates()[statement.family][wording]
    return options[int(choice * len(options))].format_map(dict(statement.slots))


def joined(sentences: list[str]) -> str:
    """Sentences with capitals and full stops, in one line."""
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences)
