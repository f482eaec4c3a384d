"""Which sentences become rules: mined ones are text of a model that has seen other people's text, so each is checked.

| refused | because |
| --- | --- |
| no condition, no effect, several sentences, over 200 characters | it cannot be tested on a picture |
| names an image, a prediction, a letter, a place in the group | it is about one group |
| millimetres, decimals, numbers above 100, errors of this group, "ground truth" | a picture does not show the truth |
| speaks to the reader, of formats, links, code; characters that are not printable | it may be an instruction |
| quotation marks, or a run of words out of a comment or a photo | it came from a picture, not from a review |
| says what a rule says already | it would crowd out others |

Conditions are compared by hashed n-grams (`text_similarity`). Two sentences that agree in theirs and not in the
direction of the effect are kept and marked as a conflict; two that differ in a direction word (left, right, front,
behind) are different rules however alike they look.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from hmralign.critics.vlm.memory.records import normalised
from hmralign.critics.vlm.memory.text_similarity import text_similarity
from hmralign.structures import Rule
from hmralign.structures.counted import counted
from hmralign.structures.critique import RULE_LENGTH, RULE_TAGS

_TYPOGRAPHIC = str.maketrans({"‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "…": ".", "\u00a0": " "})

_CONDITION = re.compile(r"(?i)\b(?:if|when|whenever|where|wherever|while|unless|once|for|with|in case)\b")
_MINUS = r"deduct\w*|penali[sz]e\w*|subtract\w*|lower|reduce|decrease|cap|downgrade|punish|take off"
_PLUS = r"add|raise|increase|reward|prefer|boost|upgrade|favou?r|score (?:it )?higher"
_NEUTRAL = r"ignore|tolerate|keep|forgive|allow|accept|disregard"
_EFFECT = re.compile(rf"(?i)\b(?:{_MINUS}|{_PLUS}|{_NEUTRAL})\b")
_NEGATION = re.compile(r"(?i)\b(?:do not|don't|never|not|without|no)\s+(?:\w+\s+){0,2}$")
_SEVERAL = re.compile(r"[.!?]\s+\S|[\n\r]|\?\s*$")

_NOUN = r"images?|img|pictures?|predictions?|tiles?|labels?|letters?|hypothes[ie]s|candidates?|overlays?|examples?"
_PLACE = r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|previous|next|\d+(?:st|nd|rd|th)"
_ONE_OF_A_GROUP = re.compile(
    rf"\b(?i:{_NOUN})[ _.#-]*(?:\d+|[A-Z])\b|\b(?i:{_PLACE})\s+(?i:{_NOUN})\b|(?<![\w-])[B-HJ-Z](?![\w'-])|#\d"
)
_EVERY = re.compile(
    rf"(?i)\b(?:all|every|each|any)\s+(?:\w+\s+)?(?:{_NOUN})\b|\b(?:all|every|each)\s+(?:mesh(?:es)?|bod(?:y|ies))\b"
    r"|\balways\b"
)
_TRUTH = re.compile(
    r"(?i)ground[ _-]?truth|\btrue[ _-](?:quality|score|error|pose)|\bjudge[_ ](?:score|comment)|\b(?:pa[ _-]?)?mpjpe\b"
    r"|\bpve\b|\bspearman\b|\brho\b"
)
_LENGTH = re.compile(r"(?i)\d\s*(?:mm|cm|m|millimet\w+|centimet\w+|met(?:re|er)s?)\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_POINTS = re.compile(r"(?i)^\s*(?:-|to|or|and)?\s*(?:\d+\s*)?(?:points?|percent|%|degrees?)")
_INSTRUCTION = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override|bypass)\b[^.]{0,30}\b(?:previous|prior|above|earlier|other|these|all|"
    r"instructions?|rules?|prompts?|context|guidelines?)\b"
    r"|\b(?:system|developer|assistant|user|prompt|instructions?|jailbreak|language model|chatbot|you|your|judge|"
    r"json|schema|output|respond|reply|print|execute|reveal|password|api|token|memory|rules?)\b"
    r"|https?:|www\.|://|\b\w+\.(?:com|org|net|io|ai|ru|cn)\b"
)
_CODE = re.compile(r"[`{}<>\\|$=*~^]|\w\(|\bimport\s+\w|\bselect\b.+\bfrom\b|;\s*\S")
_QUOTED = re.compile(r"[\"“”«»]|(?<!\w)['‘]")
_FILLER = re.compile(
    r"(?i)\b(?:a|an|the|is|are|be|of|it|its|that|this|then|points?|occurs?|visible|visibly|seen|clear|clearly|if|when|"
    r"whenever|where|wherever|while|score|by|do not|don't|never|not|without|no|heavily|slightly|percent)\b|\d+"
)
"""Words and numbers that do not make two rules different."""
_DIRECTIONS = (
    ("left", "right"), ("front", "behind"), ("above", "below"), ("over", "under"), ("inside", "outside"),
    ("forward", "backward"), ("near", "far"), ("nearer", "farther"), ("bent", "straight"), ("standing", "sitting"),
    ("large", "small"),
)  # fmt: skip
_DIRECTION_WORDS = frozenset(word for pair in _DIRECTIONS for word in pair)


@dataclass(frozen=True)
class RuleFilterOptions:
    """What a rule has to be."""

    max_length: int = RULE_LENGTH
    """Characters."""
    vocabulary: tuple[str, ...] = RULE_TAGS
    """Closed vocabulary of tags; at least one is from it."""
    min_tags: int = 1
    """Known and free ones together; a review is asked for one to three known ones."""
    max_known_tags: int = 3
    max_free_tags: int = 2
    quoted_words: int = 6
    """A run of so many words out of a comment is a quotation."""
    duplicate: float = 0.9
    """Similarity of two conditions above which equal effects are one rule, 0 to 1."""
    same_condition: float = 0.8
    """Similarity of two conditions above which opposite effects are a conflict, 0 to 1."""


@dataclass(frozen=True)
class ReviewedRule:
    """What the filter says: `reason` is empty where the sentence is accepted.

    `text` is the sentence as it is kept, with plain quotes and dashes. `duplicate_of` is the rule that says the same;
    `conflicts` are those that say the opposite.
    """

    text: str
    tags: tuple[str, ...]
    reason: str = ""
    duplicate_of: str = ""
    conflicts: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it becomes a rule."""
        return not self.reason


def review_rule(
    text: str,
    tags: Sequence[str],
    known: Sequence[Rule] = (),
    *,
    quotable: Sequence[str] = (),
    errors: Sequence[float] = (),
    options: RuleFilterOptions | None = None,
) -> ReviewedRule:
    """Check a mined sentence.

    `known` are the rules of the memory, retired ones too, so that what failed is not mined again. `quotable` are texts
    it must not repeat: comments of the group, words read in the photo. `errors` are the group's, metres.
    """
    options = options or RuleFilterOptions()
    sentence = plain(text)
    tags = tuple(dict.fromkeys(tags))
    reason = (
        refuse_text(text, options)
        or _refuse_numbers(sentence, errors)
        or _refuse_quotation(sentence, quotable, options)
        or _refuse_tags(tags, options)
    )
    if reason:
        return ReviewedRule(sentence, tags, reason)
    twin, opposites = compare_rules(sentence, known, options)
    reason = f"says what rule {twin} says already" if twin else ""
    return ReviewedRule(sentence, tags, reason, twin, opposites)


def refuse_text(text: str, options: RuleFilterOptions | None = None) -> str:
    """Why a sentence by itself is no rule; empty where nothing speaks against it."""
    options, sentence = options or RuleFilterOptions(), plain(text)
    if not sentence or len(sentence) > options.max_length:
        return f"has {counted(len(sentence), 'character')}, expected 1 to {options.max_length}"
    unsafe = refuse_unsafe(text)
    if unsafe:
        return unsafe
    if _QUOTED.search(text):
        return "quotes"
    if _SEVERAL.search(sentence):
        return "is more than one statement"
    if not _CONDITION.search(sentence):
        return "has no condition"
    if not _EFFECT.search(sentence):
        return "has no effect on the score"
    if names_a_prediction(sentence):
        return "names a single prediction"
    if _EVERY.search(sentence):
        return "speaks to every prediction"
    return "needs the truth" if _TRUTH.search(sentence) or _LENGTH.search(sentence) else ""


def refuse_unsafe(text: str) -> str:
    """Why a text must not be shown to a judge at all; empty where nothing speaks against it."""
    if not plain(text).isascii() or any(not c.isprintable() for c in text):
        return "has characters that are not printable or not plain"
    if _INSTRUCTION.search(plain(text)):
        return "may be an instruction to its reader"
    return "may be code" if _CODE.search(plain(text)) else ""


def names_a_prediction(text: str) -> bool:
    """Whether a text speaks of one picture of its group, which is another in every other group."""
    return _ONE_OF_A_GROUP.search(plain(text)) is not None


def plain(text: str) -> str:
    """One spelling: compatibility forms composed, typographic marks replaced, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHIC).split())


def polarity(text: str) -> int:
    """Direction of a rule's effect: +1 spares or raises a score, -1 lowers it, 0 unknown.

    >>> polarity("If a foot floats, deduct 5 points"), polarity("If a foot is hidden, do not deduct points")
    (-1, 1)
    """
    found = _EFFECT.search(text)
    if not found:
        return 0
    sign = -1 if re.fullmatch(_MINUS, found.group(), re.IGNORECASE) else 1
    return -sign if _NEGATION.search(text[: found.start()]) else sign


def compare_rules(
    text: str, known: Sequence[Rule], options: RuleFilterOptions | None = None
) -> tuple[str, tuple[str, ...]]:
    """The rule that says the same (empty for none), and those that say the opposite.

    Conditions are compared, and the direction of the effect; how many points a rule asks for does not make it another.
    """
    options = options or RuleFilterOptions()
    if not known:
        return "", ()
    own, sign = normalised(text), polarity(text)
    alike = text_similarity(_condition(text), [_condition(rule.text) for rule in known])
    twins, opposites = list[str](), list[str]()
    for rule, similar in zip(known, alike, strict=True):
        if normalised(rule.text) == own:
            return rule.id, ()
        if _directions(rule.text) != _directions(text):
            continue
        if sign * polarity(rule.text) < 0:
            opposites += [rule.id] if similar > options.same_condition else []
        elif similar > options.duplicate:
            twins.append(rule.id)
    return (twins[0], ()) if twins else ("", tuple(sorted(opposites)))


def _condition(text: str) -> str:
    """A rule without its effect, negations, numbers, and words that make no difference."""
    return _FILLER.sub(" ", _EFFECT.sub(" ", text))


def _directions(text: str) -> tuple[str, ...]:
    """Direction words in the order in which they come: where they differ, so do the rules."""
    return tuple(word for word in normalised(text).split() if word in _DIRECTION_WORDS)


def _refuse_numbers(sentence: str, errors: Sequence[float]) -> str:
    millimetres = {f"{1000 * error:.0f}" for error in errors}
    for found in _NUMBER.finditer(sentence):
        number, after = found.group(), sentence[found.end() :]
        if "." in number or int(number) > 100:
            return f"has the number {number}, which no score and no angle of a rule needs"
        # Points can equal an error by chance, so only a number without its unit is taken for one.
        if number in millimetres and not _POINTS.match(after):
            return f"has the number {number}, which is an error of this group"
    return ""


def _refuse_quotation(sentence: str, quotable: Sequence[str], options: RuleFilterOptions) -> str:
    words, size = normalised(sentence).split(), options.quoted_words
    runs = {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
    for text in quotable:
        other = normalised(text).split()
        short = len(other) < size and len(other) > 2 and " ".join(other) in " ".join(words)
        if short or runs & {tuple(other[i : i + size]) for i in range(len(other) - size + 1)}:
            return "repeats words of a comment or a photo"
    return ""


def _refuse_tags(tags: Sequence[str], options: RuleFilterOptions) -> str:
    known = [tag for tag in tags if tag in options.vocabulary]
    free = [tag for tag in tags if tag not in options.vocabulary]
    if not known:
        return "has no tag of the vocabulary"
    odd = next((tag for tag in free if not re.fullmatch(r"[a-z][a-z0-9_]{1,31}", tag)), None)
    if odd is not None or any(refuse_unsafe(tag.replace("_", " ")) for tag in free):
        return f"has the tag {(odd or free[0])[:32]!r}, which is no word"
    if len(known) > options.max_known_tags or len(free) > options.max_free_tags or len(tags) < options.min_tags:
        return (
            f"has {counted(len(known), 'tag')} of the vocabulary and {len(free)} of its own; expected "
            f"{options.min_tags} or more, "
            f"at most {options.max_known_tags} and {options.max_free_tags}"
        )
    return ""
