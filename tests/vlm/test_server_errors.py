"""Errors inside a body of status 200 count as the HTTP status they name, and are never answers."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.chat import ChatReply, request_key
from hmralign.vlm.completion import read_completion
from hmralign.vlm.errors import ServerError
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from hmralign.vlm.server_errors import error_in_body, trouble_of_status
from support.chat_server import completion, judge_request, read_scores
from support.raw_server import RawServer, good_answer, http

SAID = "Provider returned error"


def in_choice(error, **more):
    body = completion("", finish="error")
    body["choices"][0] |= {"error": error, **more}
    return body


PLACES = {
    "at the top": lambda code: {"error": {"code": code, "message": SAID}},
    "at the top, beside choices": lambda code: completion('{"A": 1}') | {"error": {"code": code, "message": SAID}},
    "as a status": lambda code: {"error": {"status": code, "message": SAID}},
    "beside the error": lambda code: {"error": SAID, "code": code},
    "without an error": lambda code: {"object": "error", "message": SAID, "code": code},
    "in a list": lambda code: [{"error": {"code": code, "message": SAID}}],
    "in the choice": lambda code: in_choice({"code": code, "message": SAID}),
    "beside the error in the choice": lambda code: in_choice(SAID, code=code),
    "in a choice that ended well": lambda code: in_choice({"code": code, "message": SAID}, finish_reason="stop"),
}
WRITTEN = {"number": int, "digits": str, "digits and blanks": " {} ".format, "fraction": float}


@settings(max_examples=150, deadline=None)
@given(status=st.integers(400, 599), place=st.sampled_from(list(PLACES)), written=st.sampled_from(list(WRITTEN)))
def test_a_numeric_code_counts_as_the_http_status(status, place, written):
    raw = json.dumps(PLACES[place](WRITTEN[written](status)))
    with pytest.raises(ServerError, match=SAID) as caught:
        read_completion(raw)
    assert (caught.value.status, caught.value.trouble) == (status, trouble_of_status(status, raw))
    assert caught.value.slow_down == (status in (408, 429, 504))


@pytest.mark.parametrize(
    ("word", "trouble"),
    [
        ("insufficient_quota", "account"), ("invalid_api_key", "account"), ("model_not_found", "account"),
        ("rate_limit_exceeded", "rate_limit"), ("RESOURCE_EXHAUSTED", "rate_limit"),
        ("context_length_exceeded", "request"), ("overloaded_error", "server"), ("something_else", "server"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["code", "type", "status"])
def test_words_count_as_the_status_they_stand_for(word, trouble, field):
    with pytest.raises(ServerError) as caught:
        read_completion(json.dumps({"error": {field: word, "message": SAID}}))
    assert caught.value.trouble == trouble


@settings(max_examples=100, deadline=None)
@given(
    code=st.one_of(
        st.none(), st.integers(max_value=399), st.integers(min_value=600), st.booleans(), st.text(max_size=5),
        st.floats(), st.lists(st.integers(), max_size=2),
    ),
    place=st.sampled_from([place for place in PLACES if place != "without an error"]),
)  # fmt: skip
def test_an_error_without_such_a_code_is_an_error_all_the_same(code, place):
    with pytest.raises(ServerError) as caught:
        read_completion(json.dumps(PLACES[place](code)))
    assert caught.value.status is not None and 400 <= caught.value.status <= 599


def test_a_choice_that_ended_with_an_error_is_one_though_it_has_words():
    for finish in ("error", "ERROR"):
        with pytest.raises(ServerError) as caught:
            read_completion(json.dumps(completion('{"A": 1}', finish=finish)))
        assert caught.value.trouble == "server"


@pytest.mark.parametrize("nothing", [None, {}, "", False, []])
def test_a_field_for_errors_that_is_empty_is_none(nothing):
    body = completion('{"A": 1}') | {"error": nothing, "code": 500}
    body["choices"][0]["error"] = nothing
    assert read_completion(json.dumps(body)).text == '{"A": 1}'
    assert error_in_body(body) is None


# -- asked -------------------------------------------------------------------------------------------------------------


def run(server, journal, count=1, **limits):
    backend = OpenAIChat(OpenAIServer(server.address, "m", timeout=20.0))
    questions = [Question(judge_request(10 * n), read_scores()) for n in range(count)]
    fields = {"first_wait": 0.001, "server_attempts": 3, "answer_attempts": 2, "concurrency": 2} | limits
    return asyncio.run(ask_all(backend, journal, questions, Limits(**fields)))


def told(status, how):
    """An error with that code as an HTTP status, or inside a body of status 200."""
    body = json.dumps({"error": {"code": status, "message": SAID}} if how != "in the choice" else PLACES[how](status))
    return http(body.encode(), status="200 OK" if how != "by HTTP" else f"{status} No")


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "calls.sqlite") as journal:
        yield journal


@pytest.mark.parametrize("how", ["by HTTP", "in the body", "in the choice"])
@pytest.mark.parametrize("status", [401, 402, 404])
def test_what_concerns_every_request_stops_the_run_however_it_is_told(journal, how, status):
    with RawServer(lambda _: [told(status, how)]) as server:
        with pytest.raises(ServerError, match=SAID) as caught:
            run(server, journal, 30)
        assert caught.value.trouble == "account" and len(server.requests) <= 2


@pytest.mark.parametrize("how", ["by HTTP", "in the body", "in the choice"])
@pytest.mark.parametrize(("status", "calls"), [(429, 3), (502, 3), (400, 1), (413, 1)])
def test_other_errors_are_repeated_or_not_however_they_are_told(journal, how, status, calls):
    with RawServer(lambda _: [told(status, how)]) as server:
        (result,) = run(server, journal)
        assert isinstance(result, Failed) and result.trouble == trouble_of_status(status, "")
        assert len(server.requests) == calls
    assert [a.status for a in journal.attempts(result.key)] == ["error"] * calls


def test_the_time_that_a_header_names_holds_for_an_error_in_the_body(journal):
    body = http(json.dumps(PLACES["at the top"](429)).encode(), "Retry-After: 86400")
    with RawServer(lambda _: [body]) as server:
        (result,) = run(server, journal)
        assert isinstance(result, Failed) and result.trouble == "rate_limit" and len(server.requests) == 1


def test_when_the_provider_is_well_again_the_next_run_asks_once(journal):
    with RawServer(lambda number: [told(502, "in the choice") if number < 3 else good_answer()]) as server:
        (down,), (well,) = run(server, journal), run(server, journal)
        assert isinstance(down, Failed) and isinstance(well, Answered) and (down.calls, well.calls) == (3, 1)


def test_errors_that_an_earlier_version_kept_as_answers_are_no_attempts(journal):
    request, raw = judge_request(), json.dumps(PLACES["in the choice"](502))
    key = request_key("m", request)
    for _ in range(2):
        kept = ChatReply("", finish_reason="other", raw=raw)
        journal.record(key, request, model="m", status="invalid", sent=1.0, done=2.0, reply=kept)
    with RawServer(lambda _: [good_answer()]) as server:
        (result,) = run(server, journal)
        assert isinstance(result, Answered) and len(server.requests) == 1
