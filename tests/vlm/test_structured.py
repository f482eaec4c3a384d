import json
from enum import Enum
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatReply
from hmralign.vlm.errors import AnswerError
from hmralign.vlm.structured import (
    array,
    breaches,
    check_portable,
    choice,
    integer,
    portable_schema,
    printable,
    read_json,
    record,
    structured_answer,
)

SCHEMA = record({"A": record({"comment": printable(20), "score": integer(0, 100)})})
GOOD = {"A": {"comment": "fits {well}", "score": 7}}


class Side(Enum):
    left = "left"
    right = "right"


class Mark(BaseModel):
    side: Side
    text: str = Field(max_length=40)


class Sheet(BaseModel):
    marks: list[Mark] = Field(min_length=1, max_length=3)
    score: int = Field(ge=0, le=100)
    kind: Literal["sure", "unsure"] = "unsure"


def test_a_pydantic_model_is_inlined_into_the_subset():
    schema = portable_schema(Sheet)
    assert "$" not in json.dumps(schema) and schema["required"] == ["marks", "score", "kind"]
    assert schema["properties"]["marks"] == array(
        record({"side": choice(["left", "right"]), "text": {"type": "string", "maxLength": 40}}), 1, 3
    )
    good = {"marks": [{"side": "left", "text": "x"}], "score": 3, "kind": "sure"}
    assert breaches(good, schema) == [] and Sheet(**good)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field(ge=0), "maximum"), (Field(), "minimum"), (Field(gt=0, lt=3), "exclusive"),
    ],
)  # fmt: skip
def test_what_is_not_bounded_is_refused_by_name(field, message):
    class Open(BaseModel):
        score: int = field

    with pytest.raises(InputError, match=rf"answer\.score.*{message}"):
        portable_schema(Open)


def test_other_forms_outside_the_subset_are_refused():
    class Optional(BaseModel):
        note: str | None = Field(max_length=3)

    class Free(BaseModel):
        scores: dict[str, int]

    class Node(BaseModel):
        child: "Node"

    for model in (Optional, Free, Node):
        with pytest.raises(InputError):
            portable_schema(model)
    for schema in ({"type": "string"}, {"type": "string", "pattern": "a", "maxLength": 3}, {"type": "number"}):
        with pytest.raises(InputError):
            check_portable(schema)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"\n {json.dumps(GOOD, indent=2)} \n",
        f"<think>is it {{A}}?</think>{json.dumps(GOOD)}",
        f"so it is {{A}}</think>\n{json.dumps(GOOD)}",
        f"```json\n{json.dumps(GOOD)}\n```",
        f"Here you are:\n```\n{json.dumps(GOOD)}\n```\nGood luck!",
        f"Here you are: {json.dumps(GOOD)} Good luck!",
        f"{json.dumps(GOOD)}\n{json.dumps(GOOD)}",
    ],
)
def test_the_ladder_changes_no_value(text):
    assert read_json(text) == GOOD


def test_raw_control_characters_are_read():
    assert read_json('{"A": "one\ttwo\nthree"}') == {"A": "one\ttwo\nthree"}


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("A is best, 80", "json"), ('{"A": 1', "json"), ('{"A": 1}{"A": 2}', "json"), ('{"A": NaN}', "json"),
        ('{"A": 1, "A": 2}', "labels"), ('{"x": {"A": 1, "A": 1}}', "labels"), ("<think>{}", "schema"),
        ("[" * 100_000, "json"), ('{"A": 1,}', "json"),
    ],
)  # fmt: skip
def test_what_would_have_to_be_guessed_is_refused(text, trouble):
    with pytest.raises(AnswerError) as caught:
        structured_answer(ChatReply(text), SCHEMA)
    assert caught.value.trouble == trouble and len(str(caught.value)) < 600


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 100))
def test_a_value_survives_any_words_around_it_or_is_refused(before, after, score):
    value = {"A": {"comment": before, "score": score}}
    try:
        assert structured_answer(ChatReply(f"{before}{json.dumps(value)}{after}"), SCHEMA) == value
    except AnswerError:
        pass


@settings(derandomize=True, deadline=None)
@given(st.integers(1, len(json.dumps(GOOD)) - 1))
def test_no_beginning_of_an_answer_is_an_answer(cut):
    with pytest.raises(AnswerError):
        structured_answer(ChatReply(json.dumps(GOOD)[:cut]), SCHEMA)


@pytest.mark.parametrize("finish", ["length", "refusal", "other"])
def test_a_stopped_answer_is_not_read_even_if_it_looks_complete(finish):
    with pytest.raises(AnswerError):
        structured_answer(ChatReply(json.dumps(GOOD), finish_reason=finish), SCHEMA)


@pytest.mark.parametrize(
    ("value", "breach"),
    [
        ({}, "answer.A is missing"), ({"A": GOOD["A"], "B": 1}, "1 key that"), ({"A": 3}, "not an object"),
        ({"A": {"comment": "", "score": 101}}, "outside 0 to 100"), ({"A": {"comment": "", "score": True}}, "whole"),
        ({"A": {"comment": "", "score": 3.0}}, "whole"), ({"A": {"comment": None, "score": 3}}, "not a text"),
    ],
)  # fmt: skip
def test_a_breach_is_named(value, breach):
    assert breach in "; ".join(breaches(value, SCHEMA))


def test_the_wording_of_a_comment_is_judged_only_on_request():
    value = {"A": {"comment": "a “quoted” word — and far more than twenty characters", "score": 3}}
    assert breaches(value, SCHEMA) == [] and breaches(value, SCHEMA, wording=True)
    assert breaches(GOOD, SCHEMA, wording=True) == []


def test_lists_and_words_are_bounded():
    schema = array(choice(["a", "b"]), 1, 2)
    assert breaches(["a", "b"], schema) == []
    assert breaches([], schema) and breaches(["a"] * 3, schema) and breaches(["c"], schema) and breaches("a", schema)
    assert breaches(True, {"type": "boolean"}) == [] and breaches(1, {"type": "boolean"})
