"""Asks questions in processes that are killed at a chosen point.

One process imports everything and waits for lines of JSON; for each it forks a child that asks, and says how the child
ended. So a kill costs a fork and not the start of an interpreter.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from hmralign.vlm.asking import Limits, Question, ask_all
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer


class Launcher:
    """Talks to the process that forks."""

    def __enter__(self):
        paths = [str(Path(__file__).parents[1]), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=20)

    def start(self, **job) -> int:
        """Fork a child; gives its process id."""
        return self._say(job)

    def end(self, pid: int) -> int:
        """Wait for a child; its exit code, or minus the signal that killed it."""
        return self._say({"wait": pid})

    def run(self, **job) -> int:
        return self.end(self.start(**job))

    def _say(self, message) -> int:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def ask(job) -> None:
    from support.chat_server import judge_request, read_scores

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
    except SystemExit as end:
        return int(end.code)
    return 0


def main() -> None:
    import openai  # noqa: F401

    import support.chat_server  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            answer = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            os._exit(child(job))
        print(answer, flush=True)


if __name__ == "__main__":
    main()
