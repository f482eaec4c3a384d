import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.vlm.chat import ChatReply, Usage
from hmralign.vlm.completion import read_completion, write_completion
from hmralign.vlm.errors import ServerError

COUNTS = st.none() | st.integers(0, 10**6)


@settings(derandomize=True, deadline=None)
@given(
    st.text(), st.sampled_from(["stop", "length", "refusal", "other"]), st.builds(Usage, COUNTS, COUNTS, COUNTS),
    st.text(max_size=5),
)  # fmt: skip
def test_what_is_written_reads_the_same(text, finish, usage, name):
    reply = ChatReply(text, finish, usage, name, name)
    if not text.strip():
        text = ""
    back = read_completion(write_completion(reply))
    assert (back.text, back.finish_reason, back.usage, back.model, back.fingerprint) == (
        text,
        finish,
        usage,
        name,
        name,
    )


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_an_answer_in_the_wrong_place_is_found_but_content_goes_first(name):
    for content, text in ((None, "b"), ("", "b"), (" \n", "b"), ("a", "a")):
        body = {"choices": [{"message": {"content": content, name: "b"}, "finish_reason": "stop"}]}
        assert read_completion(json.dumps(body)).text == text


@pytest.mark.parametrize("finish", ["abort", "tool_calls", "load", "unknown", 3, {}, [], False])
def test_an_unknown_end_is_no_good_end(finish):
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": finish}], "usage": {"prompt_tokens": -3}}
    reply = read_completion(json.dumps(body))
    assert reply.finish_reason == "other" and reply.usage == Usage()


@pytest.mark.parametrize(
    "raw", ["", "null", "[]", "{}", '{"choices": []}', '{"choices": [3]}', '{"choices": [{}]}', "<html>"]
)
def test_what_is_no_completion_may_be_asked_for_again(raw):
    with pytest.raises(ServerError) as caught:
        read_completion(raw)
    assert caught.value.trouble == "body" and caught.value.retryable
