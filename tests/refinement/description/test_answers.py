"""Answers about a part are checked in full; nothing that is missing is filled in."""

import json

import pytest

from hmralign.refinement.description.answers import PartAnswer, parse_part, parse_rewrite
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.errors import AnswerError


def reply(**values):
    return ChatReply(json.dumps(values))


def test_what_was_seen_and_what_of_it():
    said = parse_part(reply(seen="partly", description=" The elbow\n is  bent. "), 200)
    assert said == PartAnswer("partly", "The elbow is bent.")
    assert parse_part(reply(seen="no", description=""), 200) == PartAnswer("no", "")


@pytest.mark.parametrize(
    ("wrong", "trouble"),
    [
        ({"seen": "no", "description": "The hand is behind the back."}, "schema"),
        ({"seen": "clearly", "description": ""}, "empty"),
        ({"seen": "clearly", "description": "..."}, "empty"),
        ({"seen": "maybe", "description": "bent"}, "schema"),
        ({"description": "bent"}, "schema"),
        ({"seen": "clearly", "description": "bent", "note": "x"}, "schema"),
        ({"seen": "clearly", "description": ["bent"]}, "schema"),
        ({"seen": "clearly", "description": "bent " * 100}, "length"),
    ],
)
def test_answers_that_cannot_be_used(wrong, trouble):
    with pytest.raises(AnswerError) as raised:
        parse_part(reply(**wrong), 200)
    assert raised.value.trouble == trouble


def test_a_cut_answer_is_never_read_in_part():
    with pytest.raises(AnswerError, match="cut"):
        parse_part(ChatReply('{"seen": "clearly", "description": "bent"}', finish_reason="length"), 200)


def test_a_shorter_text_has_to_be_shorter():
    assert parse_rewrite(reply(description="Arms\nhang."), 3) == "Arms hang."
    for wrong, words in (({"description": "one two three four"}, "4 words"), ({"description": " "}, "nothing")):
        with pytest.raises(AnswerError, match=words):
            parse_rewrite(reply(**wrong), 3)
