"""Units that write their number, for tests of engines: no model, no image; opened by name in other processes."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmralign.engines.parts import is_made, making, missing_parts
from hmralign.structures import InputError


@dataclass(frozen=True)
class NumberedUnits:
    """Unit n is a file that says n squared. What goes wrong with which unit: `kill` (once), `wrong`, `slow`."""

    folder: Path
    count: int = 6
    kill: int | None = None
    always: bool = False
    wrong: int | None = None
    slow: float = 0.0

    def __len__(self) -> int:
        return self.count

    def make(self, number: int) -> bool:
        if is_made(self.folder / "parts", number):
            return False
        self._log(f"{number}")
        with making(self.folder / "parts", number) as draft:
            (draft / "said.txt").write_text(str(number**2))
            time.sleep(self.slow)
            if number == self.wrong:
                raise InputError(f"unit {number} is wrong")
            if number == self.kill and (self.always or not (self.folder / "killed").exists()):
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return True

    def missing(self) -> list[int]:
        return missing_parts(self.folder / "parts", self.count)

    def _log(self, line: str) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(line + "\n")


@contextmanager
def opened(folder: Path, **how) -> Iterator[NumberedUnits]:
    units = NumberedUnits(folder, **how)
    units._log("opened")
    yield units


def said(folder: Path) -> list[str]:
    """What all units say, in order; also sees that nothing unfinished is there."""
    return [p.read_text() for p in sorted((folder / "parts").glob("0000/0*/said.txt"))]


def log_of(folder: Path) -> list[str]:
    return (folder / "log").read_text().split()
