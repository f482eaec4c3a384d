"""What a judge may answer (JSON schemas), and how an answer is read.

Servers may ignore a schema without saying so, hence every answer is checked in full here: each label exactly once and
no other, scores whole numbers from 0 to 100. Nothing that is missing is filled in. `AnswerError` says what is wrong;
its reason is sent to the model, so that what is quoted of an answer stands apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hmralign.structures import Finding, InputError
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE, RULE_LENGTH, RULE_TAGS
from hmralign.vlm.errors import AnswerError, AnswerTrouble, shortened
from hmralign.vlm.structured import Schema, array, choice, integer, printable, read_json, record

FirstField = Literal["score", "comment"]

COMMENT_LENGTH = 160
"""The longest comment, characters."""
TAGS = RULE_TAGS
"""What rules are about; a rule may add words of its own."""
TIE = "tie"

_MAX_RULES = 2
_MAX_TAGS, _MAX_FREE_TAGS, _TAG_LENGTH = 3, 2, 32
_NOUNS = ("image", "prediction", "tile", "label", "letter")
_NAMES_A_PREDICTION = re.compile(
    r"(?i:\b(?:image|img|picture|prediction|tile|label|letter|hypothesis|candidate))[ _.#-]*(?:\d+|[A-Z])\b"
)
_NAMES_THE_TRUTH = re.compile(r"(?i)ground[ -]?truth|\btrue[ _-]quality|\bjudge_score|https?:")


@dataclass(frozen=True)
class Preference:
    """Which of two hypotheses is better: `first_wins` is 1, 0, or 0.5 where the judge could not tell."""

    first: int
    second: int
    first_wins: float
    comment: str = ""

    def __post_init__(self) -> None:
        """Raise InputError for a hypothesis against itself, or another outcome."""
        if self.first == self.second or self.first_wins not in (0.0, 0.5, 1.0):
            raise InputError(
                f"hypotheses {self.first} and {self.second}, outcome {self.first_wins}; expected 0, 0.5, 1"
            )


@dataclass(frozen=True)
class MinedRule:
    """A sentence that a review proposed, with its tags: those of `TAGS` first."""

    text: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class MinedRules:
    """What a review proposed; `refused` are the sentences that are no rules, and why."""

    rules: tuple[MinedRule, ...]
    refused: tuple[tuple[str, str], ...] = ()


# -- schemas ----------------------------------------------------------------------------------------------------------


def judge_schema(
    labels: Sequence[str], first_field: FirstField = "score", comment_length: int = COMMENT_LENGTH
) -> Schema:
    """One entry per label, in the order shown."""
    score, comment = {"score": integer(0, HIGHEST_SCORE)}, {"comment": printable(comment_length)}
    entry = record({**score, **comment} if first_field == "score" else {**comment, **score})
    return record(dict.fromkeys(labels, entry))


def pairwise_schema(labels: Sequence[str], comment_length: int = COMMENT_LENGTH) -> Schema:
    """The better label, or `tie`, and why."""
    return record({"better": choice([*labels, TIE]), "comment": printable(comment_length)})


def reflection_schema() -> Schema:
    """Up to two rules."""
    tags, free_tags = array(choice(TAGS), 1, _MAX_TAGS), array(printable(_TAG_LENGTH), 0, _MAX_FREE_TAGS)
    rule = record({"text": printable(RULE_LENGTH), "tags": tags, "free_tags": free_tags})
    return record({"new_rules": array(rule, 0, _MAX_RULES)})


# -- readers ----------------------------------------------------------------------------------------------------------


def parse_judgement(text: str, labels: Sequence[str], hypotheses: Sequence[int]) -> tuple[Finding, ...]:
    """Findings in the order shown; `hypotheses` are the numbers behind `labels`.

    A label may be spelt `K`, `prediction_K`, `image_2`, `image.2`, `Image 2` and the like; a score may be a whole
    number in quotes. Raises AnswerError for a label that is missing, twice or unknown, and for a score that is no
    whole number from 0 to 100.
    """
    if len(labels) != len(hypotheses):
        raise InputError(f"{counted(len(labels), 'label')} for {counted(len(hypotheses), 'hypothesis')}")
    entries = _by_label(_object(text), labels)
    missing = [label for label in labels if label not in entries]
    if missing:
        raise _wrong(f"the answer leaves out {', '.join(missing)}; expected {', '.join(labels)}", "labels")
    findings = []
    for label, hypothesis in zip(labels, hypotheses, strict=True):
        entry = entries[label]
        if not isinstance(entry, dict) or "score" not in entry:
            raise _wrong(f"the answer gives {label} no score; expected an object with 'score' and 'comment'", "schema")
        findings.append(Finding(hypothesis, _score(entry["score"], label), _words(entry.get("comment", ""), label)))
    return tuple(findings)


def parse_preference(text: str, labels: Sequence[str], hypotheses: Sequence[int]) -> Preference:
    """Which of two is better. Raises AnswerError for an answer that names neither nor a tie."""
    if len(labels) != 2 or len(hypotheses) != 2:
        raise InputError(f"a pair has two labels; got {list(labels)} for {list(hypotheses)}")
    answer = _object(text)
    better = answer.get("better")
    comment = _words(answer.get("comment", ""), "the pair")
    if isinstance(better, str) and better.strip().casefold() == TIE:
        return Preference(hypotheses[0], hypotheses[1], 0.5, comment)
    label = _spellings(labels).get(_plain(better)) if isinstance(better, str) else None
    if label is None:
        raise _wrong(
            f"the answer does not say which is better; expected {labels[0]}, {labels[1]} or {TIE}", "schema", better
        )
    return Preference(hypotheses[0], hypotheses[1], float(label == labels[0]), comment)


def parse_rules(text: str) -> MinedRules:
    """New rules of a review; sentences that are no rules for other pictures are kept apart with the reason.

    `new_rules` may be spelt `new.rules`. Raises AnswerError where there is no list of texts with tags.
    """
    answer = {_plain(key): value for key, value in _object(text).items()}
    entries = answer.get("newrules")
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("text"), str) for e in entries
    ):
        raise _wrong("the answer has no list 'new_rules' of objects with a 'text'", "schema")
    rules, refused = list[MinedRule](), list[tuple[str, str]]()
    for entry in entries:
        sentence, tags = " ".join(entry["text"].split()), _tags(entry)
        reason = _no_rule(sentence, tags) or ("is one too many" if len(rules) == _MAX_RULES else "")
        if reason:
            refused.append((sentence, reason))
        else:
            rules.append(MinedRule(sentence, tags))
    return MinedRules(tuple(rules), tuple(refused))


def _object(text: str) -> dict[str, Any]:
    value = read_json(text)
    if not isinstance(value, dict):
        raise _wrong("the answer is something else, expected an object", "schema", value)
    return value


_NOTHING = object()


def _wrong(reason: str, trouble: AnswerTrouble, quoted: Any = _NOTHING) -> AnswerError:
    """`reason` has no word of the answer; `quoted` is the part of it that is wrong."""
    return AnswerError(reason, trouble=trouble, quoted="" if quoted is _NOTHING else shortened(repr(quoted), 60))


def _by_label(answer: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    spellings, entries = _spellings(labels), dict[str, Any]()
    for key, entry in answer.items():
        label = spellings.get(_plain(key))
        if label is None:
            raise _wrong(
                f"the answer scores what was not asked for; expected {', '.join(labels)} and no other", "labels", key
            )
        if label in entries:
            raise _wrong(f"the answer has {label} twice; expected every label once", "labels")
        entries[label] = entry
    return entries


def _spellings(labels: Sequence[str]) -> dict[str, str]:
    """Plain spelling -> label. A label itself goes before one with a noun in front."""
    with_nouns = {_plain(noun + label): label for label in labels for noun in _NOUNS}
    return {**with_nouns, **{_plain(label): label for label in labels}}


def _plain(key: str) -> str:
    return re.sub(r"[\s._#:-]+", "", key).casefold()


def _score(value: Any, label: str) -> float:
    number = value
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}\s*", value, re.ASCII):
        number = int(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not 0 <= number <= HIGHEST_SCORE or number != int(number):
        raise _wrong(
            f"the answer gives {label} no score that can be read; expected a whole number, 0 to 100", "schema", value
        )
    return float(number)


def _words(comment: Any, label: str) -> str:
    if comment is None:
        return ""
    if not isinstance(comment, str):
        raise _wrong(f"the comment on {label} is no text; expected words", "schema", comment)
    return " ".join(comment.split())


def _tags(entry: dict[str, Any]) -> tuple[str, ...]:
    given: list[Any] = []
    for name in ("tags", "free_tags"):
        value = entry.get(name, [])
        if not isinstance(value, list):
            raise _wrong(f"'{name}' of a rule is no list; expected a list of words", "schema", value)
        given += value
    words = [re.sub(r"[^a-z0-9]+", "_", str(tag).casefold()).strip("_")[:_TAG_LENGTH] for tag in given]
    words = list(dict.fromkeys(word for word in words if word))
    known, free = [w for w in words if w in TAGS], [w for w in words if w not in TAGS]
    return (*known[:_MAX_TAGS], *free[:_MAX_FREE_TAGS])


def _no_rule(sentence: str, tags: Sequence[str]) -> str:
    """Why a sentence is no rule for other pictures; empty where it is one."""
    if not sentence or len(sentence) > RULE_LENGTH:
        return f"has {counted(len(sentence), 'character')}, expected 1 to {RULE_LENGTH}"
    if _NAMES_A_PREDICTION.search(sentence):
        return "names a single prediction"
    if _NAMES_THE_TRUTH.search(sentence):
        return "needs more than a picture"
    return "" if tags else "has no tag"
