"""What a model may answer about a part of the body (JSON schemas), and how its answer is read.

Servers may ignore a schema without saying so, hence every answer is checked here. What is not seen has no description,
and an answer that gives one all the same is refused: it is a guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from hmralign.vlm.chat import ChatReply
from hmralign.vlm.errors import AnswerError
from hmralign.vlm.structured import Schema, choice, printable, record, structured_answer

Seen = Literal["clearly", "partly", "no"]


@dataclass(frozen=True)
class PartAnswer:
    """One answer about one part."""

    seen: Seen
    text: str
    """Empty where nothing was seen."""


def part_schema(characters: int) -> Schema:
    """How well the part was seen, then what of it."""
    return record({"seen": choice(get_args(Seen)), "description": printable(characters)})


def rewrite_schema(characters: int) -> Schema:
    """The shorter text."""
    return record({"description": printable(characters)})


def parse_part(reply: ChatReply, characters: int) -> PartAnswer:
    """The answer about a part. Raises `AnswerError` for one that cannot be used."""
    value = structured_answer(reply, part_schema(characters))
    text = one_line(value["description"])
    if value["seen"] == "no":
        if text:
            raise AnswerError("the description is of what was said not to be seen", trouble="schema", text=text)
        return PartAnswer("no", "")
    if not re.search(r"[A-Za-z]", text):
        raise AnswerError("the description says nothing", trouble="empty", text=text)
    if len(text) > 2 * characters:
        raise AnswerError("the description is more than twice as long as asked for", trouble="length", text=text)
    return PartAnswer(value["seen"], text)


def parse_rewrite(reply: ChatReply, words: int) -> str:
    """The shorter text. Raises `AnswerError` for one that is empty or has more words than asked for."""
    text = one_line(structured_answer(reply, rewrite_schema(4000))["description"])
    if not re.search(r"[A-Za-z]", text):
        raise AnswerError("the shorter text says nothing", trouble="empty", text=text)
    if (count := len(text.split())) > words:
        raise AnswerError(f"the shorter text has {count} words, asked for were {words}", trouble="schema", text=text)
    return text


def one_line(text: str) -> str:
    """Without line breaks and repeated spaces."""
    return " ".join(text.split())
