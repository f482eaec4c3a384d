"""Typed sentences -> statements: "left hand on the right knee, legs crossed" is read, what is not understood is said.

A text is cut into clauses; a clause has a subject (a part of the body and its side), relations, and perhaps an object
or a direction; `assets/readings.yaml` says which clauses are which statements. Nothing is guessed: a clause that no
reading fits is listed as not understood, and so are words that the lexicon does not have. Text is only ever looked up,
never obeyed: instructions inside a description are words like any others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from itertools import combinations
from typing import NamedTuple

from hmralign.language import lexicon
from hmralign.language.contradictions import require_no_contradiction
from hmralign.language.description import PoseDescription, in_vocabulary_order
from hmralign.language.phrases import templates_of
from hmralign.language.rendering import described
from hmralign.language.statements import STATEMENTS, Statement, mirrored_words
from hmralign.storage.yaml_file import parse_yaml
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MOST_TYPED_WORDS = 10_000
"""Words that are read of one description."""
_MOST_CHARACTERS = 200_000
_MOST_SHOWN = 12
"""Pieces that were not understood which a message quotes."""

_ASIDE = frozenset(("straight", "bent", "right_angle", "slightly", "sharply", "together", "crossed", "apart"))
"""Relations that are read beside one with an object: hands together above the head."""
_PHRASES = tuple((re.compile(pattern), f" {new} ") for pattern, new in lexicon.PHRASES)
_WORD = re.compile(r"@?[\w]+")

_ONE = "one"
"""Stands for a part that was named before."""

Side = str
"""left, right, both, other, or empty where none is named."""


class Named(NamedTuple):
    """A part of the body and its side."""

    part: str
    side: Side = ""


class Key(NamedTuple):
    """A clause as readings know it."""

    subject: Named
    relations: frozenset[str]
    object: Named | None = None
    direction: Side = ""


@dataclass(frozen=True)
class Clause:
    """What a clause is made of."""

    words: str
    subjects: tuple[Named, ...] = ()
    relations: tuple[str, ...] = ()
    objects: tuple[Named, ...] = ()
    direction: Side = ""
    negated: bool = False
    unknown: tuple[str, ...] = ()


@dataclass
class Reading:
    """Statements of a text with whether they are said to hold, and what was not understood."""

    statements: list[tuple[str, bool]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_text(text: str) -> PoseDescription:
    """The statements of a typed description; left and right are the person's own.

    `unread` of the result lists what was not understood: clauses that say nothing the vocabulary knows, a limb without
    its side, single words, numbers.
    Raises InputError for an empty text, one of more than `MOST_TYPED_WORDS` words, one that makes no statement (as in
    another language), and statements that contradict each other, which are named.
    """
    reading = read_statements(text)
    if not reading.statements:
        raise InputError(
            f"nothing about a pose was understood in '{shown(text.strip())}'; expected English sentences such as "
            f"'left hand on the right knee, legs crossed'{_not_understood(reading.unread)}"
        )
    require_no_contradiction(reading.statements)
    description = described(in_vocabulary_order(reading.statements), "typed")
    return replace(description, unread=tuple(reading.unread))


def _not_understood(unread: Sequence[str]) -> str:
    """Where a side is missing, that is worth saying."""
    unsided = [text for text in unread if text.endswith("?)")][:3]
    return f" ({'; '.join(unsided)})" if unsided else ""


def read_statements(text: str) -> Reading:
    """What a text says, contradictions and all: for texts that nobody is there to correct.

    Raises InputError for an empty text and one of too many words.
    """
    words = len(text.split())
    if words == 0:
        raise InputError("the description is empty; expected sentences about a pose")
    if words > MOST_TYPED_WORDS or len(text) > _MOST_CHARACTERS:
        raise InputError(
            f"the description has {counted(words, 'word')} ({counted(len(text), 'character')}); expected at most "
            f"{MOST_TYPED_WORDS} ({_MOST_CHARACTERS})"
        )
    reading, before, waiting = Reading(), (), ()
    for words_of_clause, begins in _clauses(text):
        clause, before = _parsed(words_of_clause), () if begins else before
        clause = _with_side_of(clause, before)
        if not clause.relations and clause.subjects and not clause.unknown:
            waiting = (*waiting, *clause.subjects)  # "knees and elbows bent": the knees wait for what is said of them
            continue
        _read_clause(clause, before, waiting, reading)
        before, waiting = clause.subjects or before, ()
    reading.unread += [f"{named.side} {named.part}".strip().replace("_", " ") for named in waiting]
    reading.statements = list(dict.fromkeys(reading.statements))
    return reading


def _clauses(text: str) -> Iterator[tuple[str, bool]]:
    """Clauses with their phrases rewritten, and whether a sentence begins with them."""
    plain = re.sub(r"n['\u2019]t\b", " not", text.lower())
    plain = re.sub(r"['\u2019]s\b", " ", plain)
    plain = re.sub(r"[^\w\s.;:,!?()]", " ", plain)
    for sentence in lexicon.SENTENCE_ENDS.split(plain):
        begins = True
        for stretch in lexicon.COMMAS.split(sentence):
            stretch = " ".join(stretch.split())
            for pattern, new in _PHRASES:
                stretch = " ".join(pattern.sub(new, stretch).split())
            for clause in filter(str.strip, lexicon.CLAUSE_ENDS.split(stretch)):
                yield clause, begins
                begins = False


def _with_side_of(clause: Clause, before: tuple[Named, ...]) -> Clause:
    """A limb without a side is on that of the limb before it: the left arm is bent with the hand on the hip.

    And "the left one" is such a limb as the one before.
    """
    if not (clause.subjects and before and before[0].side):
        return clause
    subject = clause.subjects[0]
    if subject.part == _ONE:
        return replace(clause, subjects=(Named(before[0].part, subject.side),))
    unsided = before[0].side in lexicon.SIDES and subject.part in lexicon.BOTH_PARTS.values() and subject.side == ""
    return replace(clause, subjects=(Named(subject.part, before[0].side),)) if unsided else clause


def _parsed(clause: str) -> Clause:
    named: list[tuple[Named, bool]] = []  # parts, and whether a relation stood before them
    relations: list[str] = []
    unknown: list[str] = []
    side, direction, negated = "", "", False
    for word in _WORD.findall(clause):
        part = _part(word, side, named)
        if part is not None:
            named.append((part, bool(relations)))
            side = ""
        elif word in lexicon.SIDES or word in lexicon.OTHER_SIDE or word in ("both", "neither"):
            direction = side if side in lexicon.SIDES else direction
            side, negated = (
                ("both" if word == "neither" else "other" if word in lexicon.OTHER_SIDE else word),
                negated or word == "neither",
            )
        elif word[0] == "@" or word in lexicon.RELATIONS:
            relations.append(word[1:] if word[0] == "@" else lexicon.RELATIONS[word])
            direction, side = (side if side in lexicon.SIDES else direction), ""
        elif word in lexicon.NEGATIONS:
            negated = True
        elif word not in lexicon.FILLERS:
            unknown.append(word)
    direction = side if side in lexicon.SIDES else direction
    subjects = tuple(n for n, after in named if not after)
    return Clause(
        " ".join(clause.split()).replace("@", "").replace("_", " "),
        subjects[-1:] if subjects else (),
        tuple(dict.fromkeys(relations)),
        tuple(n for n, after in named if after),
        direction,
        negated,
        tuple(unknown),
    )


def _part(word: str, side: Side, named: list[tuple[Named, bool]]) -> Named | None:
    if word in ("one", "ones") and side:
        return Named(named[-1][0].part if named else _ONE, side)
    if word in lexicon.BOTH_PARTS:
        return Named(lexicon.BOTH_PARTS[word], side or "both")
    if word in lexicon.PAIRED_PARTS:
        return Named(lexicon.PAIRED_PARTS[word], side)
    return Named(lexicon.SINGLE_PARTS[word]) if word in lexicon.SINGLE_PARTS else None


def _read_clause(clause: Clause, before: tuple[Named, ...], waiting: tuple[Named, ...], reading: Reading) -> None:
    if not clause.relations and not clause.subjects and not clause.unknown:
        return
    found = [s for c in _readings_to_try(clause, before, waiting) for s in c]
    reading.statements += [(statement, not clause.negated) for statement in found]
    if not found:
        reading.unread.append(_with_missing_side(clause))
    else:
        reading.unread += clause.unknown


def _readings_to_try(clause: Clause, before: tuple[Named, ...], waiting: tuple[Named, ...]) -> Iterator[list[str]]:
    """Statements by each subject that shares the clause; without a subject that fits, by the first that does."""
    found = [_statements(replace(clause, subjects=(s,))) for s in (*waiting, *clause.subjects)]
    if any(found):
        yield from found
        return
    tried = [_best(replace(clause, subjects=(n,), objects=())) for n in clause.objects]  # "crossed arms"
    if "on" in clause.relations:  # "the right knee is touched by the left hand"
        tried += [_best(replace(clause, subjects=(n,), objects=clause.subjects)) for n in clause.objects]
    if not clause.subjects:
        tried += [_best(replace(clause, subjects=(s,))) for s in (Named("person"), *before, *clause.objects)]
    yield max(tried, key=lambda t: t[0], default=(0, []))[1]


def _statements(clause: Clause) -> list[str]:
    return _best(clause)[1]


def _best(clause: Clause) -> tuple[int, list[str]]:
    """The most specific reading: how many relations, objects and directions it explains, and its statements."""
    best: tuple[int, list[str], frozenset[str]] = (0, [], frozenset())
    for relations in _subsets(clause.relations):
        for at, direction in _objects_and_directions(clause):
            weight = 2 * len(relations) + 3 * (at is not None) + 3 * bool(direction)
            if weight > best[0] and (found := _looked_up(clause.subjects[0], relations, at, direction)):
                best = (weight, found, relations)
    weight, found, used = best
    left = tuple(r for r in clause.relations if r in _ASIDE)
    if found and left and not used & _ASIDE and clause.objects:
        found = found + _best(replace(clause, relations=left, objects=()))[1]
    return weight, found


def _subsets(relations: tuple[str, ...]) -> Iterator[frozenset[str]]:
    few = relations[:5]
    for size in range(len(few), 0, -1):
        yield from map(frozenset, combinations(few, size))


def _objects_and_directions(clause: Clause) -> Iterator[tuple[Named | None, Side]]:
    sides = [n.side for n in clause.objects if n.part == "side" and n.side in lexicon.SIDES]
    for direction in dict.fromkeys((clause.direction, *sides, "")):
        for at in (*clause.objects[:4], None):
            yield at, direction
    if clause.direction and not clause.objects:
        yield Named(clause.subjects[0].part, clause.direction), ""  # "the left leg is crossed over the right"


def _looked_up(subject: Named, relations: frozenset[str], at: Named | None, direction: Side) -> list[str]:
    known = _known_clauses()
    whole = known.get(Key(subject, relations, at, direction))
    if whole is not None:
        return [whole]
    sides = ("left", "right") if subject.side == "both" else (subject.side,)
    found = [
        statement
        for side in sides
        if (
            statement := known.get(
                Key(Named(subject.part, side), relations, _object_of(at, side, subject.side), direction)
            )
        )
    ]
    return found if len(found) == len(sides) else []


def _object_of(at: Named | None, side: Side, named: Side) -> Named | None:
    """The object as one side's limb has it: hands on hips are each on its own."""
    if at is None or (at.side == "both" and named != "both"):
        return at
    if at.side == "other":
        return Named(at.part, mirrored_words(side))
    return Named(at.part, side) if at.side == "both" else at


def _with_missing_side(clause: Clause) -> str:
    subject = clause.subjects[0] if clause.subjects else None
    if subject is not None and subject.part in lexicon.BOTH_PARTS.values() and not subject.side:
        if _statements(replace(clause, subjects=(Named(subject.part, "left"),))):
            return f"{clause.words} (left or right {subject.part.replace('_', ' ')}?)"
    return clause.words


@lru_cache(maxsize=1)
def _known_clauses() -> dict[Key, str]:
    """Every clause that can be understood. Raises InputError where two statements claim the same."""
    content = parse_yaml(files("hmralign.language").joinpath("assets/readings.yaml").read_bytes())
    known: dict[Key, str] = {}
    for statement in STATEMENTS:
        for reading in content[templates_of(statement.family)]:
            for key in _keys(statement, reading):
                if known.setdefault(key, statement.id) != statement.id:
                    raise InputError(f"'{reading}' is read both as {known[key]} and as {statement.id}")
    return known


def _keys(statement: Statement, reading: str) -> Iterator[Key]:
    subject, relations, *rest = reading.split()
    slots = dict(statement.slots)
    side = slots.get("side", "")
    rels = frozenset(relations.split("+"))
    who = _sided(subject, side)[0]
    if not rest:
        yield Key(who, rels)
    elif rest[0].startswith("DIR"):
        yield Key(who, rels, None, mirrored_words(side) if rest[0].endswith("@other") else side)
    elif rest[0] == "PLACE":
        where, part = slots["place"].split(" ", 1)
        yield Key(who, rels, Named(part.replace(" ", "_"), where))
        if where == side:
            yield Key(who, rels, Named(part.replace(" ", "_")))
    else:
        for at in _sided(rest[0], side, side_goes_without_saying=who.side == side):
            yield Key(who, rels, at)


def _sided(word: str, side: Side, side_goes_without_saying: bool = False) -> list[Named]:
    part, _, which = word.partition("@")
    if part not in lexicon.BOTH_PARTS.values():
        return [Named(part)]
    if which == "any":
        return [Named(part, s) for s in ("", "left", "right")]
    if which == "own":
        return [Named(part, side), Named(part)]
    if which in lexicon.SIDES:
        return [Named(part, which)]
    if which == "other":
        return [Named(part, mirrored_words(side))]
    if which == "both":
        return [Named(part, "both")]
    return [Named(part, side), Named(part)] if side_goes_without_saying and part != "side" else [Named(part, side)]
