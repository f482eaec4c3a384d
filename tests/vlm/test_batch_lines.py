import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.structures import InputError
from hmralign.vlm import batch_lines
from hmralign.vlm.batch_lines import BatchAnswer, CorruptLine, custom_id, read_answers, request_line
from support.chat_server import completion, judge_request


def read(tmp_path, *lines):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    return list(read_answers(path))


def test_a_request_is_one_line_of_ascii_in_the_form_of_a_batch():
    line = request_line("id", judge_request(system="é\u2028\n"), "m", pictures="inline", schema_field="response_format")
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    content = json.loads(line)
    assert (content["custom_id"], content["method"], content["url"]) == ("id", "POST", "/v1/chat/completions")
    assert content["body"]["model"] == "m" and content["body"]["messages"][0]["content"] == "é\u2028\n"


def test_an_extra_field_that_would_replace_a_usual_one_is_refused():
    with pytest.raises(InputError, match="top_p"):
        request_line("id", judge_request(extra={"top_p": 1}), "m", pictures="inline", schema_field="none")


def test_names_have_at_most_64_characters_and_the_first_attempt_is_named_by_the_key_alone():
    key = hashlib.sha256(b"question").hexdigest()
    names = [custom_id(key, n) for n in range(1000)]
    assert names[0] == key and names[2] == f"{key[:60]}-2"
    assert max(map(len, names)) == 64 and len(set(names)) == 1000
    with pytest.raises(InputError, match="room for 999"):
        custom_id(key, 1000)


def test_half_a_surrogate_pair_stays_an_escape_that_can_be_stored(tmp_path):
    body, half = completion("good \ud83d"), "\ud83d"
    answer, error = read(
        tmp_path,
        {"custom_id": "x", "response": {"status_code": 200, "body": body}},
        {"custom_id": "y", "response": None, "error": {"code": half, "message": half}},
    )
    assert isinstance(answer, BatchAnswer) and answer.reply is not None and answer.reply.raw.isascii()
    assert json.loads(answer.reply.raw) == body
    assert isinstance(error, BatchAnswer) and error.error is not None and error.error.raw.isascii()
    for text in (str(error.error), error.label):
        text.encode("utf-8")


@pytest.mark.parametrize("created", [b"1" + b"0" * 400, b"Infinity", b"NaN", b"-1", b'"now"', b"true"])
def test_a_time_that_is_none_is_left_out(tmp_path, created):
    line = json.dumps({"custom_id": "x", "response": {"status_code": 200, "body": completion("{}") | {"created": 0}}})
    (answer,) = read(tmp_path, line.encode().replace(b'"created": 0', b'"created": ' + created))
    assert isinstance(answer, BatchAnswer) and answer.reply is not None and answer.created is None


def test_both_forms_of_an_answer_are_read(tmp_path):
    body = completion("{}") | {"created": 1700000000}
    openai = {"id": "b", "custom_id": "x", "response": {"status_code": 200, "request_id": "r", "body": body}}
    hosted = openai | {"error": {"code": None, "message": None}}
    answers = read(tmp_path, openai, hosted, {"id": "v", "custom_id": "y", "response": body, "error": None}, b"  ")
    assert [a.custom_id for a in answers] == ["x", "x", "y"]
    for number, answer in enumerate(answers, start=1):
        assert isinstance(answer, BatchAnswer) and answer.reply is not None and answer.error is None
        assert answer.reply.text == "{}" and answer.reply.usage.prompt_tokens == 900
        assert json.loads(answer.reply.raw) == body and answer.created == 1700000000
        assert answer.where.endswith(f"line {number}")


@pytest.mark.parametrize(
    ("response", "error", "trouble", "label"),
    [
        (None, {"code": "batch_expired", "message": "too late"}, "server", "batch_expired"),
        (None, "out of memory", "server", "no response"),
        ({"status_code": 429, "body": {"error": {"message": "slow"}}}, None, "rate_limit", "status 429"),
        ({"status_code": 400, "body": None}, "Request too long", "request", "status 400"),  # vLLM
        ({"status_code": 404, "body": None}, {"error": {"message": "no such model"}}, "account", "status 404"),
        ({"status_code": 200, "body": {"choices": []}}, None, "body", "no completion"),
        ({"status_code": 200, "body": None}, None, "body", "no completion"),
        ({"status_code": 200, "body": completion("{}")}, {"code": "odd"}, "server", "odd"),
    ],
)
def test_errors_are_no_answers(tmp_path, response, error, trouble, label):
    (answer,) = read(tmp_path, {"id": "b", "custom_id": "x", "response": response, "error": error})
    assert isinstance(answer, BatchAnswer) and answer.reply is None and answer.error is not None
    assert (answer.error.trouble, answer.label) == (trouble, label)


def test_lines_that_are_no_answers_are_named_by_file_and_number(tmp_path):
    request = json.loads(request_line("x", judge_request(), "m", pictures="inline", schema_field="none"))
    lines = [b'{"custom_id": "x", "resp', b"\xff\xfe", [1], {"response": {}}, {"custom_id": "x"}, request]
    lines.append({"custom_id": "x", "response": {"status_code": "fine"}})
    found = read(tmp_path, *lines)
    assert all(isinstance(line, CorruptLine) for line in found)
    assert [line.where.rsplit(" ", 1)[1] for line in found] == [str(n) for n in range(1, 8)]
    reasons = [line.reason for line in found]
    for word, reason in zip(
        ["cut", "JSON", "custom_id", "custom_id", "neither", "request", "status"], reasons, strict=True
    ):
        assert word in reason
    with pytest.raises(InputError, match="missing"):
        list(read_answers(tmp_path / "missing.jsonl"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["custom_id", "response", "body", "status_code", "error", "choices", "message", "content",
                         "code", "usage", "prompt_tokens", "created"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
LINES = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40),
    st.builds(lambda response: json.dumps({"custom_id": "a", "response": response}).encode(), JSON),
    st.builds(
        lambda body: json.dumps({"custom_id": "a", "response": {"status_code": 200, "body": body}}).encode(), JSON
    ),
    st.sampled_from([b"[" * 50_000, b'{"custom_id": "a", "error": ' + b"[" * 900 + b"]" * 900 + b"}"]),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(LINES.map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=4))
def test_every_line_is_an_answer_an_error_or_corrupt(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "answers.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = list(read_answers(path))
    assert len(found) == sum(bool(line.strip()) for line in lines)
    for line in found:
        assert isinstance(line, CorruptLine) or (line.reply is None) != (line.error is None)
        assert isinstance(repr(line).encode(), bytes), "it can be written"


@pytest.mark.timeout(120, method="thread")
def test_a_line_that_is_too_long_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_lines, "MOST_LINE_BYTES", 1 << 20)
    good = json.dumps({"custom_id": "a", "error": {"code": "expired"}}).encode()
    path = tmp_path / "answers.jsonl"
    path.write_bytes(good + b"\n" + b"x" * (5 << 20) + b"\n" + good + b"\n" + b"y" * (2 << 20))
    first, long, last, longer = read_answers(path)
    assert isinstance(first, BatchAnswer) and isinstance(last, BatchAnswer)
    for line, number in ((long, 2), (longer, 4)):
        assert isinstance(line, CorruptLine) and line.where.endswith(f"line {number}") and "longer" in line.reason


@pytest.mark.parametrize("code", [402, "429"])
def test_an_error_inside_a_response_of_status_200_is_labelled_by_its_code(tmp_path, code):
    body = {"error": {"code": code, "message": "no"}}
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "response": {"status_code": 200, "body": body}}))
    (line,) = read_answers(path)
    assert isinstance(line, BatchAnswer) and line.reply is None and line.label == f"status {code}"
