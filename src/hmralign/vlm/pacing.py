"""How many calls run at once, and how fast they follow each other.

Concurrency is additive increase, multiplicative decrease: halved when the server is overrun (429, timeouts), one more
after a whole window of successes. Calls sent before a halving cannot halve again, since they speak of the same moment.
Source: Chiu and Jain 1989; the once-per-window rule is TCP's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Concurrency:
    """A number of places that follows the server. One event loop at a time."""

    def __init__(self, most: int, start: int | None = None) -> None:
        self._most = most
        self.limit = min(most, start or most)
        self.in_use = 0
        self._successes = 0
        self._window = 0
        self._pause_until = 0.0
        self._changed = asyncio.Condition()

    async def enter(self) -> int:
        """Wait for a place; gives the window that `leave` wants back."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.in_use < self.limit)
            self.in_use += 1
        try:
            while (wait := self._pause_until - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(wait)
        except asyncio.CancelledError:
            await self.leave(self._window)
            raise
        return self._window

    async def leave(self, window: int, *, overrun: bool = False, success: bool = False) -> None:
        """Give the place back and say how it went."""
        async with self._changed:
            self.in_use -= 1
            if overrun and window == self._window:
                self.limit, self._successes, self._window = max(1, self.limit // 2), 0, self._window + 1
            elif success:
                self._successes += 1
                if self._successes >= self.limit and self.limit < self._most:
                    self.limit, self._successes = self.limit + 1, 0
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Send nothing for a while, as the server asked."""
        self._pause_until = max(self._pause_until, asyncio.get_running_loop().time() + seconds)


class Pace:
    """At most so much per minute, evenly; None for no bound."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] | None = None) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._free_at = 0.0

    def wait_for(self, amount: float) -> float:
        """Take `amount` and give the seconds until it may be used."""
        if self._per_minute is None:
            return 0.0
        now = self._clock() if self._clock else asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + amount * 60 / self._per_minute
        return start - now

    def correct(self, difference: float) -> None:
        """`difference` more was used than was taken."""
        if self._per_minute is not None:
            self._free_at += difference * 60 / self._per_minute
