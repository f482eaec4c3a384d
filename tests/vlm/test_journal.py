import sqlite3
import time

import pytest

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatReply, Usage, request_key
from hmralign.vlm.journal import FORMAT_VERSION, Journal
from support.chat_server import KEY, ChatServer, judge_request, picture


def put(journal, number=0, status="ok", text="{}", **more):
    request = judge_request(number)
    key = request_key("m", request)
    reply = None if status == "error" else ChatReply(text, usage=Usage(10, 5, 2), model="m")
    fields = {"model": "m", "status": status, "sent": 1.0, "done": 2.0, "reply": reply, "cost": 0.5} | more
    return journal.record(key, request, **fields)


def test_what_is_recorded_is_read_again(tmp_path):
    path = tmp_path / "deep" / "calls.sqlite"
    with Journal.open(path) as journal:
        attempts = [put(journal, status="error", cost=None, reason="gone"), put(journal, text='{"a": 1}')]
    with Journal.open(path) as journal:
        assert journal.attempts(attempts[0].key) == attempts
        assert [a.attempt for a in attempts] == [0, 1]
        answer = journal.answer(attempts[0].key)
        assert answer == attempts[1] and answer.reply().text == '{"a": 1}' and answer.reply().usage == Usage(10, 5, 2)
        assert answer.image_hashes == tuple(p.sha256 for p in judge_request().parts if hasattr(p, "sha256"))
        spent = journal.spent()
        assert (spent.calls, spent.answers, spent.prompt_tokens, spent.cached_tokens, spent.cost) == (2, 1, 10, 2, 0.5)


def test_the_last_used_attempt_is_the_answer_and_errors_never_are(tmp_path):
    with Journal.open(tmp_path / "j") as journal:
        key = put(journal, text="one").key
        put(journal, text="two")
        put(journal, status="invalid", text="three")
        put(journal, status="error")
        assert journal.answer(key).reply().text == "two"
        assert journal.answer("unknown") is None
        assert put(journal, number=50, status="refused").status == "refused"
        assert journal.answer(request_key("m", judge_request(50))) is None


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_body_never_becomes_an_answer(tmp_path, text):
    with Journal.open(tmp_path / "j") as journal:
        with pytest.raises(InputError, match="empty"):
            put(journal, text=text)
        with pytest.raises(InputError, match="empty"):
            put(journal, reply=None)
        assert journal.spent().calls == 0


def test_it_is_written_through_to_the_disk(tmp_path):
    with Journal.open(tmp_path / "j") as journal:
        pragma = [
            journal._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
        assert pragma == ["wal", 2]


def test_pictures_and_prompts_are_kept_only_on_request(tmp_path):
    for keep in (False, True):
        path = tmp_path / str(keep)
        with Journal.open(path, keep_images=keep) as journal:
            row = put(journal)
            assert (journal.image(row.image_hashes[0]) == picture(0)) == keep
        data = path.read_bytes()
        assert (picture(0) in data) == keep and b"Judge." not in data


def test_journals_of_shards_are_merged_once(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for i, path in enumerate(paths):
        with Journal.open(path, keep_images=True) as journal:
            put(journal, i)
            put(journal, 100)  # asked in every shard at another time
            put(journal, 200, sent=float(i), done=float(i))
    with Journal.open(tmp_path / "all", keep_images=True) as journal:
        assert journal.merge(paths) == 3 + 1 + 3
        assert journal.merge(paths) == 0
        assert journal.spent().calls == 7
        assert journal.image(put(journal, 0).image_hashes[0]) == picture(0)


def test_merging_a_file_that_is_not_there_is_refused_and_makes_none(tmp_path):
    with Journal.open(tmp_path / "j") as journal, pytest.raises(InputError, match="missing"):
        journal.merge([tmp_path / "missing"])
    assert not (tmp_path / "missing").exists()


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "calls.sqlite"
    path.write_bytes(b"not a database, but long enough to have a header " * 40)
    with pytest.raises(InputError, match=r"calls\.sqlite is damaged"):
        Journal.open(path)


def test_a_journal_cut_in_half_is_named_and_not_begun_anew(tmp_path):
    path = tmp_path / "calls.sqlite"
    with Journal.open(path) as journal:
        for i in range(40):
            put(journal, i, text="x" * 2000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"calls\.sqlite"), Journal.open(path) as journal:
        for i in range(40):
            journal.attempts(request_key("m", judge_request(i)))
        journal.spent()


def test_a_newer_version_and_a_foreign_file_are_refused(tmp_path):
    newer, foreign = tmp_path / "newer", tmp_path / "foreign"
    Journal.open(newer).close()
    for path, statement in ((newer, f"PRAGMA user_version = {FORMAT_VERSION + 1}"), (foreign, "CREATE TABLE t (x)")):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
    with pytest.raises(InputError, match="version 2"):
        Journal.open(newer)
    with pytest.raises(InputError, match="something else"):
        Journal.open(foreign)


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(InputError, match="cannot be used"):
        Journal.open(tmp_path)


def test_a_writer_waits_for_another(tmp_path):
    import threading

    path = tmp_path / "j"
    with Journal.open(path) as journal:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        begun = time.monotonic()
        put(journal)
        assert time.monotonic() - begun > 0.2 and journal.spent().calls == 1
        other.close()


def test_the_key_of_the_server_gets_into_no_journal(tmp_path, monkeypatch):
    import asyncio

    from hmralign.vlm.asking import Limits, Question, ask_all
    from hmralign.vlm.errors import ServerError
    from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    path = tmp_path / "j"
    with ChatServer(faults=["crash", None], always="unauthorised") as server, Journal.open(path) as journal:
        backend = OpenAIChat(OpenAIServer(server.address, "stub"))
        asked = [Question(judge_request(10 * i), lambda reply: reply.text) for i in range(2)]
        with pytest.raises(ServerError) as caught:
            asyncio.run(ask_all(backend, journal, asked, Limits(concurrency=1, first_wait=0.01)))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        assert "wrong key: Bearer [key]" in str(caught.value) and KEY not in repr(vars(caught.value))
        assert [a.status for q in asked for a in journal.attempts(request_key("stub", q.request))] == [
            "error", "ok", "error",
        ]  # fmt: skip
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.iterdir())
