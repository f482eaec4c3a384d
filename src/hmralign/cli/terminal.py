"""What a person at the terminal sees: one progress bar, the library's log on stderr, one final line on stdout."""

from __future__ import annotations

import json as json_format
import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")


class _Handler(logging.Handler):
    """Log records as plain lines; through the progress bar while there is one, so that it is not torn apart."""

    def __init__(self, terminal: Terminal):
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        self._terminal.note(f"{level}{record.getMessage()}")


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)


class Steps:
    """How far a job is: `done` counts what is finished, `more` what has turned up beside what was expected.

    Several threads may count.
    """

    def __init__(self, bar: Any = None, task: Any = None, whole: Steps | None = None):
        self._bar, self._task, self._whole = bar, task, whole
        self.finished = self.added = 0
        self._counting = threading.Lock()

    def of_one(self) -> Steps:
        """The steps of one of the things that were expected, which count for the whole job as well."""
        return Steps(whole=self)

    def over(self) -> None:
        """Whatever became of that one thing, it is over, and nothing of it is to be waited for."""
        self.done(1 + self.added - self.finished)

    def done(self, count: int = 1) -> None:
        """Some more are finished."""
        with self._counting:
            self.finished += count
            if self._bar is not None:
                self._bar.advance(self._task, count)
        if self._whole is not None:
            self._whole.done(count)

    def more(self, count: int) -> None:
        """There are some more to do than was thought."""
        with self._counting:
            self.added += count
            if self._bar is not None:
                self._bar.update(self._task, total=self._bar.tasks[0].total + count)
        if self._whole is not None:
            self._whole.more(count)


class Terminal:
    """`quiet` leaves only errors; with `json`, stdout gets one JSON document and nothing else."""

    def __init__(self, *, quiet: bool = False, json: bool = False):
        self.quiet, self.json = quiet, json
        self._bar: Any = None
        self._handler = _Handler(self)
        self._kept: tuple[int, bool] | None = None
        self.said: list[str] | None = None
        """Lines for people, where they are kept instead of shown; see `within`."""
        self.answers: list[dict[str, Any]] = []
        """Documents that were kept."""

    def __enter__(self) -> Terminal:
        logger = logging.getLogger("hmralign")
        self._kept = logger.level, logger.propagate
        logger.setLevel(logging.ERROR if self.quiet else logging.INFO)
        logger.propagate = False
        logger.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logger = logging.getLogger("hmralign")
        logger.removeHandler(self._handler)
        if self._kept is not None:
            logger.level, logger.propagate = self._kept

    def note(self, line: str) -> None:
        """One line on stderr, also when quiet: the caller decides what is worth it."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(line + "\n")

    def say(self, line: str) -> None:
        """One line on stdout, for people."""
        if self.said is not None:
            self.said.append(line)
        elif not self.quiet and not self.json:
            sys.stdout.write(line + "\n")

    def answer(self, document: dict[str, Any]) -> None:
        """The JSON document, where one was asked for."""
        if self.said is not None:
            self.answers.append(document)
        elif self.json:
            sys.stdout.write(json_format.dumps(document, indent=2, allow_nan=False) + "\n")

    def within(self) -> Terminal:
        """For a command inside another: its notes are shown, what it says and answers is kept for the outer one."""
        inner = Terminal(quiet=self.quiet, json=self.json)
        inner.said = []
        return inner

    @contextmanager
    def steps(self, total: int, what: str) -> Iterator[Steps]:
        """A progress bar on stderr that is moved by hand; none when quiet, or without a terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield Steps()
            return
        with _bar() as bar:
            self._bar = bar
            try:
                yield Steps(bar, bar.add_task(what, total=total))
            finally:
                self._bar = None

    def progress(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        """The items with a progress bar on stderr; none for a single item, when quiet, or without a terminal."""
        if len(items) < 2 or self.quiet or not sys.stderr.isatty():
            return items
        return self._with_bar(items, what)

    def _with_bar(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        with _bar() as bar:
            self._bar = bar
            try:
                task = bar.add_task(what, total=len(items))
                for item in items:
                    yield item
                    bar.advance(task)
            finally:
                self._bar = None
