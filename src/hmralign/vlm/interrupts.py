"""Ctrl-C and SIGTERM as a request to finish what is running and begin nothing new."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def draining_on_signals(stop: Callable[[BaseException], None], tasks: Sequence[asyncio.Task[Any]]) -> Iterator[None]:
    """Inside, the first signal calls `stop` with what is to be raised afterwards; a second one cancels `tasks`.

    Does nothing outside the main thread and where event loops know no signals: there the usual handlers act.
    """
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on_signal(number: int) -> None:
        if seen:
            for task in tasks:
                task.cancel()
        seen.append(number)
        stop(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    installed: list[signal.Signals] = []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                try:
                    loop.add_signal_handler(number, on_signal, number)
                    installed.append(number)
                except NotImplementedError:
                    break
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
