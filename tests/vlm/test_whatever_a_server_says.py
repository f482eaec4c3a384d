"""Whatever comes back from a server ends in an answer or in an error with a row in the journal, soon, little memory."""

import asyncio
import gzip
import itertools
import json
import time
import zlib
from email.utils import formatdate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.chat import ChatReply, ChatRequest, TextPart
from hmralign.vlm.errors import AnswerError, ServerError
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer, _retry_after
from hmralign.vlm.structured import integer, printable, record, structured_answer
from support.chat_server import completion
from support.limits import most_memory
from support.raw_server import RawServer, http

SCHEMA = record({"A": record({"comment": printable(60), "score": integer(0, 100)})})
GOOD = json.dumps({"A": {"comment": "fits {well}", "score": 70}})
LIMITS = Limits(first_wait=0.001, longest_wait=0.01, server_attempts=2, answer_attempts=2, concurrency=1)
HANGS = pytest.mark.timeout(120, method="thread")


def question(number=0):
    request = ChatRequest("Judge.", (TextPart(f"tile {number}"),), schema=SCHEMA, max_tokens=100)
    return Question(request, lambda reply: structured_answer(reply, SCHEMA))


class Talk:
    """One server, one journal, one event loop for many questions."""

    def __init__(self, server, journal):
        self.server, self.journal, self.loop = server, journal, asyncio.new_event_loop()
        self.backends, self.count = {}, 0

    def ask(self, timeout=20.0, **more):
        """Result and journal rows of one question; a run that ends has to have its reason in the journal."""
        settings = (timeout, *more.items())
        if settings not in self.backends:
            self.backends[settings] = OpenAIChat(OpenAIServer(self.server.address, "m", timeout=timeout, **more))
        sent, kept, self.count = len(self.server.requests), self.journal.spent().calls, self.count + 1
        run = ask_all(self.backends[settings], self.journal, [question(self.count)], LIMITS)
        try:
            (result,) = self.loop.run_until_complete(run)
        except ServerError as error:
            result = error
        rows = self.journal._connection.execute("SELECT status, reason FROM call WHERE rowid > ?", (kept,)).fetchall()
        assert len(rows) == len(self.server.requests) - sent
        return result, rows

    def close(self):
        for backend in self.backends.values():
            self.loop.run_until_complete(backend.close())
        self.loop.close()


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "calls.sqlite"
    with RawServer(lambda number: []) as server, Journal.open(path) as journal:
        journal._connection.execute("PRAGMA synchronous = OFF")  # nothing is killed here
        talk = Talk(server, journal)
        yield talk
        talk.close()


def always(talk, *pieces):
    talk.server.answer = lambda number: pieces


# -- how an answer ends ------------------------------------------------------------------------------------------------

ENDED = [
    "stop", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "STOP", "FINISH_REASON_STOP", "End-Turn", None,
]  # fmt: skip
NOT_ENDED = ["length", "max_tokens", "MAX_TOKENS", "content_filter", "SAFETY", "tool_calls", "abort", "unknown", "tok"]


@pytest.mark.parametrize("reason", [*ENDED, "missing", ""])
def test_words_for_an_end_and_none_at_all_let_a_whole_answer_through(talk, reason):
    body = completion(GOOD, finish=reason)
    if reason == "missing":
        del body["choices"][0]["finish_reason"]
    always(talk, http(json.dumps(body).encode()))
    result, rows = talk.ask()
    assert isinstance(result, Answered) and result.value["A"]["score"] == 70 and rows == [("ok", "")]


@pytest.mark.parametrize("reason", NOT_ENDED)
def test_other_ends_stay_refused_however_whole_the_answer_looks(talk, reason):
    always(talk, http(json.dumps(completion(GOOD, finish=reason)).encode()))
    result, rows = talk.ask()
    assert isinstance(result, Failed) and {status for status, _ in rows} <= {"invalid", "refused"} and len(rows) == 2


@settings(max_examples=60, deadline=None)
@given(
    kept=st.integers(0, len(GOOD) - 1), before=st.sampled_from(["", "I think: ", "```json\n"]),
    behind=st.sampled_from(["", " ", "\n", " and B"]),
)  # fmt: skip
def test_a_cut_answer_of_a_server_that_gives_no_reason_is_refused(kept, before, behind):
    with pytest.raises(AnswerError) as caught:
        structured_answer(ChatReply(before + GOOD[:kept] + behind, finish_reason="unsaid"), SCHEMA)
    assert caught.value.trouble in ("length", "empty")


def test_of_an_answer_without_a_reason_only_whole_json_that_follows_the_schema_is_taken():
    for text in (f"\n{GOOD} ", f"<think>{{}}</think>\n```json\n{GOOD}\n```"):
        assert structured_answer(ChatReply(text, finish_reason="unsaid"), SCHEMA)["A"]["score"] == 70
    for text in ("70", '"A"', "[]", f"{GOOD} or so", f"So: {GOOD}", f"{GOOD}{GOOD}"):
        with pytest.raises(AnswerError, match="does not say why"):
            structured_answer(ChatReply(text, finish_reason="unsaid"), SCHEMA)
    with pytest.raises(AnswerError, match="missing"):
        structured_answer(ChatReply('{"A": {"comment": ""}}', finish_reason="unsaid"), SCHEMA)


# -- anything at all ---------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["stop", "error", "429", "\ud800", GOOD, 10**400, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "error", "message", "content", "code", "usage", "model", "finish_reason", "refusal",
                         "prompt_tokens", "reasoning", "type"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
BODIES = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda choice: json.dumps({"choices": [choice]}).encode(), JSON),
    st.builds(lambda text: json.dumps(completion(text)).encode(), st.text(max_size=40) | JSON.map(json.dumps)),
    st.builds(
        lambda key, value: json.dumps(completion(GOOD) | {key: value}).encode(),
        st.sampled_from(["usage", "model", "system_fingerprint", "error", "id"]), JSON,
    ),
    st.binary(max_size=60),
)  # fmt: skip
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20).map(
    str.strip
)
HEADERS = st.lists(
    st.one_of(
        st.builds("Content-Type: application/json; charset={}".format, st.sampled_from(
            ["utf-8", "utf-16", "hex", "base64", "zlib", "rot13", "idna", "undefined", "nonsense", "\xe9", ""])),
        st.builds("Content-Type: {}".format, HEADER),
        st.builds("Content-Encoding: {}".format, st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", ""])),
        st.builds("Retry-After: {}".format, HEADER),
        st.builds("Retry-After-Ms: {}".format, HEADER),
        st.builds("Location: {}".format, HEADER),
    ),
    max_size=3,
)  # fmt: skip
STATUS = st.sampled_from([200] * 6 + [201, 204, 299, 301, 304, 307, 400, 401, 418, 429, 500, 503, 599, 600, 999])


@HANGS
@settings(max_examples=120, deadline=None)
@given(body=BODIES, headers=HEADERS, status=STATUS)
@example(body=b"[" * 100_000, headers=[], status=200)
@example(body=b'{"a":' * 100_000, headers=[], status=500)
@example(body=json.dumps(completion('{"A":' * 50_000)).encode(), headers=[], status=200)
@example(body=b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}", headers=[], status=200)
@example(body=json.dumps(completion(GOOD.replace("fits", "\\ud800"))).encode(), headers=[], status=200)
@example(body=json.dumps(completion("\ud800")).encode(), headers=[], status=200)
@example(body=b"", headers=["Retry-After: Mon, 99 Foo 99999999999999999999 99:99:99 GMT"], status=429)
@example(body=b"", headers=["Retry-After: Fri, 31 Dec 0000 23:59:59 -9999"], status=429)
def test_every_response_ends_in_an_answer_or_in_an_error_with_a_row(talk, body, headers, status):
    always(talk, http(body, *headers, status=f"{status} Whatever"))
    result, rows = talk.ask()
    assert rows and all(reason or kept == "ok" for kept, reason in rows)
    assert isinstance(result, Answered) == ([kept for kept, _ in rows][-1] == "ok")
    if isinstance(result, Answered):
        assert set(result.value) == {"A"} and 0 <= result.value["A"]["score"] <= 100 and status // 100 == 2


@HANGS
@settings(max_examples=40, deadline=None)
@given(raw=st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda more: b"HTTP/1.1 200 OK\r\n" + more)))
@example(raw=b"")
@example(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}")
@example(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}")
@example(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}")
@example(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000)
@example(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000)
@example(raw=b"SSH-2.0-OpenSSH_9.6\r\n")
def test_every_sequence_of_bytes_does(talk, raw):
    always(talk, raw)
    result, rows = talk.ask(timeout=5.0)
    assert isinstance(result, Failed) and [kept for kept, _ in rows] == ["error", "error"]


# -- bodies without end ------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BYTES = 64 << 20
NO = HEAD.replace(b"200 OK", b"500 No") + b"\r\n"
ENDLESS = {
    "zeros": lambda _: itertools.chain([HEAD + b"\r\n"], itertools.repeat(bytes(65536))),
    "chunks": lambda _: itertools.chain(
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"10000\r\n%b\r\n" % bytes(65536))
    ),
    "an error": lambda _: itertools.chain([NO], itertools.repeat(b"x" * 65536)),
    "a gzip bomb": lambda _: [http(gzip.compress(bytes(BYTES), 1), "Content-Encoding: gzip")],
    "a deflate bomb": lambda _: [http(zlib.compress(bytes(BYTES), 1), "Content-Encoding: deflate")],
}  # fmt: skip


@HANGS
@pytest.mark.parametrize("kind", ENDLESS)
def test_a_body_without_end_is_left_at_the_limit(talk, kind):
    talk.server.answer = ENDLESS[kind]
    with most_memory(150 << 20):
        result, rows = talk.ask(most_answer_bytes=4 << 20)
    assert isinstance(result, Failed) and [kept for kept, _ in rows] == ["error", "error"]
    assert "longer than 4194304 bytes" in rows[0][1]


@HANGS
def test_a_body_that_trickles_is_left_when_its_time_is_over(talk):
    def trickle(_):
        yield HEAD + b"\r\n"
        for _ in range(2000):
            time.sleep(0.01)
            yield b" "

    talk.server.answer = trickle
    begun = time.monotonic()
    result, rows = talk.ask(timeout=0.3)
    assert isinstance(result, Failed) and result.trouble == "timeout" and [kept for kept, _ in rows] == ["error"] * 2
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_an_answer_that_is_packed_though_nobody_asked_is_read(talk, packed):
    name = "gzip" if packed is gzip.compress else "deflate"
    always(talk, http(packed(json.dumps(completion(GOOD)).encode()), f"Content-Encoding: {name}"))
    assert isinstance(talk.ask()[0], Answered)
    assert b"accept-encoding: identity" in talk.server.requests[-1].lower()


@HANGS
def test_long_answers_are_searched_for_json_in_linear_time():
    for text in ("<think>" * 400_000, "```json\n" * 400_000, "{" * 2_000_000, "</think>" * 400_000, "```" * 800_000):
        with pytest.raises(AnswerError):
            structured_answer(ChatReply(text), SCHEMA)


# -- times to wait -----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=30), st.floats().map(str), st.integers().map(str),
        st.builds(
            "{}, {} {} {} {}:{}:{} {}".format, st.sampled_from(["Mon", "Foo", ""]), st.integers(-5, 10**12),
            st.sampled_from(["Jan", "Feb", "Foo", "13"]), st.integers(-(10**20), 10**20), st.integers(-1, 99),
            st.integers(-1, 99), st.integers(-1, 10**10), st.sampled_from(["GMT", "+9999", "-99999999", "", "UTC"]),
        ),
    )
)  # fmt: skip
def test_every_time_to_wait_is_a_number_of_seconds_or_none(text):
    for name in ("retry-after", "retry-after-ms"):
        seconds = _retry_after({name: text})
        assert seconds is None or 0 <= seconds < float("inf")


def test_a_date_that_is_one_is_still_read():
    assert _retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=3)
