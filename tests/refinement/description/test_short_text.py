"""Texts are cut to what an encoder takes, and nothing new is said on the way."""

import json

import pytest

from hmralign.language.reading import read_text
from hmralign.refinement.description.short_text import ShortText, TextBudget, rewrite_reader, truncated
from hmralign.structures import InputError
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.errors import AnswerError

LONG = read_text("The left hand is on the right knee. The trunk leans forward. The legs are crossed.")


def test_a_text_within_the_budget_stays_whole_and_a_longer_one_is_cut_at_a_word():
    assert truncated("one two three", TextBudget(5)) == ShortText("one two three", "whole")
    found = truncated("one two three four five six seven", TextBudget(5))
    assert found == ShortText("one two three four five", "truncated", 2)
    assert found.note is not None and "last 2 words" in found.note and ShortText("a", "whole").note is None


def test_the_encoders_own_count_decides_where_it_has_one():
    budget = TextBudget(77, count_tokens=lambda text: 2 + len(text), tokens=12)
    assert truncated("aaaa bbbb cccc", budget) == ShortText("aaaa bbbb", "truncated", 1)
    with pytest.raises(InputError, match="not even the first word"):
        truncated("a" * 50, budget)
    with pytest.raises(InputError, match="at least 5 and 8"):
        TextBudget(words=3)


def reply(text):
    return ChatReply(json.dumps({"description": text}))


def test_a_rewriting_that_says_less_is_taken():
    read = rewrite_reader(LONG, TextBudget(12))
    assert read(reply("Left hand on the right knee, legs crossed.")) == "Left hand on the right knee, legs crossed."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Right hand on the left knee, legs crossed.", "right hand on left knee"),
        (
            "Left hand on the right knee, the trunk leans forward, and the right arm is stretched out to the side.",
            "words",
        ),
        ("Legs crossed, right elbow bent sharply.", "right elbow"),
    ],
)
def test_a_rewriting_that_is_long_or_says_something_new_is_not(text, words):
    with pytest.raises(AnswerError, match=words):
        rewrite_reader(LONG, TextBudget(12))(reply(text))


def test_tokens_count_for_rewritings_too():
    budget = TextBudget(77, count_tokens=len, tokens=20)
    with pytest.raises(AnswerError, match="tokens"):
        rewrite_reader(LONG, budget)(reply("Left hand on the right knee."))
