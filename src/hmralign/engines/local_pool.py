"""A pool of processes on this machine: each makes a share, as another machine would.

A worker that is killed, as by a kernel short of memory, is started again and goes on where it was; one that says what
is wrong ends the run with that sentence. Where the driver is killed, workers finish the unit they have in hand and end.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from hmralign.engines.share import Share
from hmralign.engines.work import OpenUnits, make_share
from hmralign.structures import HmralignError, InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.engines")

RESTARTS = 3
"""How often a share is taken up again after its worker was killed."""


@dataclass
class _Worker:
    share: Share
    process: SpawnProcess
    said: Connection
    kills: int = 0


def run_local_pool(
    open_units: OpenUnits, workers: int, *, restarts: int = RESTARTS, started: Callable[[int], None] | None = None
) -> None:
    """Make all units in so many processes; returns when all are made.

    `started` hears the process number of each worker. Raises InputError with a worker's own sentence, or where the
    workers of a share were killed more often than `restarts`; whatever is made by then stays.
    """
    if workers < 1:
        raise InputError(f"{workers} workers; expected at least 1")
    tell = started or (lambda process: None)
    with _ended_in_any_case() as running:
        for number in range(1, workers + 1):
            running.append(_start(open_units, Share(number, workers), workers, tell))
        logger.info("%s at work", counted(workers, "process", "processes"))
        while running:
            ended = set(wait([w.process.sentinel for w in running]))
            for worker in [w for w in running if w.process.sentinel in ended]:
                running.remove(worker)
                if _is_to_be_restarted(worker, restarts):
                    again = _start(open_units, worker.share, workers, tell)
                    again.kills = worker.kills + 1
                    running.append(again)


@contextmanager
def _ended_in_any_case() -> Iterator[list[_Worker]]:
    running: list[_Worker] = []
    try:
        yield running
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join()


def _start(open_units: OpenUnits, share: Share, workers: int, tell: Callable[[int], None]) -> _Worker:
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    said, say = context.Pipe(duplex=False)
    threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
    process = context.Process(target=_work, args=(open_units, share, threads, say), name=f"share {share}")
    process.start()
    say.close()  # so that its end is the end
    assert process.pid is not None
    tell(process.pid)
    return _Worker(share, process, said)


def _is_to_be_restarted(worker: _Worker, restarts: int) -> bool:
    worker.process.join()
    code = worker.process.exitcode
    if code == 0:
        return False
    try:
        sentence = worker.said.recv_bytes().decode()
    except EOFError:
        sentence = ""
    if sentence:
        raise InputError(f"share {worker.share}: {sentence}")
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    if worker.kills >= restarts:
        raise InputError(
            f"share {worker.share}: its worker was ended by {how}, {counted(worker.kills + 1, 'time')} in a row; "
            "fewer --workers need less memory"
        )
    logger.warning("share %s: its worker was ended by %s; another one goes on", worker.share, how)
    return True


def _work(open_units: OpenUnits, share: Share, threads: int, say: Connection) -> None:
    """One process of the pool."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    try:
        with open_units() as units:
            make_share(units, share)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (HmralignError, OSError) as error:
        say.send_bytes(str(error).encode("utf-8", "backslashreplace"))
        raise SystemExit(2) from None
