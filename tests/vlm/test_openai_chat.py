import asyncio
import builtins
import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from hmralign.structures import InputError
from hmralign.vlm.asking import Answered, Question, ask_all
from hmralign.vlm.chat import ChatBackend, ChatRequest, ImagePart, TextPart, Usage, request_key
from hmralign.vlm.errors import RemoteRefused, ServerError
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer, _retry_after, is_loopback
from support.chat_server import KEY, ChatServer, judge_request, picture, pictures, read_scores


def complete(server, request=None, **changes):
    return asyncio.run(OpenAIChat(OpenAIServer(server.address, "stub", **changes)).complete(request or judge_request()))


def test_a_request_has_the_fields_that_every_server_takes():
    request = judge_request(max_tokens=77, temperature=0.5, top_p=0.9, seed=3)
    with ChatServer() as server:
        reply = complete(server, request)
    (body,) = server.requests
    assert set(body) == {
        "model", "messages", "temperature", "top_p", "max_tokens", "seed", "response_format",
    }  # fmt: skip
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (77, 0.5, 0.9, 3)
    assert body["response_format"]["json_schema"]["schema"] == request.schema
    assert body["response_format"]["json_schema"]["strict"] is True
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Judge."}
    assert [p["type"] for p in user["content"]] == ["text", "image_url"] * 3
    assert pictures(body) == [picture(i) for i in range(3)]
    assert reply.usage == Usage(900, 50, 100) and reply.model == "stub" and reply.fingerprint == "stub-1"
    assert '"finish_reason": "stop"' in reply.raw and isinstance(
        OpenAIChat(OpenAIServer(server.address, "m")), ChatBackend
    )


def test_options_of_one_server_are_sent_beside_the_others():
    request = ChatRequest(
        "", (TextPart("hi"), ImagePart(picture(0), "http://files/0.jpg")), seed=None, extra={"top_k": 3}
    )
    server = OpenAIServer(
        "http://localhost:1/v1", "m", pictures="address", schema_field="none", limit_field="max_completion_tokens"
    )
    body = OpenAIChat(server).body(request)
    assert body["extra_body"] == {"top_k": 3} and "seed" not in body and "max_tokens" not in body
    assert body["max_completion_tokens"] == request.max_tokens and len(body["messages"]) == 1
    assert body["messages"][0]["content"][1]["image_url"]["url"] == "http://files/0.jpg"
    assert "response_format" not in OpenAIChat(server).body(judge_request())


def test_what_was_sent_says_under_which_name_and_the_question_does_not(tmp_path):
    question = Question(judge_request(), read_scores())
    with ChatServer() as server, Journal.open(tmp_path / "j") as journal:

        def ask(**more):
            backend = OpenAIChat(OpenAIServer(server.address, "m", **more))
            return asyncio.run(ask_all(backend, journal, [question]))[0]

        first = ask(limit_field="max_completion_tokens")
        assert isinstance(first, Answered) and ask().calls == 0, "an answer is one however it was asked for"
        (attempt,) = journal.attempts(first.key)
        assert server.requests[0]["max_completion_tokens"] == attempt.params["max_completion_tokens"] == 300
    assert "max_tokens" not in server.requests[0] and "max_tokens" not in attempt.params
    assert first.key == request_key("m", question.request) != attempt.request_hash
    assert attempt.request_hash == request_key("m", replace(question.request, limit_field="max_completion_tokens"))


def test_keys_of_questions_are_those_of_earlier_versions():
    request = ChatRequest("s", (TextPart("t"),), schema={"a": 1}, max_tokens=7)
    assert request_key("m", request) == "cb70b3bc5c131f433e4bad059e174c96d2fa9ad8f7028fa0a3d55a07b99d3827"


def test_a_server_without_keys_is_asked_without_one(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MY_KEY", KEY)
    with ChatServer() as server:
        complete(server)
        complete(server, key_variable="MY_KEY")
    assert [KEY in headers["authorization"] for headers in server.headers] == [False, True]


@pytest.mark.parametrize(
    ("fault", "trouble", "retryable"),
    [
        ("crash", "server", True), ("busy", "rate_limit", True), ("unauthorised", "account", False),
        ("too_large", "request", False), ("garbage", "body", True), ("redirect", "account", False),
    ],
)  # fmt: skip
def test_each_request_is_sent_once_and_an_error_says_what_to_do(fault, trouble, retryable):
    with ChatServer(always=fault) as server:
        with pytest.raises(ServerError) as caught:
            complete(server)
        assert len(server.requests) == 1
    assert caught.value.trouble == trouble and caught.value.retryable == retryable


def test_a_server_that_hangs_or_trickles_is_left():
    with ChatServer(always="hang") as server:
        begun = time.monotonic()
        with pytest.raises(ServerError, match=r"within 0\.2 s"):
            complete(server, timeout=0.2)
        assert time.monotonic() - begun < 5


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer() as server:
        assert complete(server, timeout=10.0).text


def test_one_backend_serves_several_event_loops():
    with ChatServer() as server:
        backend = OpenAIChat(OpenAIServer(server.address, "stub"))
        assert [asyncio.run(backend.complete(judge_request())).text != "" for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(
    "address",
    [
        "http://192.168.1.5:8000/v1", "http://10.0.0.1/v1", "https://api.example.com/v1", "http://0.0.0.0:8000/v1",
        "http://localhost.example.com/v1", "http://127.0.0.1.example.com/v1", "http://[fd00::1]:8000/v1",
        "http://2130706433/v1", "http://server:8000/v1",
    ],
)  # fmt: skip
def test_another_machine_is_refused_without_leave(address):
    with pytest.raises(RemoteRefused, match="--allow-remote"):
        OpenAIServer(address, "m")
    assert OpenAIServer(address, "m", allow_remote=True).base_url == address


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1"])
def test_this_machine_needs_no_leave(host):
    assert is_loopback(host)
    OpenAIServer(f"http://{f'[{host}]' if ':' in host else host}:8000/v1", "m")


@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://localhost/v1", "", "http://", "http://localhost:x/v1"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match="no address"):
        OpenAIServer(address, "m")


@pytest.mark.parametrize("secret", ["http://me:sk-12345678@localhost/v1", "http://localhost/v1?key=sk-12345678"])
def test_a_key_in_the_address_is_refused_and_not_repeated(secret):
    with pytest.raises(InputError, match="environment") as caught:
        OpenAIServer(secret, "m")
    assert "sk-12345678" not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "openai":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"hmralign\[vlm\]"):
        OpenAIChat(OpenAIServer("http://localhost/v1", "m"))


def test_the_time_a_server_asks_for_is_read():
    assert _retry_after({"retry-after": "7"}) == 7.0
    assert _retry_after({"retry-after-ms": "1500", "retry-after": "7"}) == 1.5
    assert _retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=3)
    assert _retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0.0
    for value in ("soon", "-1", "inf", "nan", ""):
        assert _retry_after({"retry-after": value}) is None
