"""Nothing lost, nothing paid twice, whatever ends the process."""

import os
import signal
import time

import pytest

from hmralign.vlm.chat import request_key
from hmralign.vlm.journal import Journal
from support import forked
from support.chat_server import ChatServer, judge_request, true_scores
from support.killed_asker import run, start

QUESTIONS = 6
CONCURRENCY = 3


def job(server, path, questions=range(QUESTIONS), **more):
    fields = {"address": server.address, "journal": str(path), "questions": list(questions)}
    return fields | {"concurrency": CONCURRENCY} | more


def committed(path):
    with Journal.open(path) as journal:
        return journal.spent().answers


@pytest.mark.parametrize("point", ["before", "inside", "after"])
@pytest.mark.parametrize("commit", range(QUESTIONS))
def test_a_kill_at_any_commit_sends_again_only_what_was_in_flight(tmp_path, point, commit):
    path = tmp_path / "calls.sqlite"
    with ChatServer(delay=0.01) as server:
        assert run(**job(server, path, point=point, commit=commit)) == -signal.SIGKILL
        sent, kept = server.settled(), committed(path)
        assert kept == commit + (point == "after")
        assert kept <= sent <= kept + CONCURRENCY

        assert run(**job(server, path)) == 0
        assert server.settled() == sent + QUESTIONS - kept, "only what was not committed is sent again"
        assert committed(path) == QUESTIONS

        assert run(**job(server, path)) == 0
        assert server.settled() == sent + QUESTIONS - kept, "a further run sends nothing"
    with Journal.open(path) as journal:
        for i in range(QUESTIONS):
            attempt = journal.answer(request_key("stub", judge_request(10 * i)))
            assert attempt is not None and str(true_scores(10 * i)["A"]) in attempt.reply().text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_finishes_what_is_in_flight_and_loses_nothing(tmp_path, number, code):
    path = tmp_path / "calls.sqlite"
    with ChatServer(delay=0.15) as server:
        pid = start(**job(server, path, range(60)))
        while len(server.requests) < CONCURRENCY + 1:
            time.sleep(0.005)
        os.kill(pid, number)
        assert forked.end(pid) == code
        sent = server.settled()
        assert committed(path) == sent < 60
        assert run(**job(server, path, range(8))) == 0
        assert server.settled() == max(sent, 8)


def test_a_second_signal_stops_at_once(tmp_path):
    path = tmp_path / "calls.sqlite"
    with ChatServer(delay=30.0) as server:
        pid = start(**job(server, path, range(60)))
        while len(server.requests) < CONCURRENCY:
            time.sleep(0.005)
        os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
        begun = time.monotonic()
        os.kill(pid, signal.SIGINT)
        assert forked.end(pid) == 130 and time.monotonic() - begun < 5
        server.released.set()
    assert committed(path) == 0


def test_two_processes_share_a_journal(tmp_path):
    path = tmp_path / "calls.sqlite"
    with ChatServer() as server:
        pids = [start(**job(server, path, range(k, k + 10))) for k in (0, 10)]
        assert [forked.end(pid) for pid in pids] == [0, 0]
        assert committed(path) == server.settled() == 20
