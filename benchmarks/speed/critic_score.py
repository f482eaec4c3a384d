"""What `hmralign critic score` costs a group, all of the command but the model that it asks.

    python benchmarks/speed/critic_score.py [--photos 4]

Drawn photos of two people each become a store of groups of 20, and the command scores it: opening, drawing, asking,
reading, writing. It asks a server in this process, which answers at once whatever it is asked; what is measured is the
command's own process. The same command once more, when nothing is left to score, says what opening costs. Medians of 3.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from drawn_people import MAKE, write_photos

MODULE = (sys.executable, "-m", "hmralign.cli")


class _Answers(BaseHTTPRequestHandler):
    """Says 50 of every picture that the schema asks about, and one more of each than of the one before."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        labels = asked["response_format"]["json_schema"]["schema"]["properties"]
        sheet = {label: {"comment": "", "score": 50 + number} for number, label in enumerate(labels)}
        message = {"role": "assistant", "content": json.dumps(sheet)}
        reply = {
            "object": "chat.completion", "model": "none",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }  # fmt: skip
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@contextmanager
def server() -> Iterator[str]:
    """Address of a server that answers while the block runs."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1"
    finally:
        running.shutdown()
        running.server_close()


def store_of(folder: Path, photos: int) -> Path:
    """Groups of 20 of the people in drawn photos."""
    pictures, store = write_photos(folder / "photos", photos), folder / "store"
    options = ["--detector", MAKE, "--group-size", "20", "--critic", "reprojection", "--quiet"]
    subprocess.run([*MODULE, "groups", str(pictures), "--out", str(store), *options], check=True)
    return store


def scored(store: Path, address: str, name: str) -> tuple[float, float, int]:
    """CPU seconds and peak megabytes of one run of the command, and how many groups it judged."""
    command = [*MODULE, "critic", "score", str(store), "--base-url", address, "--model", "none", "--name", name]
    command += ["--journal", str(store.parent / f"{name}.sqlite"), "--json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert run.stdout is not None
    said = run.stdout.read()
    run.stdout.close()
    _, status, used = wait(run)
    assert status == 0, f"critic score ended with {status}"
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, json.loads(said)["groups"]


def wait(run: subprocess.Popen) -> tuple[int, int, resource.struct_rusage]:
    """The end of a process, with what that process alone used."""
    pid, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    return pid, run.returncode, used


def measured(folder: Path, photos: int = 4) -> dict[str, float]:
    """Rows of docs/results/speed_aims.md."""
    store = store_of(folder, photos)
    with server() as address:
        runs = [scored(store, address, f"score{number}") for number in range(3)]
        opening = statistics.median(scored(store, address, f"score{number}")[0] for number in range(3))
    seconds, megabytes, groups = (statistics.median(values) for values in zip(*runs, strict=True))
    return {
        "critic score, CPU s a group": (seconds - opening) / groups,
        "critic score, nothing left to score, CPU s": opening,
        "critic score, peak memory, GB": megabytes / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measured(Path(folder), arguments.photos).items():
            print(f"{value:8.3f}  {name}")


if __name__ == "__main__":
    main()
