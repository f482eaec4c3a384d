"""Asks questions in copies of the test's process that are killed at a chosen point."""

import asyncio
import os
import signal

from hmralign.vlm.asking import Limits, Question, ask_all
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from support import forked
from support.chat_server import judge_request, read_scores


def start(**job) -> int:
    """The process that asks; `forked.end` gives its exit code, or minus the signal that killed it."""
    return forked.start(lambda: child(job))


def run(**job) -> int:
    return forked.end(start(**job))


def ask(job) -> None:
    journal = Journal.open(job["journal"])
    if "point" in job:
        die_at(journal, job["point"], job["commit"])
    backend = OpenAIChat(OpenAIServer(job["address"], "stub"))
    questions = [Question(judge_request(10 * i), read_scores()) for i in job["questions"]]
    asyncio.run(ask_all(backend, journal, questions, Limits(concurrency=job["concurrency"])))


def die_at(journal, point, commit) -> None:
    """Kill this process before, inside or after the transaction of one commit."""
    calls = {"record": 0}
    record, insert = journal.record, journal._insert

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def counted_record(*args, **kwargs):
        calls["record"] += 1
        chosen = calls["record"] == commit + 1
        if chosen and point == "before":
            die()
        attempt = record(*args, **kwargs)
        if chosen and point == "after":
            die()
        return attempt

    def counted_insert(row):
        inserted = insert(row)
        if calls["record"] == commit + 1 and point == "inside":
            die()
        return inserted

    journal.record, journal._insert = counted_record, counted_insert


def child(job) -> int:
    try:
        ask(job)
    except KeyboardInterrupt:
        return 130
    return 0
