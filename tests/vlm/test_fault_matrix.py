"""Every fault of a server, and what must come of it: the right scores, or none with a reason. Never others."""

import asyncio

import pytest

from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.errors import ServerError
from hmralign.vlm.image_tokens import ImageGrid
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from support.chat_server import KEY, ChatServer, judge_request, read_scores, true_scores

LIMITS = Limits(first_wait=0.01, server_attempts=3, answer_attempts=2, check_pictures=ImageGrid(), concurrency=2)

# fault -> (status in the journal, trouble of a question that always meets it)
NO_ANSWER = {
    "rate_limit": "rate_limit", "busy": "rate_limit", "crash": "server", "hang": "timeout",
    "half_body": "connection", "garbage": "body", "no_choices": "body",
}  # fmt: skip
UNUSABLE = {
    "whitespace": ("invalid", "length"), "cut": ("invalid", "length"), "cut_after_all": ("invalid", "length"),
    "missing_label": ("invalid", "schema"), "foreign_label": ("invalid", "schema"),
    "out_of_range": ("invalid", "schema"), "score_as_text": ("invalid", "schema"), "no_score": ("invalid", "schema"),
    "duplicate_label": ("invalid", "labels"), "prose": ("invalid", "json"), "two_answers": ("invalid", "json"),
    "empty": ("invalid", "empty"), "refusal": ("refused", "refusal"), "filtered": ("refused", "refusal"),
    "few_tokens": ("invalid", "prompt_cut"),
}  # fmt: skip
HARMLESS = ("wrong_order", "fenced", "control_characters", "reasoning", "no_usage")
HOPELESS_REQUEST = {"too_large": "request", "long_wait": "rate_limit"}
HOPELESS_RUN = ("quota", "unauthorised", "redirect")


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "calls.sqlite") as journal:
        yield journal


def ask(server, journal, count=1, limits=LIMITS):
    """`count` questions about different pictures; the first meets the fault."""
    backend = OpenAIChat(OpenAIServer(server.address, "stub", timeout=0.4 if "hang" in faults_of(server) else 20.0))
    questions = [Question(judge_request(10 * i), read_scores()) for i in range(count)]
    return asyncio.run(ask_all(backend, journal, questions, limits))


def faults_of(server):
    return [*server.faults, server.always]


def statuses(journal, key):
    return [attempt.status for attempt in journal.attempts(key)]


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_where_no_answer_came_the_same_request_is_sent_again(fault, journal):
    with ChatServer(faults=[fault]) as server:
        (result,) = ask(server, journal)
        assert isinstance(result, Answered) and result.value == true_scores() and result.calls == 2
        assert server.requests[0] == server.requests[1]
    assert statuses(journal, result.key) == ["error", "ok"]


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_where_no_answer_ever_comes_the_question_fails_with_its_reason(fault, journal):
    with ChatServer(always=fault) as server:
        (result,) = ask(server, journal)
        assert isinstance(result, Failed) and result.trouble == NO_ANSWER[fault] and result.reason
        assert len(server.requests) == result.calls == LIMITS.server_attempts
    assert statuses(journal, result.key) == ["error"] * 3 and journal.answer(result.key) is None


@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_answer_that_cannot_be_used_is_asked_for_again_with_another_seed(fault, journal):
    with ChatServer(faults=[fault]) as server:
        (result,) = ask(server, journal)
        assert isinstance(result, Answered) and result.value == true_scores() and result.calls == 2
        first, second = server.requests
        assert first["seed"] != second["seed"] and first["temperature"] < second["temperature"]
        repaired = UNUSABLE[fault][1] in ("json", "schema", "labels")
        assert (len(second["messages"][-1]["content"]) > len(first["messages"][-1]["content"])) == repaired
    assert statuses(journal, result.key) == [UNUSABLE[fault][0], "ok"]


@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_answer_that_can_never_be_used_gives_no_score(fault, journal):
    with ChatServer(always=fault) as server:
        (result,) = ask(server, journal)
        assert isinstance(result, Failed) and result.trouble == UNUSABLE[fault][1] and result.reason
        assert len(server.requests) == result.calls == LIMITS.answer_attempts
        again = ask(server, journal)[0]
        assert isinstance(again, Failed) and again.calls == 0 and again.trouble == result.trouble
        assert len(server.requests) == 2, "attempts that were paid for are not made again"
    assert statuses(journal, result.key) == [UNUSABLE[fault][0]] * 2 and journal.answer(result.key) is None


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_can_be_read_without_changing_it_is_read(fault, journal):
    with ChatServer(always=fault) as server:
        (result,) = ask(server, journal)
        assert isinstance(result, Answered) and result.value == true_scores() and result.calls == 1
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", HOPELESS_REQUEST)
def test_a_request_that_will_never_be_answered_is_sent_once_and_the_others_go_on(fault, journal):
    with ChatServer(faults=[fault]) as server:
        results = ask(server, journal, count=4, limits=Limits(concurrency=1, server_attempts=3))
        assert [type(r) for r in results] == [Failed, Answered, Answered, Answered]
        assert results[0].trouble == HOPELESS_REQUEST[fault] and len(server.requests) == 4
        assert [r.value for r in results[1:]] == [true_scores(10 * i) for i in (1, 2, 3)]


@pytest.mark.parametrize("fault", HOPELESS_RUN)
def test_what_concerns_every_request_stops_the_run_at_once(fault, journal, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatServer(always=fault) as server:
        with pytest.raises(ServerError) as caught:
            ask(server, journal, count=9)
        assert len(server.requests) <= LIMITS.concurrency and caught.value.trouble == "account"


def test_a_server_that_is_gone_stops_the_run(journal):
    with ChatServer() as server:
        address = server.address
    backend = OpenAIChat(OpenAIServer(address, "stub"))
    questions = [Question(judge_request(i), read_scores()) for i in range(50)]
    limits = Limits(first_wait=0.001, server_attempts=2, failures_in_a_row=3, concurrency=1)
    with pytest.raises(ServerError, match="no connection"):
        asyncio.run(ask_all(backend, journal, questions, limits))
    assert journal.spent().calls == 6


def test_many_questions_through_a_bad_server_all_get_their_own_scores(journal):
    every = [*NO_ANSWER, *UNUSABLE, *HARMLESS]
    faults = [f for f in every if f not in ("hang", "half_body")] + [None] * 5
    with ChatServer(faults=faults) as server:
        limits = Limits(first_wait=0.01, answer_attempts=8, server_attempts=8, check_pictures=ImageGrid())
        results = ask(server, journal, count=20, limits=limits)
    assert [r.value for r in results] == [true_scores(10 * i) for i in range(20)]
