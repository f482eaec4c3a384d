"""Work in units, as every engine sees it: a number of them, and a way to make one.

    open_units() -> Units -> make(number), make(number), ...

An engine opens the units once in each of its processes, which loads models once, and hands out numbers. It never sees
an image, a tensor or a result: units are read and written as files by whoever makes them, and a unit that is there is
left alone. So it does not matter which engine runs, how often a number is handed out, or who dies.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from hmralign.engines.share import WHOLE, Share
from hmralign.structures import HmralignError

logger = logging.getLogger("hmralign.engines")


class DriverGoneError(HmralignError):
    """The process that started this worker is no more; units that are made stay."""


@runtime_checkable
class Units(Protocol):
    """Units that one process makes, one after the other."""

    def __len__(self) -> int:
        """How many there are, made or not: the same in every process."""
        ...

    def make(self, number: int) -> bool:
        """Make unit `number` (from 0) whole; False where it was there already."""
        ...

    def missing(self) -> list[int]:
        """Numbers of the units that are not there now, whoever was to make them."""
        ...


OpenUnits = Callable[[], AbstractContextManager[Units]]
"""Opens the units in this process. Other processes get it by name: a function of a module, or `partial` of one."""


def make_share(units: Units, share: Share = WHOLE, progress: Callable[[range], Iterable[int]] = iter) -> int:
    """Make a share; returns how many units were made now.

    Raises DriverGoneError, between two units, in a worker whose driver is dead.
    """
    made, numbers = 0, share.numbers(len(units))
    for number in progress(numbers):
        _require_driver()
        made += units.make(number)
    logger.info("share %s: %d of %d units made now", share, made, len(numbers))
    return made


def _require_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None and not driver.is_alive():
        raise DriverGoneError("the process that started this worker is gone; what is made stays, run the command again")
