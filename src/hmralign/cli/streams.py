"""Standard output and standard error as the command writes them: gone, full, closed, or in another encoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hmralign.cli.exit_codes import UNREAD, WRONG_INPUT


class OutputLost(SystemExit):
    """The output cannot be written; ends the program, as nothing that catches exceptions of a command catches this.

    `sentence` is what is to be said: nothing where nobody reads any more.
    """

    def __init__(self, error: OSError) -> None:
        closed = isinstance(error, BrokenPipeError)
        self.exit_code = UNREAD if closed else WRONG_INPUT
        super().__init__(self.exit_code)
        self.sentence = "" if closed else f"the standard output cannot be written: {error.strerror or error}"


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Inside, output that cannot be written raises `OutputLost`, at the latest where it is flushed.

    What goes to standard error is for a person: where nobody reads it, or it cannot be written, the run goes on. A
    stream that is closed takes everything. Characters that the encoding of a stream does not have are written as
    escapes.
    """
    kept = sys.stdout, sys.stderr
    output, notes = _Output(kept[0] or _nowhere()), _Notes(kept[1] or _nowhere())
    sys.stdout, sys.stderr = output, notes  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        with suppress(OutputLost):
            output.flush()
        notes.flush()
        sys.stdout, sys.stderr = kept


class _Guarded:
    """A text stream whose writing may fail; whatever else is asked of it is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        # What the stream still holds goes nowhere, or Python would complain about it when it ends.
        with suppress(OSError, ValueError):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


class _Output(_Guarded):
    """Standard output."""

    def _lost(self, error: OSError) -> None:
        super()._lost(error)
        raise OutputLost(error) from None


class _Notes(_Guarded):
    """Standard error: what cannot be written is left out."""


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")
