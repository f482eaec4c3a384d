"""What is believed of many answers about one person: statements that they make, weighed by how they agree.

    answers -> statements of each -> votes, in the picture and in its mirror image -> what is believed, and how much

A model's answers are read into the closed vocabulary of `hmralign.language`: what they say beyond it moves nothing. A
statement on one side of the body must be heard in both pictures, since a model that takes the sides of the picture for
those of the person says opposite things of them. How much a part's statements count is what an audit against true poses
found; a public study found the judgement of parts near chance (kappa 0.10), which is what counts where nobody audited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hmralign.language.contradictions import contradict
from hmralign.language.description import PoseDescription, in_vocabulary_order
from hmralign.language.reading import read_statements
from hmralign.language.statements import PARTS, STATEMENTS, Part, Statement, row_of
from hmralign.refinement.description.heard import Heard, HeardPerson
from hmralign.refinement.description.prompts import ASKED_PARTS
from hmralign.structures import InputError

UNAUDITED_TRUST = 0.1
"""Kappa of judgements on parts of the body in a public study."""


@dataclass(frozen=True)
class BeliefOptions:
    """When a statement is believed."""

    least_votes: int = 2
    """Answers that must make a statement; of fewer answers than that, all of them."""
    least_share: float = 0.6
    """Share of the answers for it among those for and against it."""
    both_pictures: bool = True
    """Whether a statement on one side must be heard in the picture and in its mirror image, where both were asked."""
    trust: Mapping[Part, float] = field(default_factory=dict)
    """How much the statements on a part count, 0 to 1, by an audit; `UNAUDITED_TRUST` for parts that are not named."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.least_votes < 1 or not 0 < self.least_share <= 1:
            raise InputError(
                f"belief: least_votes is {self.least_votes} and least_share {self.least_share}; expected at least 1, "
                "and above 0 up to 1"
            )
        for part, trust in self.trust.items():
            if part not in PARTS or not 0 <= trust <= 1:
                raise InputError(f"belief: trust in '{part}' is {trust}; expected parts {', '.join(PARTS)}, 0 to 1")


@dataclass(frozen=True)
class Votes:
    """Answers for and against a statement, in the picture and in its mirror image (turned back)."""

    plain: int = 0
    mirrored: int = 0
    against: int = 0

    @property
    def share(self) -> float:
        """Share of those that say it holds."""
        return self.total / (self.total + self.against)

    @property
    def total(self) -> int:
        """Answers for it."""
        return self.plain + self.mirrored


@dataclass(frozen=True)
class Belief:
    """What is believed of one person."""

    description: PoseDescription | None
    """None where nothing is believed."""
    weights: tuple[float, ...]
    """How much each statement of the description counts, 0 to 1."""
    doubts: tuple[str, ...]
    """What was said and is not believed, and why, one sentence each."""
    agreement: Mapping[Part, float]
    """By part: mean share of the answers for its statements among those for and against, all statements counted."""


def believed(person: HeardPerson, options: BeliefOptions) -> Belief:
    """Weigh what was said of a person; the words are those of the answers that agree best with what is believed."""
    said = [(answer, _statements(answer)) for answer in person.answers if answer.text]
    votes = count_votes(said)
    both = {answer.mirrored for answer, _ in said} == {False, True}
    kept, doubts = {}, []
    for statement, found in votes.items():
        reason = _doubt(statement, found, votes, options, both, answers=len(said))
        if reason is None:
            kept[statement] = options.trust.get(STATEMENTS[row_of(statement[0])].part, UNAUDITED_TRUST) * found.share
        else:
            doubts.append(f"{_words(statement)}: {reason}")
    kept, dropped = _without_contradictions(kept, votes)
    doubts += dropped
    agreement = _agreement(votes)
    if not kept:
        return Belief(None, (), tuple(doubts), agreement)
    statements = in_vocabulary_order(tuple(kept))
    texts = _best_texts(said, set(statements))
    return Belief(
        PoseDescription(texts, statements, "vlm"), tuple(kept[s] for s in statements), tuple(doubts), agreement
    )


Said = tuple[str, bool]
"""A statement, and whether it is said to hold."""


def _statements(answer: Heard) -> tuple[Said, ...]:
    return tuple(read_statements(answer.text).statements)


def count_votes(said: Sequence[tuple[Heard, tuple[Said, ...]]]) -> dict[Said, Votes]:
    """Votes for each statement; an answer that says what cannot be true beside it is against it."""
    votes: dict[Said, Votes] = {}
    everything = dict.fromkeys(statement for _, statements in said for statement in statements)
    for statement in everything:
        found = Votes()
        for answer, statements in said:
            if statement in statements:
                name = "mirrored" if answer.mirrored else "plain"
                found = replace(found, **{name: getattr(found, name) + 1})
            elif any(_exclude(statement, other) for other in statements):
                found = replace(found, against=found.against + 1)
        votes[statement] = found
    return votes


def _exclude(one: Said, other: Said) -> bool:
    if one[0] == other[0]:
        return one[1] != other[1]
    return contradict(STATEMENTS[row_of(one[0])], one[1], STATEMENTS[row_of(other[0])], other[1])


def _doubt(
    statement: Said, found: Votes, votes: Mapping[Said, Votes], options: BeliefOptions, both: bool, *, answers: int
) -> str | None:
    """Why a statement is not believed; None where it is."""
    if found.total < min(options.least_votes, answers):
        return f"said {_times(found.total)} only"
    if found.share < options.least_share:
        return f"said {_times(found.total)} and denied {_times(found.against)}"
    sided = STATEMENTS[row_of(statement[0])].mirror != statement[0]
    if options.both_pictures and both and sided and not (found.plain and found.mirrored):
        return _sides_doubt(found, votes.get((STATEMENTS[row_of(statement[0])].mirror, statement[1]), Votes()))
    return None


def _sides_doubt(found: Votes, other: Votes) -> str:
    if other.total:
        return "the picture and its mirror image speak of opposite sides"
    return f"heard in {'the mirror image' if found.mirrored else 'the picture'} only"


def _without_contradictions(
    kept: dict[Said, float], votes: Mapping[Said, Votes]
) -> tuple[dict[Said, float], list[str]]:
    """The statements that agree with every stronger one, and why the others go."""
    order = sorted(kept, key=lambda s: (-votes[s].total * votes[s].share, row_of(s[0])))
    left: list[Said] = []
    doubts = []
    for statement in order:
        against = next((other for other in left if _exclude(statement, other)), None)
        if against is None:
            left.append(statement)
        else:
            doubts.append(f"{_words(statement)}: '{_words(against)}' was said more often")
    return {s: kept[s] for s in left}, doubts


def _agreement(votes: Mapping[Said, Votes]) -> dict[Part, float]:
    shares: dict[Part, list[float]] = {}
    for (statement, _), found in votes.items():
        shares.setdefault(STATEMENTS[row_of(statement)].part, []).append(found.share)
    return {part: sum(shares[part]) / len(shares[part]) for part in PARTS if part in shares}


def _best_texts(said: Sequence[tuple[Heard, tuple[Said, ...]]], statements: set[Said]) -> tuple[tuple[Part, str], ...]:
    """The answer about each part that makes the most believed statements and the fewest others."""
    texts = []
    for part in ASKED_PARTS:
        worth = [
            (sum(s in statements for s in found) - sum(s not in statements for s in found), -number, answer.text)
            for number, (answer, found) in enumerate(said)
            if answer.part == part and any(s in statements for s in found)
        ]
        if worth:
            texts.append((part, max(worth)[2]))
    return tuple(texts)


def _words(statement: Said) -> str:
    known: Statement = STATEMENTS[row_of(statement[0])]
    words = known.id.replace("_", " ")
    return words if statement[1] else f"not: {words}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
