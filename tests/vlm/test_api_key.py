"""A key that can be none is refused before anything is sent, and no key is ever shown, however it is written."""

import asyncio
import base64
import contextlib
import html
import io
import json
import logging
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.structures import InputError
from hmralign.vlm.api_key import SHORTEST_SECRET, ApiKey
from hmralign.vlm.asking import Limits, Question, ask_all
from hmralign.vlm.errors import ServerError
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from support.chat_server import completion, judge_request, read_scores
from support.raw_server import RawServer, http

VARIABLE = "OPENAI_API_KEY"
IN_KEYS = "".join(c for c in map(chr, range(33, 127)) if c not in "\"'`\\<>")
KEYS = st.text(IN_KEYS, min_size=SHORTEST_SECRET, max_size=60)
LONG_KEYS = st.text(IN_KEYS, min_size=16, max_size=60).filter(lambda key: len(set(key)) > 8)
"""Such as no other text has by chance."""
PASTED = st.builds(
    lambda before, inside, behind: before + inside + behind,
    st.text(IN_KEYS, min_size=3, max_size=10),
    st.text(st.characters(exclude_characters=IN_KEYS, exclude_categories=["Cs"]), min_size=1, max_size=3)
    | st.sampled_from(["\u201c", "\n", "\r\n", "\t", " ", "\u00a0", "\u200b", "\ufeff", '"', "'", "\\", "\u2013"]),
    st.text(IN_KEYS, min_size=3, max_size=10),
)  # fmt: skip
SPELLINGS = {
    "as it is": lambda key: key,
    "in JSON": json.dumps,
    "in JSON twice": lambda key: json.dumps(json.dumps(key)),
    "in JSON of PHP": lambda key: json.dumps(key).replace("/", "\\/"),
    "as code points": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "as capital code points in JSON": lambda key: json.dumps("".join(f"\\u{ord(c):04X}" for c in key)),
    "as repr": repr,
    "as repr of bytes": lambda key: repr(f"Bearer {key}".encode()),
    "as bytes": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "in an address": lambda key: urllib.parse.quote(key, safe=""),
    "in an address twice": lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
    "in HTML": html.escape,
    "as entities": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "in base64": lambda key: base64.b64encode(key.encode()).decode(),
    "in base64 of a header": lambda key: base64.b64encode(f"Bearer {key}, and".encode()).decode(),
    "in base64 of a user": lambda key: base64.urlsafe_b64encode(f"u:{key}".encode()).decode(),
}


def traces(key, text):
    """Spellings of a key that a text still holds; of base64 a long piece."""
    found = [key, json.dumps(key)[1:-1], urllib.parse.quote(key, safe=""), SPELLINGS["as code points"](key)]
    for shift in range(3):
        found.append(base64.b64encode(b"x" * shift + key.encode()).decode().rstrip("=")[2 * (shift > 0) + 1 : -2])
    return [spelling for spelling in found if len(spelling) >= SHORTEST_SECRET and spelling in text]


@settings(max_examples=150, deadline=None)
@given(key=KEYS, spelling=st.sampled_from(list(SPELLINGS)))
def test_a_key_is_masked_in_every_spelling(key, spelling):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, f" {key}\n")
        found = ApiKey(VARIABLE)
    masked = found.masked(f"the key {SPELLINGS[spelling](key)} is wrong")
    assert "[key]" in masked and not traces(key, masked)
    assert masked.startswith("the key ") and masked.endswith(" is wrong")
    assert key not in repr(found) and found.header_value == key


@settings(max_examples=150, deadline=None)
@given(key=PASTED)
def test_a_key_with_characters_that_no_key_has_is_refused_and_not_shown(key):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.environ", {VARIABLE: key})  # also what the real environment does not take
        with pytest.raises(InputError, match=f"the key in {VARIABLE} has characters no key has") as caught:
            OpenAIChat(OpenAIServer("http://127.0.0.1:9/v1", "m"))
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"])
def test_other_headers_of_the_environment_are_checked_as_well(monkeypatch, name):
    monkeypatch.setenv(name, "X: secret\u2013word")
    with pytest.raises(InputError, match=f"{name} has characters no header has") as caught:
        ApiKey(VARIABLE)
    assert "secret" not in str(caught.value)


def test_a_key_in_a_header_of_the_environment_is_masked_too(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sk-first-key")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: a\nAuthorization: Bearer second-key/1")
    masked = ApiKey(VARIABLE).masked('sk-first-key, "second-key\\/1", a')
    assert masked == '[key], "[key]", a'


def test_words_for_no_key_are_left_in_texts(monkeypatch):
    for key in ("", "none", "EMPTY"):
        monkeypatch.setenv(VARIABLE, key)
        assert ApiKey(VARIABLE).masked("none EMPTY") == "none EMPTY"
    monkeypatch.delenv(VARIABLE)
    assert ApiKey(VARIABLE).header_value == "none"


def test_texts_are_searched_in_linear_time(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sk-proj/A+b_c.d=e")
    key = ApiKey(VARIABLE)
    for text in ("\\" * 10**6, "%25" * 10**6, "&#0" * 10**6, "sk-proj" * 10**5):
        assert key.masked(text) == text


@contextlib.contextmanager
def everything_logged():
    logger, text = logging.getLogger("hmralign"), io.StringIO()
    handler, level = logging.StreamHandler(text), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.timeout(120)
@settings(max_examples=15, deadline=None)
@given(key=LONG_KEYS, spelling=st.sampled_from(list(SPELLINGS)), status=st.sampled_from([200, 400, 401, 429, 500]))
def test_a_key_that_a_server_repeats_gets_nowhere(tmp_path_factory, key, spelling, status):
    folder, said = tmp_path_factory.mktemp("keys"), SPELLINGS[spelling](key)
    body = completion(f"no: {said}") if status == 200 else {"error": {"message": f"wrong key {said}"}}
    raw = http(json.dumps(body, ensure_ascii=False).encode(), f"X-Key: {key}", status=f"{status} {key}")
    with everything_logged() as logged, pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, key)
        with RawServer(lambda _: [raw]) as server, Journal.open(folder / "calls.sqlite") as journal:
            backend = OpenAIChat(OpenAIServer(server.address, "m", timeout=20.0))
            limits = Limits(first_wait=0.001, server_attempts=2, answer_attempts=1)
            try:
                shown = repr(asyncio.run(ask_all(backend, journal, [Question(judge_request(), read_scores())], limits)))
            except ServerError as error:
                shown = f"{error} {error.raw}"
            assert f"Bearer {key}".encode() in server.requests[0]
            rows = journal._connection.execute("SELECT reason, body, params FROM call").fetchall()
    assert rows and not traces(key, repr(rows)) and not traces(key, shown) and not traces(key, logged.getvalue())
    for file in folder.iterdir():
        assert key.encode() not in file.read_bytes()
