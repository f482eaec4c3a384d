"""Many photos: lists, folders and patterns; one after the other, or a few side by side."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from hmralign.data.images import ImageSource, expand_inputs
from hmralign.structures import InputError

logger = logging.getLogger("hmralign.recover")

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def threads_that_pay() -> int:
    """How many photos are worth working on at once: two, and one more that waits for the detector's process.

    A third core would find little to do, as much of a photo's work holds Python's interpreter lock; processes
    (`--workers`) use more of them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 2) + 1


def side_by_side(
    work: Callable[[Item], Answer], items: Iterable[Item], threads: int
) -> Generator[Future[Answer], None, None]:
    """Outcomes of the items in their order; at most `threads` of them are worked on at any time.

    An item that fails is known by its future's exception and stops no other. As many answers again wait to be taken, so
    that a slow item holds nobody up. When the iterator is closed it waits for those under way and starts no other.
    One thread is that of the caller: each item is worked on when it is asked for.
    """
    if threads == 1:
        yield from (_worked_on(work, item) for item in items)
        return
    rest, pool = iter(items), ThreadPoolExecutor(threads, thread_name_prefix="photo")
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(max(1, torch_threads // threads))  # more than cores only wait for one another
    try:
        under_way = deque(pool.submit(work, item) for item in islice(rest, 2 * threads))
        while under_way:
            under_way[0].exception()  # waits for it
            yield under_way.popleft()
            under_way.extend(pool.submit(work, item) for item in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch_threads)


def _worked_on(work: Callable[[Item], Answer], item: Item) -> Future[Answer]:
    answer: Future[Answer] = Future()
    try:
        answer.set_result(work(item))
    except Exception as error:
        answer.set_exception(error)
    return answer


def photo_sources(photos: str | Path | Iterable[ImageSource]) -> list[ImageSource]:
    """The photos of a folder, a pattern or a file, or those of a list as they are. Raises InputError for none."""
    found = list(expand_inputs([photos]) if isinstance(photos, str | Path) else photos)
    if not found:
        raise InputError("the list of photos is empty; expected paths, arrays or images")
    return found


def each_answer(
    sources: list[ImageSource], recover: Callable[[ImageSource], Answer], *, skip_bad: bool, progress: bool | None
) -> Iterator[Answer]:
    """The answers in order, each when it is asked for; with `skip_bad` a warning names a photo that has none.

    `progress` shows a bar on stderr, which stays there; None shows one, until it ends, where that is a terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    shown = sys.stderr.isatty() if progress is None else progress
    with Progress(console=Console(stderr=True), transient=not progress, disable=not shown) as bar:
        for source in bar.track(sources, description="recovering"):
            try:
                answer = recover(source)
            except InputError as error:
                if not skip_bad:
                    raise
                logger.warning("left out: %s", error)
                continue
            yield answer
