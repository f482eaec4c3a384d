"""A batch service: answers the request files of a folder with a judge, in the form of OpenAI's output files."""

import asyncio
import json
import os
import signal
from pathlib import Path

from hmralign.systems.group_preference.batch_folder import BatchEntry, BatchFolder


def entries_of(folder: Path) -> list[BatchEntry]:
    return list(BatchFolder.open(folder).entries())


def request_lines(folder: Path) -> list[dict]:
    files = sorted(folder.glob("requests_*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]


def answer_lines(folder: Path, judge) -> list[dict]:
    """A line per request, in their order, by the same function that answers live."""
    batch = BatchFolder.open(folder)
    lines = []
    for entry in batch.entries():
        reply = asyncio.run(judge.backend.complete(batch.request(entry)))
        response = {"status_code": 200, "request_id": "r", "body": json.loads(reply.raw)}
        lines.append({"id": "b", "custom_id": entry.custom_id, "response": response, "error": None})
    return lines


def write_lines(path: Path, lines) -> Path:
    """Dictionaries as JSON, bytes as they are."""
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def killed(run) -> None:
    """Run in a process that has to end by a kill of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
