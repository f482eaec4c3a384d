"""A journal that is damaged, hostile, or holds absurd numbers: its answers come out as they are, or it is named."""

import contextlib
import hashlib
import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.structures import InputError
from hmralign.vlm.budget import Budget, Ledger
from hmralign.vlm.chat import MOST_TOKENS, ChatReply, Usage, request_key
from hmralign.vlm.completion import read_completion
from hmralign.vlm.journal import Journal
from hmralign.vlm.prices import Price
from support.chat_server import completion, judge_request, picture
from support.limits import most_memory

CALLS = 12
HANGS = pytest.mark.timeout(120, method="thread")

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers(), st.integers(0, 10**6),
    st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**400, -1, -(2**63), 1e308]),
)  # fmt: skip
"""What a server may say for a number of tokens."""


def answered(journal, number, reply, **more):
    request = judge_request(number)
    fields = {"model": "m", "status": "ok", "sent": 1.0, "done": 2.0, "reply": reply} | more
    return journal.record(request_key("m", request), request, **fields)


@settings(max_examples=20, deadline=None)
@given(said=st.lists(st.tuples(ANYTHING, ANYTHING, ANYTHING), min_size=1, max_size=5))
def test_whatever_numbers_a_server_says_answers_and_sums_stay_readable(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("said") / "calls.sqlite"
    with Journal.open(path) as journal:
        for number, (prompt, answer, cached) in enumerate(said):
            details = {"cached_tokens": cached}
            usage = {"prompt_tokens": prompt, "completion_tokens": answer, "prompt_tokens_details": details}
            reply = read_completion(json.dumps(completion("{}") | {"usage": usage}))
            row = answered(journal, number, reply, cost=Price(1.0, 2.0).cost(reply.usage))
            assert all(value is None or 0 <= value <= MOST_TOKENS for value in vars(row.usage).values())
    with Journal.open(path) as journal:
        spent = journal.spent()
        believed = [p for p, _, _ in said if type(p) is int and 0 <= p <= MOST_TOKENS]
        assert (spent.answers, spent.prompt_tokens) == (len(said), sum(believed))
        kept = [journal.answer(request_key("m", judge_request(number))) for number in range(len(said))]
        assert all(attempt is not None and attempt.reply().text == "{}" for attempt in kept)
        Ledger(Budget(max_tokens=10**12), Price(1.0, 1.0), journal, "m").promise(Usage(1, 1))


def test_what_python_code_says_is_bounded_as_well(tmp_path):
    with Journal.open(tmp_path / "j") as journal:
        row = answered(journal, 0, ChatReply("{}"), usage=Usage(2**63 - 1, 2**70, 7))
        assert row.usage == Usage(None, None, 7) and journal.spent().prompt_tokens == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "calls.sqlite"
    with Journal.open(path, keep_images=True) as journal:
        for number in range(CALLS):
            answered(journal, number, ChatReply(f'{{"a": {number}}}', usage=Usage(10, 5, 2)), cost=2.0)
    return path.read_bytes()


COUNTS = st.one_of(st.none(), st.integers(0, 10**6), st.sampled_from([2**63 - 1, 2**63, 10**400]), st.integers(0))


@settings(max_examples=20, deadline=None)
@given(usages=st.lists(st.tuples(COUNTS, COUNTS, COUNTS), max_size=5))
def test_a_journal_that_holds_absurd_numbers_opens_and_gives_its_answers(whole, tmp_path_factory, usages):
    """As earlier versions wrote them: the first two say as much as an SQLite integer can hold."""
    path = tmp_path_factory.mktemp("old") / "calls.sqlite"
    path.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for number, usage in enumerate([(2**63 - 1,) * 3, (2**63 - 1,) * 3, *usages]):
            key = request_key("m", judge_request(number))
            connection.execute("UPDATE call SET usage = ? WHERE key = ?", (json.dumps(usage), key))
    with Journal.open(path) as journal, Journal.open(path.with_name("merged")) as merged:
        spent = journal.spent()
        assert 0 <= spent.prompt_tokens <= CALLS * MOST_TOKENS
        assert spent.unpriced >= 2 and spent.cost == 2.0 * (CALLS - spent.unpriced)
        for number in range(CALLS):
            attempt = journal.answer(request_key("m", judge_request(number)))
            assert attempt is not None
            assert attempt.reply().text == f'{{"a": {number}}}'
            assert all(value is None or 0 <= value <= MOST_TOKENS for value in vars(attempt.usage).values())
        assert merged.merge([path]) == CALLS and merged.merge([path]) == 0


def test_sums_of_what_is_believed_are_right_beside_what_is_not(tmp_path):
    with Journal.open(tmp_path / "j") as journal:
        for number in range(3):
            answered(journal, number, ChatReply("{}", usage=Usage(10, 5, 2)), cost=0.5)
        key = request_key("m", judge_request(1))
        journal._connection.execute("UPDATE call SET usage = '[9223372036854775807, 5, 2]' WHERE key = ?", (key,))
        spent = journal.spent()
    assert (spent.prompt_tokens, spent.completion_tokens, spent.cached_tokens) == (20, 15, 6)
    assert (spent.cost, spent.unpriced) == (1.0, 1)


def test_half_a_surrogate_pair_is_kept_as_an_escape(tmp_path):
    with Journal.open(tmp_path / "j") as journal:
        key = answered(journal, 0, ChatReply("{}", raw='{"a": "\ud800"}'), status="invalid", reason="has \udc80").key
        (attempt,) = journal.attempts(key)
    assert attempt.body == '{"a": "\\ud800"}' and attempt.reason == "has \\udc80"


def use(path):
    """Everything that is read of a journal."""
    with Journal.open(path) as journal:
        journal.spent()
        texts = [a.body for n in range(CALLS) for a in journal.attempts(request_key("m", judge_request(n)))]
        journal.image(hashlib.sha256(picture(0)).hexdigest())
        with Journal.open(path.with_name("merged"), keep_images=True) as merged:
            merged.merge([path])
        return texts


@HANGS
@settings(max_examples=50, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=8),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_file_is_read_or_named_in_one_sentence(whole, tmp_path_factory, edits, kept):
    path = tmp_path_factory.mktemp("damaged") / "calls.sqlite"
    data = bytearray(whole)
    for where, new in edits:
        at = int(where * (len(data) - 1))
        data[at : at + len(new)] = new
    path.write_bytes(data[: int(kept * len(data))])
    with most_memory(512 << 20):
        try:
            use(path)
        except InputError as error:
            assert "calls.sqlite" in str(error) and "\n" not in str(error)


CELLS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=20), st.text(max_size=20),
    st.sampled_from(["[" * 5000, '{"a":' * 5000, "[]", "{}", "null", "[1, 2]", "[null, null, null]", '["a"]']),
    st.just("9" * 5000),
)  # fmt: skip


@HANGS
@settings(max_examples=50, deadline=None)
@given(
    column=st.sampled_from([
        "attempt", "request_hash", "model", "params", "prompt_hash", "image_hashes", "status", "reason", "body",
        "usage", "cost", "sent", "done",
    ]),
    cell=CELLS,
)  # fmt: skip
def test_a_value_that_this_program_does_not_write_is_read_or_named(whole, tmp_path_factory, column, cell):
    path = tmp_path_factory.mktemp("cells") / "calls.sqlite"
    path.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        try:
            connection.execute(f"UPDATE call SET {column} = ?", (cell,))
        except (sqlite3.IntegrityError, UnicodeEncodeError):
            return
    try:
        use(path)
    except InputError as error:
        assert "calls.sqlite" in str(error) and "\n" not in str(error)


@HANGS
def test_a_view_in_the_place_of_the_table_of_calls_is_refused_at_once(whole, tmp_path):
    path = tmp_path / "calls.sqlite"
    path.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE call")
        connection.execute("CREATE VIEW call AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) "
                           "SELECT i AS key, i AS attempt, i AS usage, i AS cost, i AS status FROM n")  # fmt: skip
    with pytest.raises(InputError, match=r"calls\.sqlite is damaged: it has a view call"):
        Journal.open(path)


def test_a_picture_that_was_changed_is_not_given_out(whole, tmp_path):
    path = tmp_path / "calls.sqlite"
    path.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE image SET data = ?", (picture(99),))
    name = hashlib.sha256(picture(0)).hexdigest()
    with Journal.open(path) as journal, pytest.raises(InputError, match=r"calls\.sqlite .*changed"):
        journal.image(name)
